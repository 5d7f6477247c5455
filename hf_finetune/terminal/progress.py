"""Progress of a training: a bar on a terminal, a line now and then in a file."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

from rich.console import Console
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from hf_finetune.formatting import (
    as_float,
    format_duration,
    format_name,
    format_number,
    format_rate,
    is_score,
)
from hf_finetune.processes import is_first_process
from hf_finetune.terminal.display import Display
from hf_finetune.terminal.pace import Pace
from hf_finetune.terminal.status import Field, StatusLine, format_clock

__all__ = ["TerminalProgress"]

REFRESH_S = 0.2
LINE_S = 10.0


class TerminalProgress(TrainerCallback):  # type: ignore[misc]  # transformers has no types
    """Show update, epoch, loss, metric, throughput and time left, on the main process only.

    On a terminal that is a bar at the bottom, with a line for each evaluation above it; what others print,
    log or warn goes above it too. Elsewhere it is plain lines without control characters: each evaluation,
    and the training at most every ten seconds. It stands for transformers' ProgressCallback and
    PrinterCallback. Use it as a context manager, or call `close`, so that the terminal is given back when
    training ends by an exception.

    Args:
        title: What goes on, where it is not the training itself ("baseline").
        console: Where to; standard error if left out.
        is_live: Draw a bar; decided by the console if left out.
        clock: Seconds from some moment on.
    """

    def __init__(
        self,
        title: str = "training",
        *,
        console: Console | None = None,
        is_live: bool | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.title = title
        self.display = Display(self._lines, console=console, is_live=is_live)
        self._clock = clock
        self._pace = Pace(clock)
        self._last_shown = -math.inf
        self._training: StatusLine | None = None
        self._evaluating: StatusLine | None = None
        self._first_step = 0
        self._loss: float | None = None
        self._score = ""
        self._best: float | None = None

    def __enter__(self) -> TerminalProgress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Take the bar away and give the terminal back; nothing happens the second time."""
        self.display.close()

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Start the bar; a resumed run starts at its update."""
        if not state.is_world_process_zero:
            return
        self._pace = Pace(self._clock)
        self._first_step, self._best = state.global_step, state.best_metric
        self._training = self._describe(state)
        if state.global_step:
            self._write(f"resumed at update {state.global_step}/{state.max_steps}")
        self.display.open()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Move the bar."""
        if not state.is_world_process_zero or self._training is None:
            return
        batch = (state.train_batch_size or args.train_batch_size) * args.gradient_accumulation_steps
        self._pace.step((state.global_step - self._first_step) * batch * args.world_size)
        if self.display.is_live and self._is_due(REFRESH_S):
            self._training = self._describe(state)
            self.display.refresh()

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Take note of the loss; without a terminal, write a line if the last one is long ago."""
        loss = as_float((logs or {}).get("loss"))
        if not state.is_world_process_zero or loss is None or logs is None:
            return
        self._loss = loss
        if self.display.is_live or not self._is_due(LINE_S):
            return
        rate, norm = as_float(logs.get("learning_rate")), as_float(logs.get("grad_norm"))
        self._write(
            _place(state),
            f"loss {format_number(loss)}",
            f"learning rate {rate:.3g}" if rate is not None else "",
            f"gradient norm {norm:.3g}" if norm is not None else "",
            *self._speed(state),
        )

    def on_prediction_step(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        eval_dataloader: Any = None,
        **kwargs: Any,
    ) -> None:
        """Move the bar of the evaluation."""
        if state.is_world_process_zero:
            self._pace.rest()
            if self._evaluating is None and self._training is not None:
                self._training = self._describe(state)
            self._count_batch("evaluating", eval_dataloader)

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Write a line with the scores, and whether they are the best so far."""
        if not state.is_world_process_zero:
            return
        self._pace.rest()
        is_best = self._take_score(args, metrics or {})
        if self._training is not None:
            self._training = self._describe(state)
        self._end_evaluation()
        self._write(_place(state), *_name_scores(metrics or {}), "(best so far)" if is_best else "")

    def on_predict(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Write a line with the scores."""
        if state.is_world_process_zero:
            self._end_evaluation()
            self._write(*_name_scores(metrics or {}))

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Leave the time of saving out of the throughput."""
        self._pace.rest()

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Take the bar away and say how long it took."""
        if not state.is_world_process_zero or self._training is None:
            return
        self._training = None
        self.close()
        took = format_duration(self._pace.elapsed_s)
        self.display.write(f"{self.title} ended at update {state.global_step}/{state.max_steps} after {took}")

    def track(self, split: str) -> Callable[[Any], None]:
        """Return a function to call after each batch with its loader, while a split is scored after training.

        Args:
            split: Its name.
        """

        def step(loader: Any) -> None:
            if is_first_process():
                self._count_batch(f"scoring {split}", loader)
                if self._evaluating is not None and self._evaluating.done == self._evaluating.total:
                    self._end_evaluation()

        return step

    def _lines(self) -> list[StatusLine]:
        return [line for line in (self._training, self._evaluating) if line is not None]

    def _write(self, *pieces: str) -> None:
        title = self.title if self.title != "training" else ""
        text = "  ".join(piece for piece in (title, *pieces) if piece)
        if text:
            self.display.write(text)

    def _is_due(self, interval_s: float) -> bool:
        """Whether so much time has passed since the last yes."""
        now = self._clock()
        if now - self._last_shown < interval_s:
            return False
        self._last_shown = now
        return True

    def _describe(self, state: TrainerState) -> StatusLine:
        """Make the line of the training; what matters least has the highest rank and goes first."""
        epochs = f"/{state.num_train_epochs}" if 0 < state.num_train_epochs < 10_000 else ""
        rate, left = self._speed(state)
        return StatusLine(
            label=self.title,
            done=state.global_step,
            total=state.max_steps if state.max_steps > 0 else None,
            fields=(
                Field(f"epoch {state.epoch or 0:.2f}{epochs}", 6),
                Field(f"loss {format_number(self._loss)}" if self._loss is not None else "", 2),
                Field(self._score, 3),
                Field(rate, 5),
                Field(left, 1),
            ),
        )

    def _speed(self, state: TrainerState) -> tuple[str, str]:
        """Return throughput and time left in words; empty before the first update."""
        rate = self._pace.samples_per_second
        left = self._pace.seconds_left(
            state.global_step - self._first_step, state.max_steps - self._first_step
        )
        if rate is None or left is None:
            return "", ""
        return f"{format_rate(rate)} samples/s", f"{format_clock(left)} left"

    def _take_score(self, args: TrainingArguments, metrics: Mapping[str, Any]) -> bool:
        """Keep the score that decides for the bar, and return whether it is the best so far."""
        key = "eval_" + str(args.metric_for_best_model or "loss").removeprefix("eval_")
        value = as_float(metrics.get(key))
        if value is None:
            return False
        self._score = _name_scores({key: value})[0]
        if not args.metric_for_best_model or not math.isfinite(value):
            return False
        is_best = self._best is None or (value > self._best if args.greater_is_better else value < self._best)
        self._best = value if is_best else self._best
        return is_best

    def _count_batch(self, label: str, loader: Any) -> None:
        try:
            total = len(loader)
        except TypeError:  # a stream
            total = None
        done = self._evaluating.done + 1 if self._evaluating is not None else 1
        if total is not None and done > total:  # the next of several evaluation sets
            done = 1
        self._evaluating = StatusLine(label=label, done=done, total=total)
        self.display.open()
        if self.display.is_live and self._is_due(REFRESH_S):
            self.display.refresh()

    def _end_evaluation(self) -> None:
        self._evaluating = None
        if self._training is None:
            self.close()
        else:
            self.display.refresh()


def _place(state: TrainerState) -> str:
    epoch = f"  epoch {state.epoch:.2f}" if state.epoch is not None else ""
    return f"update {state.global_step}/{state.max_steps}{epoch}"


def _name_scores(metrics: Mapping[str, Any]) -> list[str]:
    """Name the scores without their split; a loss keeps it, for there are two."""
    names = {key: key.replace("_", " ") if key.endswith("loss") else format_name(key) for key in metrics}
    return [f"{names[key]} {format_number(value)}" for key, value in metrics.items() if is_score(key, value)]
