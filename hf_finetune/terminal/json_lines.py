"""The log of a run as a file that can be read while the run goes on."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from hf_finetune.atomic_io import sync, write_bytes
from hf_finetune.secrecy import hide_in

__all__ = ["JsonLines"]


class JsonLines(TrainerCallback):  # type: ignore[misc]  # transformers has no types
    """Append every log entry to a file as one line of JSON without secrets, at once.

    A number that is not finite is written as null: strict JSON has no NaN, and a column stays numeric.
    A resumed run first rewrites the file from the history in its checkpoint, so that the file becomes
    that of a run which was never stopped: entries after the resumed step, and a torn last line, go.

    Args:
        path: The file; a new run replaces it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Start the file with what the run's history says; nothing, for a new run."""
        if not state.is_world_process_zero:
            return
        write_bytes(self.path, "".join(map(_line, state.log_history)).encode())

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Append an entry; closing the file hands it to the system, so that a killed run keeps it."""
        if state.is_world_process_zero and logs is not None:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(_line({**logs, "step": state.global_step}))

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Flush the file to the disk."""
        if state.is_world_process_zero and self.path.is_file():
            sync(self.path)


def _line(entry: Mapping[str, Any]) -> str:
    plain = {key: None if isinstance(v, float) and not math.isfinite(v) else v for key, v in entry.items()}
    return json.dumps(hide_in(plain), ensure_ascii=False, allow_nan=False, default=_as_number) + "\n"


def _as_number(value: Any) -> Any:
    """Unpack a scalar of numpy or torch; whatever else gets into a log is written as text."""
    try:
        number = value.item()
    except (AttributeError, ValueError, RuntimeError):
        return str(value)
    return None if isinstance(number, float) and not math.isfinite(number) else number
