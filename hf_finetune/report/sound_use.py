"""How a plain pipeline hears sounds otherwise than `predict` does, for the snippets of report and card."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from hf_finetune.formatting import as_finite
from hf_finetune.report.record import RunRecord

__all__ = ["list_sound_notes", "read_rate"]

WINDOW_S = 20.0
"""What `predict` hears at once of a sound that is classified, by a model that takes any length."""
CTC_S = 30.0
"""The same for CTC."""


def read_rate(record: RunRecord) -> int | None:
    """Return the sampling rate of what reads sounds, alone or as a part of a processor."""
    rate = _read_extractor(record).get("sampling_rate")
    return rate if isinstance(rate, int) else None


def list_sound_notes(record: RunRecord) -> list[str]:
    """Say where a pipeline's answer is another than that of `predict`, and what to do first."""
    task = record.recipe.get("task")
    name, options = (task.get("name"), task) if isinstance(task, Mapping) else (task, {})
    if name not in ("audio-classification", "automatic-speech-recognition"):
        return []
    extractor = _read_extractor(record)
    window = _find_window(extractor)
    notes = []
    if name == "audio-classification":
        seconds = as_finite(options.get("window_seconds")) or window or WINDOW_S
        heard = f"hears the first {window:g} s alone" if window else "hears all of it at once"
        notes += [
            f"Longer than {seconds:g} s: a pipeline {heard}, and hf-finetune predict takes",
            f"the mean of the logits of evenly spaced windows of {seconds:g} s: cut it, or use predict.",
        ]
    elif record.scores.get("problem_type") == "ctc":
        notes += [
            f"Longer than {CTC_S:g} s: add chunk_length_s={CTC_S:g}, stride_length_s=2.5 to pipeline();",
            "hf-finetune predict hears such windows, too, but may begin them a few samples elsewhere.",
        ]
    else:
        per_second = options.get("max_tokens_per_second", 20)
        if window:
            notes.append(
                f"Longer than {window:g} s: add return_timestamps=True to the call, as predict does."
            )
        if per_second is not None:
            notes += [
                f"hf-finetune predict writes at most {per_second:g} tokens for a second, and 8 more;",
                "a pipeline goes on to max_length of generation_config.json where the model does not stop.",
            ]
    if window is None:
        notes += [
            "One sound at a time (batch_size=1, as here), which is how predict hears them: in a batch some",
            "models hear the padding, and answer otherwise.",
        ]
    return notes


def _find_window(extractor: Mapping[str, Any]) -> float | None:
    """Return the seconds that a model with inputs of one length hears; as `find_window` of the tasks."""
    if as_finite(extractor.get("chunk_length")):
        return as_finite(extractor["chunk_length"])
    frames = as_finite(extractor.get("max_length"))
    return frames / 100 if frames and extractor.get("num_mel_bins") else None


def _read_extractor(record: RunRecord) -> Mapping[str, Any]:
    for name in ("preprocessor_config.json", "processor_config.json"):
        try:
            config = json.loads((record.folder / "best" / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        part = config.get("feature_extractor") if isinstance(config, dict) else None
        found = part if isinstance(part, dict) else config
        if isinstance(found, dict) and isinstance(found.get("sampling_rate"), int):
            return found
    return {}
