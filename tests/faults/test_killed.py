"""A run that is killed again and again, and resumed by either engine, ends as the one that was not.

Half of the kills come before a file operation, chosen at random from all that a run does: these can be
repeated exactly. The other half come from outside at a random time, and so hit the middle of a write too.
"""

import random
import signal
import time
from pathlib import Path

import pytest
from real_runs import command

SEED = 20261123


def kill_before_an_operation(
    words: list[str], cwd: Path, rng: random.Random, num_operations: int
) -> str | None:
    """Let the run kill itself; return before what, or None when it ended first."""
    trace = cwd / "trace"
    trace.unlink(missing_ok=True)
    nth = rng.randrange(1, num_operations // 2)
    where = {"match": "run/", "removals": True, "nth": nth, "trace": str(trace)}
    done = command.run(words, cwd, fault={"kind": "signal", "signals": [signal.SIGKILL], **where})
    if done.code == 0:
        return None
    assert done.code == -signal.SIGKILL, done.err
    return f"operation {nth}: {trace.read_text().splitlines()[-1]}"


def kill_from_outside(words: list[str], cwd: Path, rng: random.Random, training_s: float) -> str | None:
    """Kill the run at some time after the beginning of training; return when, or None when it ended first."""
    log = cwd / "run" / "log.jsonl"
    before = log.stat().st_ino if log.exists() else None
    child = command.start(words, cwd)
    while child.poll() is None and (not log.exists() or log.stat().st_ino == before):
        time.sleep(0.005)
    delay_s = rng.uniform(0, training_s)
    time.sleep(delay_s)
    child.kill()
    done = command.finish(child)
    if done.code == 0:
        return None
    assert done.code == -signal.SIGKILL, done.err
    return f"{1000 * delay_s:.0f} ms after the beginning of training"


def kill_and_resume(
    recipe: str, cwd: Path, rng: random.Random, num_kills: int, *, num_operations: int, training_s: float
) -> list[str]:
    """Kill a run up to so many times, then let it end; return the moments."""
    moments = []
    for i in range(num_kills + 1):
        is_started = (cwd / "run" / "recipe.yaml").exists() or any(cwd.glob("run/checkpoint-*"))
        engine = rng.choice(command.ENGINES)
        words = ["run", recipe, f"engine={engine}", *(["--resume"] if is_started else [])]
        if i == num_kills:
            done = command.run(words, cwd)
            assert done.code == 0, (moments, done.err)
            break
        if rng.random() < 0.5:
            moment = kill_before_an_operation(words, cwd, rng, num_operations)
        else:
            moment = kill_from_outside(words, cwd, rng, training_s)
        if moment is None:
            break
        moments.append(f"{engine}, {moment}")
    return moments


@pytest.fixture
def measures(unbroken: Path, workshop: Path) -> dict[str, float]:
    """Return how many operations a run has, and how long it trains and scores."""
    times = [path.stat().st_mtime for path in (unbroken / "environment.json", unbroken / "report.html")]
    return {
        "num_operations": len((workshop / "trace").read_text().splitlines()),
        "training_s": times[1] - times[0],
    }


def test_a_run_killed_three_times_ends_as_the_unbroken_one(recipe, expected, measures, tmp_path):
    moments = kill_and_resume(recipe, tmp_path, random.Random(SEED), 3, **measures)
    assert moments
    command.assert_same_run(expected, tmp_path / "run")


@pytest.mark.soak
def test_soak(recipe, expected, measures, tmp_path, request, record_property):
    started = time.monotonic()
    rng = random.Random(SEED)
    wanted, num_kills, num_runs = request.config.getoption("--soak-rounds"), 0, 0
    while num_kills < wanted:
        folder = tmp_path / str(num_runs)
        moments = kill_and_resume(
            recipe, folder, rng, min(rng.randrange(1, 7), wanted - num_kills), **measures
        )
        command.assert_same_run(expected, folder / "run")
        num_kills, num_runs = num_kills + len(moments), num_runs + 1
        for moment in moments:
            print(f"killed: {moment}", flush=True)
        print(f"{num_kills} kills, {num_runs} runs, all equal to the unbroken run", flush=True)
    minutes = (time.monotonic() - started) / 60
    record_property(
        "soak",
        f"`make soak N={wanted}`: {num_kills} kills over {num_runs} runs, every run equal to the unbroken "
        f"one, in {minutes:.0f} minutes.",
    )
