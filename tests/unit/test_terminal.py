"""What a user sees: captured consoles, a real pseudo-terminal, and a real Trainer."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import logging
import math
import os
import pty
import re
import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest
import run_folders
import torch
from rich.console import Console
from transformers import TrainerControl, TrainerState

from hf_finetune.errors import Interrupted, UserError
from hf_finetune.terminal import JsonLines, TerminalProgress, print_error, print_summary
from hf_finetune.terminal.console import SteadyConsole, printable
from hf_finetune.terminal.pace import Pace
from hf_finetune.terminal.status import Field, StatusLine

CONTROL = TrainerControl()
ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Clock:
    """Time that passes when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def make_state(**changed) -> TrainerState:
    given = {
        "is_world_process_zero": True,
        "max_steps": 60,
        "num_train_epochs": 3,
        "epoch": 0.0,
        "train_batch_size": 8,
    }
    return TrainerState(**{**given, "train_batch_size": 8, **changed})


def make_args(**changed) -> SimpleNamespace:
    given = {"train_batch_size": 8, "gradient_accumulation_steps": 2, "world_size": 2}
    return SimpleNamespace(
        **{**given, "metric_for_best_model": "accuracy", "greater_is_better": True, **changed}
    )


def capture(width: int = 80, encoding: str = "utf-8", **options) -> Console:
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding, write_through=True)
    return SteadyConsole(file=file, width=width, highlight=False, **options)


def output(console: Console) -> str:
    return console.file.buffer.getvalue().decode(console.file.encoding)


def train(
    progress: TerminalProgress, clock: Clock, *, updates: int = 60, seconds: float = 1.0, state=None
) -> None:
    """Fire the events of a training with an evaluation every 20 updates."""
    args, state = make_args(), state or make_state()
    progress.on_train_begin(args, state, CONTROL)
    while state.global_step < updates:
        clock.now += seconds
        state.global_step += 1
        state.epoch = state.global_step / 20
        progress.on_step_end(args, state, CONTROL)
        logs = {"loss": 2 / state.global_step, "learning_rate": 1e-4, "grad_norm": 1.5}
        progress.on_log(args, state, CONTROL, logs=logs)
        if state.global_step % 20 == 0:
            for _ in range(5):
                clock.now += 1
                progress.on_prediction_step(args, state, CONTROL, eval_dataloader=range(5))
            accuracy = 0.9 if state.global_step == 40 else 0.5
            scores = {"eval_loss": 1.0, "eval_accuracy": accuracy, "eval_runtime": 5.0, "epoch": state.epoch}
            progress.on_log(args, state, CONTROL, logs=scores)
            progress.on_evaluate(args, state, CONTROL, metrics=scores)
            progress.on_save(args, state, CONTROL)
    progress.on_train_end(args, state, CONTROL)


# Lines in a file


def test_a_file_gets_plain_lines_now_and_then():
    console, clock = capture(width=40), Clock()
    train(TerminalProgress(console=console, clock=clock), clock)
    lines = output(console).splitlines()
    assert "\x1b" not in output(console)
    assert lines[0] == (
        "update 1/60  epoch 0.05  loss 2.0000  learning rate 0.0001  gradient norm 1.5"
        "  32.0 samples/s  0:59 left"
    )
    trained = [line for line in lines if "learning rate" in line]
    assert 5 <= len(trained) <= 9  # 75 seconds
    assert [line for line in lines if "accuracy" in line] == [
        "update 20/60  epoch 1.00  eval loss 1.0000  accuracy 0.5000  (best so far)",
        "update 40/60  epoch 2.00  eval loss 1.0000  accuracy 0.9000  (best so far)",
        "update 60/60  epoch 3.00  eval loss 1.0000  accuracy 0.5000",
    ]
    assert lines[-1] == "training ended at update 60/60 after 1 min 15 s"


def test_colours_may_be_forced_on_a_file_but_no_cursor_moves(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    console, clock = capture(), Clock()
    progress = TerminalProgress(console=console, clock=clock)
    train(progress, clock)
    assert not progress.display.is_live
    assert "\x1b[2K" not in output(console)


def test_only_the_main_process_writes():
    console, clock = capture(force_terminal=True), Clock()
    state = make_state(is_world_process_zero=False)
    train(TerminalProgress(console=console, clock=clock, is_live=True), clock, state=state)
    assert output(console) == ""


def test_a_resumed_run_counts_from_where_it_was():
    console, clock = capture(), Clock()
    state = make_state(global_step=40, best_metric=0.95)
    train(TerminalProgress("baseline", console=console, clock=clock), clock, state=state)
    lines = output(console).splitlines()
    assert lines[0] == "baseline  resumed at update 40/60"
    assert "32.0 samples/s  0:19 left" in lines[1]
    assert "best so far" not in output(console)


def test_a_nan_is_never_the_best():
    console, args, state = capture(), make_args(greater_is_better=False), make_state()
    progress = TerminalProgress(console=console)
    for value in (math.nan, 0.5, 0.7, math.inf, 0.4):
        progress.on_evaluate(args, state, CONTROL, metrics={"eval_accuracy": value})
    assert ["best so far" in line for line in output(console).splitlines()] == [
        False,
        True,
        False,
        False,
        True,
    ]
    assert "accuracy not a number" in output(console)


def test_scores_of_an_evaluation_alone():
    console = capture()
    progress = TerminalProgress(console=console)
    progress.on_evaluate(make_args(metric_for_best_model=None), make_state(), CONTROL)
    progress.on_predict(
        make_args(), make_state(), CONTROL, metrics={"test_accuracy": 0.5, "test_runtime": 1.0}
    )
    assert output(console).splitlines() == ["update 0/60  epoch 0.00", "test accuracy 0.5000"]


# The bar


@pytest.mark.parametrize("width", [20, 40, 60, 80, 120, 200])
def test_the_bar_fits_any_width(width):
    fields = (
        Field("epoch 1.25/3", 6),
        Field("loss 0.1234", 2),
        Field("精度 0.9", 3),
        Field("812 samples/s", 5),
        Field("0:12 left", 1),
    )
    text = StatusLine(label="training", done=300, total=450, fields=fields).render(width)
    assert text.cell_len <= width
    assert "300/450" in text.plain
    assert ("0:12 left" in text.plain) == (width >= 40)
    assert ("training" in text.plain) == (width >= 80)
    assert ("━" in text.plain) == (width >= 20)


def test_the_bar_knows_ascii_and_streams():
    line = StatusLine(label="a", done=1, total=2).render(30, is_ascii=True).plain
    assert line.isascii()
    assert line.count("#") == line.count("-") > 3
    assert StatusLine(label="a", done=7, total=None).render(30).plain == "a  7"


def test_the_pace_leaves_evaluations_out_but_the_time_left_does_not():
    clock = Clock()
    pace = Pace(clock)
    assert pace.samples_per_second is None
    assert pace.seconds_left(0, 10) is None
    for update in range(1, 6):
        clock.now += 1
        pace.step(update * 32)
    clock.now += 5
    pace.rest()
    assert pace.samples_per_second == 32
    assert pace.seconds_left(5, 10) == 10
    for update in range(6, 200):  # thirty times slower now
        clock.now += 30
        pace.step(update * 32)
    assert pace.samples_per_second == pytest.approx(32 / 30)


def test_fast_updates_do_not_pile_up():
    clock = Clock()
    pace = Pace(clock)
    for update in range(100_000):
        clock.now += 0.0005
        pace.step(update)
    assert len(pace._recent) < 500
    assert pace.samples_per_second == pytest.approx(2000, rel=0.01)


SCRIPT = """
import fcntl, logging, os, struct, sys, termios, warnings
sys.path[:0] = [{tests!r}, {unit!r}]
import test_terminal as t
from hf_finetune.terminal import TerminalProgress
from transformers.utils import logging as transformers_logging

logging.basicConfig(stream=sys.stderr, format="%(message)s")
warnings.simplefilter("always")


class Noisy(TerminalProgress):
    def on_step_end(self, args, state, control, **kwargs):
        super().on_step_end(args, state, control, **kwargs)
        if state.global_step == 30:
            logging.getLogger("somewhere").warning("a log line")
            transformers_logging.get_logger("transformers.x").warning("a transformers line")
            warnings.warn("a warning")
            print("a printed line", flush=True)
        if state.global_step == 50 and "FAIL" in os.environ:
            raise RuntimeError("boom")


def run(columns, **env):
    fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    os.environ.update(env)
    clock = t.Clock()
    with Noisy(clock=clock) as progress:
        t.train(progress, clock)
        step = progress.track("test")
        for _ in range(5):
            clock.now += 1
            step(range(5))
    print("the end\\n{cut}", flush=True)


run(100)
run(40, NO_COLOR="1")
run(80, FAIL="1")
"""
CUT = "- - - next - - -"


@pytest.fixture(scope="module")
def sessions():
    """What a pseudo-terminal saw of three trainings: 100 columns, 40 without colours, 80 and an exception."""
    here = Path(__file__).parent
    code = SCRIPT.format(tests=str(here.parent), unit=str(here), cut=CUT)
    pid, terminal = pty.fork()
    if pid == 0:
        hidden = ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "TERM")
        env = {key: value for key, value in os.environ.items() if key not in hidden}
        os.execvpe(sys.executable, [sys.executable, "-c", code], {**env, "TERM": "xterm-256color"})
    seen = b""
    with contextlib.suppress(OSError):  # EIO is how Linux says that the other side is closed
        while chunk := os.read(terminal, 65536):
            seen += chunk
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1, seen.decode()
    parts = seen.decode().split(CUT + "\r\n")
    assert len(parts) == 3, seen.decode()
    return parts


class Screen:
    """As much of a terminal as the output uses: lines, carriage returns, cursor up, erase line."""

    def __init__(self, seen: str, columns: int) -> None:
        self.lines, self.row, self.column, self.has_cursor = [""], 0, 0, True
        for piece in re.findall(r"\x1b\[[0-9;?]*[A-Za-z]|[\r\n]|[^\x1b\r\n]+", seen):
            if piece == "\r":
                self.column = 0
            elif piece == "\n":
                self.row += 1
                self.lines += [""] * (self.row + 1 - len(self.lines))
            elif piece == "\x1b[2K":
                self.lines[self.row] = ""
            elif piece.startswith("\x1b[") and piece.endswith("A"):
                self.row = max(0, self.row - int(piece[2:-1] or 1))
            elif piece in ("\x1b[?25l", "\x1b[?25h"):
                self.has_cursor = piece.endswith("h")
            elif not piece.startswith("\x1b"):
                line = self.lines[self.row].ljust(self.column)
                self.lines[self.row] = line[: self.column] + piece + line[self.column + len(piece) :]
                self.column += len(piece)
                assert self.column <= columns, piece
            else:
                assert piece.endswith("m"), repr(piece)


@pytest.mark.parametrize(("number", "columns"), [(0, 100), (1, 40)])
def test_a_terminal_is_left_with_the_lasting_lines_only(sessions, number, columns):
    seen = sessions[number]
    assert "━" in seen
    assert "scoring test" in seen
    assert "evaluating" in seen
    assert bool(re.search(r"\x1b\[[0-9;]*3[0-7]m", seen)) == (number == 0)
    screen = Screen(seen, columns)
    assert screen.has_cursor
    shown = " ".join(" ".join(screen.lines).split())
    assert "━" not in shown
    for text in (
        "a log line",
        "[transformers] a transformers line",
        "UserWarning: a warning",
        "a printed line",
    ):
        assert shown.count(text) == 1, shown
    assert shown.count("best so far") == 2
    assert shown.endswith("training ended at update 60/60 after 1 min 15 s the end")


def test_an_exception_gives_the_terminal_back(sessions):
    screen = Screen(sessions[2], 80)
    assert screen.has_cursor
    shown = "\n".join(screen.lines)
    assert "━" not in shown
    assert shown.rstrip().endswith("RuntimeError: boom")


def test_a_dumb_terminal_gets_plain_lines(monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    # datasets 5.2 puts a copy in the place of os.environ when several processes map; rich keeps the first
    monkeypatch.setattr(SteadyConsole, "_environ", os.environ)
    console, clock = SteadyConsole(file=TerminalFile(), force_terminal=True), Clock()
    progress = TerminalProgress(console=console, clock=clock)
    train(progress, clock)
    assert not progress.display.is_live
    assert "\x1b" not in console.file.getvalue()


class TerminalFile(io.StringIO):
    """Says that it is a terminal."""

    def isatty(self) -> bool:
        return True


class BrokenFile(TerminalFile):
    """A terminal that went away, or does after some writing."""

    def __init__(self, error: int, num_left: int) -> None:
        super().__init__()
        self.error, self.num_left = error, num_left

    def write(self, text: str) -> int:
        self.num_left -= 1
        if self.num_left < 0:
            raise OSError(self.error, os.strerror(self.error))
        return super().write(text)


@pytest.mark.parametrize("error", [errno.EPIPE, errno.EIO, errno.ENOSPC])
@pytest.mark.parametrize("num_left", [*range(8), 30])
@pytest.mark.parametrize("is_live", [True, False])
def test_a_terminal_that_went_away_does_not_end_the_training(error, num_left, is_live):
    clock = Clock()
    console = SteadyConsole(file=BrokenFile(error, num_left), force_terminal=is_live)
    streams = sys.stdout, sys.stderr
    with TerminalProgress(console=console, clock=clock, is_live=is_live) as progress:
        train(progress, clock)
    assert (sys.stdout, sys.stderr) == streams


def test_log_handlers_get_their_streams_back():
    handler = logging.StreamHandler(sys.stderr)
    logging.getLogger("some.library").addHandler(handler)
    stream = handler.stream
    try:
        progress = TerminalProgress(console=capture(force_terminal=True), is_live=True)
        progress.on_train_begin(make_args(), make_state(), CONTROL)
        assert handler.stream is not stream
        progress.close()
        progress.close()
        assert handler.stream is stream
    finally:
        logging.getLogger("some.library").removeHandler(handler)


# The log file


def log_lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_numbers_that_are_not_finite_become_null(tmp_path):
    lines = JsonLines(tmp_path / "run" / "log.jsonl")
    state = make_state(global_step=7)
    lines.on_train_begin(make_args(), make_state(), CONTROL)
    logs = {
        "loss": math.nan,
        "grad_norm": torch.tensor(math.inf),
        "learning_rate": torch.tensor(0.5),
        "odd": object,
    }
    lines.on_log(make_args(), state, CONTROL, logs=logs)
    entry = log_lines(lines.path)[0]
    assert entry == {"loss": None, "grad_norm": None, "learning_rate": 0.5, "odd": str(object), "step": 7}
    assert "step" not in logs


def test_a_resumed_log_becomes_that_of_the_unbroken_run(tmp_path):
    history = [{"loss": 1 / step, "step": step} for step in range(1, 6)]
    lines = JsonLines(tmp_path / "log.jsonl")
    lines.path.write_text('{"loss": 9, "step": 1}\n{"loss": 8, "step": 7}\n{"loss": 0.1, "st')
    lines.on_train_begin(make_args(), make_state(global_step=5, log_history=history), CONTROL)
    lines.on_log(make_args(), make_state(global_step=6), CONTROL, logs={"loss": 0.125})
    assert log_lines(lines.path) == [*history, {"loss": 0.125, "step": 6}]


def test_a_new_run_replaces_the_log_and_other_processes_do_not(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text("old\n")
    other = make_state(is_world_process_zero=False)
    JsonLines(path).on_train_begin(make_args(), other, CONTROL)
    JsonLines(path).on_log(make_args(), other, CONTROL, logs={"loss": 1.0})
    assert path.read_text() == "old\n"
    JsonLines(path).on_train_begin(make_args(), make_state(), CONTROL)
    assert path.read_text() == ""


class Line(torch.nn.Module):
    """y = w x, with a loss."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, x, labels=None):
        return {"loss": ((self.weight * x - labels) ** 2).mean()}


def fit_a_line(folder: Path, console: Console, **options):
    from transformers import PrinterCallback, Trainer, TrainingArguments

    args = TrainingArguments(
        str(folder),
        max_steps=8,
        logging_steps=1,
        eval_strategy="steps",
        eval_steps=4,
        save_steps=4,
        metric_for_best_model="loss",
        per_device_train_batch_size=4,
        seed=3,
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
        dataloader_pin_memory=False,
    )
    rows = [{"x": torch.tensor([float(i)]) / 16, "labels": torch.tensor([2.0 * i / 16])} for i in range(16)]
    progress = TerminalProgress(console=console)
    trainer = Trainer(
        Line(),
        args,
        train_dataset=rows,
        eval_dataset=rows,
        callbacks=[JsonLines(folder / "log.jsonl"), progress],
    )
    trainer.remove_callback(PrinterCallback)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        trainer.train(**options)
    return trainer.state


def test_with_a_real_trainer(tmp_path):
    console = capture()
    state = fit_a_line(tmp_path, console)
    assert log_lines(tmp_path / "log.jsonl") == state.log_history
    assert "update 4/8  epoch 1.00  eval loss" in output(console)
    assert "training ended at update 8/8" in output(console)
    whole = log_lines(tmp_path / "log.jsonl")
    fit_a_line(tmp_path, console, resume_from_checkpoint=str(tmp_path / "checkpoint-4"))
    again = log_lines(tmp_path / "log.jsonl")
    assert "resumed at update 4/8" in output(console)
    assert [entry.get("loss") for entry in again] == [entry.get("loss") for entry in whole]
    assert [entry["step"] for entry in again] == [entry["step"] for entry in whole]


# The end


def test_the_summary_says_how_good_and_where(tmp_path):
    scores = run_folders.make_digits_run(tmp_path)
    (tmp_path / "report.html").touch()
    console = capture()
    print_summary(tmp_path, console=console)
    seen = output(console)
    assert (
        f"Best accuracy {scores['best']['value']:.4f} (eval split, update {scores['best']['step']})" in seen
    )
    for split in (scores["eval"], scores["test"], scores["baseline"]["test"]):
        assert f"{split['accuracy']:.4f}" in seen
        assert f"{split['loss']:.4f}" in seen
    assert "10 s for 450 updates, 1,385 samples/s" in seen
    assert all(line == line.rstrip() for line in seen.splitlines())
    for name in ("best", "scores.json", "report.html", "checkpoint-450"):
        assert f"{tmp_path / name}\n" in seen  # whole, however narrow the terminal
    assert (
        f"Next: open {tmp_path / 'report.html'} in a browser, or hf-finetune predict {tmp_path} FILE...\n"
        in seen
    )


def test_the_summary_says_what_scores_of_shared_rows_are_worth(tmp_path):
    run_folders.make_digits_run(tmp_path)
    overlap, what, _ = run_folders.share_rows(tmp_path)
    console = capture()
    print_summary(tmp_path, console=console)
    assert f"  Note: {overlap}\n  Note: {what}\n\n" in output(console)


@pytest.mark.parametrize("width", [10, 40, 80])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
def test_the_summary_fits_any_terminal(tmp_path, width, encoding):
    folder = tmp_path / "modèle精"
    folder.mkdir()
    run_folders.make_digits_run(folder, updates=20)
    scores = json.loads((folder / "scores.json").read_text())
    scores["test"]["[red]精度\x1b[31m"] = 0.25
    (folder / "scores.json").write_text(json.dumps(scores))
    console = capture(width=width, encoding=encoding)
    print_summary(folder, console=console)
    assert "\x1b" not in output(console)
    assert ("0.2500" in output(console)) == (width >= 40)


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "3", '{"best": {"value": 1}, "eval": 3, "train": {"runtime_s": "x"}}']
)
def test_the_summary_of_a_run_without_scores(tmp_path, content):
    (tmp_path / "scores.json").write_text(content)
    (tmp_path / "checkpoint-9").mkdir()
    (tmp_path / "checkpoint-10").mkdir()
    console = capture()
    print_summary(tmp_path, console=console)
    assert "checkpoint-10\n" in output(console)
    assert f"hf-finetune run {tmp_path / 'recipe.yaml'} --resume" in output(console)


@pytest.mark.parametrize(
    ("error", "seen"),
    [
        (UserError("no 'lable'", where="a/very/long/path/r.yaml:3:5", todo="Use 'label'."),
         "error: a/very/long/path/r.yaml:3:5: no 'lable'. Use 'label'.\n"),
        (UserError("first\nsecond"), "error:\nfirst\nsecond\n"),
        (UserError("[red]not markup[/red]\x1b[2J"), "error: [red]not markup[/red][2J\n"),
        (Interrupted(15, "runs/x/checkpoint-5"), "stopped by SIGTERM; the state is in runs/x/checkpoint-5\n"),
    ],
)  # fmt: skip
def test_an_error_is_one_message(error, seen):
    console = capture(width=20)
    print_error(error, console=console)
    assert output(console) == seen


def test_what_cannot_be_written_is_spelled_out():
    assert printable("é精\t\x07\r|", capture(encoding="latin-1")) == "é\\u7cbe  |"


def test_errors_are_printed_without_transformers():
    code = (
        "import sys; from hf_finetune.terminal import print_error; from hf_finetune.errors import UserError\n"
        "print_error(UserError('x')); assert not {'torch', 'transformers', 'numpy'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "error: x\n")
