"""Stop at any moment, go on in either engine: all equals the run that was never stopped, bit for bit."""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
from engine_harness import compare
from engine_harness.cells import BEST, CELLS, EVERY_FIVE, PER_EPOCH, Cell
from engine_harness.execute import build_parts, execute
from transformers import TrainerCallback

from hf_finetune.engines import ENGINES, checkpoint, watch
from hf_finetune.errors import Interrupted

BOTH = ("trainer", "accelerate")
EVERY = Cell("every", args=dict(EVERY_FIVE), stop=0)
SPEECH = Cell("speech", "speech", {**EVERY_FIVE, "gradient_accumulation_steps": 3, "eval_steps": 2}, stop=0)
SOUNDS = dataclasses.replace(CELLS["audio-classification-grouped-w2"], stop=0)
EPOCHS = Cell("epochs", "text", {**PER_EPOCH, **BEST, "dataloader_num_workers": 2}, stop=0, patience=2)
STREAM = Cell("stream", args={**EVERY_FIVE, "max_steps": 30}, stop=0, kind="stream")


class Stop(TrainerCallback):
    """Send a signal to this process when an event comes at a step."""

    def __init__(self, event: str, step: int, signum: int = signal.SIGTERM) -> None:
        self.step, self.signum, self.was_sent = step, signum, False
        setattr(self, f"on_{event}", self.send)

    def send(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        if state.global_step == self.step and not self.was_sent:
            self.was_sent = True
            os.kill(os.getpid(), self.signum)


def stop_and_go_on(
    cell: Cell, first: str, second: str, root: Path, stop: Stop, whole: dict[str, Any]
) -> tuple[Interrupted, list[str]]:
    """Return how the first part ended, and what differs from the unbroken run at the end of the second."""
    live = root / "live"
    parts = build_parts(cell, live)
    with pytest.raises(Interrupted) as ended:
        ENGINES.get(first)(dataclasses.replace(parts, callbacks=[*parts.callbacks, stop]), None)
    last = checkpoint.find_last(live)
    assert str(last) == ended.value.checkpoint
    shutil.move(live, root / f"snapshot-{stop.step}")
    resumed = execute(
        dataclasses.replace(cell, stop=int(last.name.split("-")[1])),
        second,
        root,
        "resumed",
        resume=str(stop.step),
    )
    # a checkpoint that was written only because of the signal is left behind
    return ended.value, compare.compare_runs(whole, resumed, skip=("events", "folders"))


@pytest.mark.parametrize(
    "engines",
    [pytest.param((a, b), marks=pytest.mark.slow if a == b else ()) for a in BOTH for b in BOTH],
    ids="-".join,
)
@pytest.mark.parametrize(
    ("cell", "event", "step"),
    [
        pytest.param(EVERY, "step_begin", 7, id="in-mid-epoch"),
        pytest.param(EVERY, "step_begin", 9, id="where-evaluation-is-due"),
        pytest.param(EVERY, "step_begin", 16, id="at-the-end-of-an-epoch"),
        pytest.param(EVERY, "prediction_step", 10, id="during-evaluation"),
        pytest.param(
            EPOCHS, "prediction_step", 16, id="during-evaluation-after-an-epoch", marks=pytest.mark.slow
        ),
        pytest.param(EVERY, "step_begin", 33, id="in-the-last-update"),
        pytest.param(SPEECH, "substep_end", 4, id="within-a-window"),
        pytest.param(SOUNDS, "substep_end", 3, id="within-a-window-of-sounds"),
        pytest.param(EPOCHS, "epoch_end", 16, id="between-epochs"),
        pytest.param(EPOCHS, "step_begin", 15, id="owing-log-evaluation-and-save"),
        pytest.param(STREAM, "step_begin", 21, id="in-a-stream's-second-pass"),
    ],
)
def test_signal(engines: tuple[str, str], cell: Cell, event: str, step: int, tmp_path: Path) -> None:
    whole = execute(cell, "trainer", tmp_path, "whole")
    ended, differences = stop_and_go_on(cell, *engines, tmp_path, Stop(event, step), whole)
    assert ended.exit_code == 143
    assert differences == []


def test_ctrl_c(tmp_path: Path) -> None:
    whole = execute(EVERY, "trainer", tmp_path, "whole")
    stop = Stop("step_begin", 7, signal.SIGINT)
    ended, differences = stop_and_go_on(EVERY, "accelerate", "trainer", tmp_path, stop, whole)
    assert ended.exit_code == 130
    assert differences == []


@pytest.mark.parametrize("engine", BOTH)
def test_a_second_ctrl_c_does_not_wait(engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "REPEAT_S", 0.0)
    before = signal.getsignal(signal.SIGINT)  # ignored, where a shell has started this in the background
    parts = build_parts(EVERY, tmp_path)
    stops = [Stop("step_begin", 7, signal.SIGINT), Stop("pre_optimizer_step", 7, signal.SIGINT)]
    with pytest.raises(KeyboardInterrupt):
        ENGINES.get(engine)(dataclasses.replace(parts, callbacks=stops), None)
    assert [path.name for path in checkpoint.list_checkpoints(tmp_path)] == ["checkpoint-5"]
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("engine", BOTH)
def test_a_signal_after_the_last_update_is_not_lost(engine: str, tmp_path: Path) -> None:
    parts = build_parts(EVERY, tmp_path)
    with pytest.raises(Interrupted, match="checkpoint-34"):
        ENGINES.get(engine)(dataclasses.replace(parts, callbacks=[Stop("train_end", 34)]), None)


@pytest.mark.parametrize("engine", BOTH)
@pytest.mark.parametrize(
    "cell", [EVERY, dataclasses.replace(EPOCHS, patience=1)], ids=["finished", "stopped-early"]
)
def test_a_finished_run_is_not_trained_further(cell: Cell, engine: str, tmp_path: Path) -> None:
    whole = execute(cell, "trainer", tmp_path, "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "snapshot-whole")
    last = int(checkpoint.find_last(tmp_path / "whole").name.split("-")[1])
    resumed = execute(dataclasses.replace(cell, stop=last), engine, tmp_path, "again", resume="whole")
    assert compare.compare_runs(whole, resumed, skip=("events",)) == []
