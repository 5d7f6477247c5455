"""Let a decoder write: no more than a clip of its length can say, and no row otherwise than alone.

Shapes: B rows, L tokens.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from transformers import StoppingCriteria, StoppingCriteriaList

from hf_finetune.problems import NUM_SAMPLES
from hf_finetune.tasks.equal_lengths import find_groups, join_rows, take_rows

__all__ = ["MARGIN", "TokenLimits", "count_allowed", "write"]

MARGIN = 8
"""Tokens that even the shortest clip may have."""


def count_allowed(seconds: Any, per_second: float) -> Any:
    """Return how many tokens may be written of clips of so many seconds; an array or a number."""
    return seconds * per_second + MARGIN


class TokenLimits(StoppingCriteria):  # type: ignore[misc]
    """Stop each row of a batch at its own number of new tokens; those of all its beams.

    Args:
        limits: int64 [B].

    Attributes:
        start: Tokens that the decoder is given; found when it has written the first.
    """

    def __init__(self, limits: torch.Tensor) -> None:
        self.limits, self.start, self._length = limits, 0, 0

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        """Return which rows are done, bool [B * beams]."""
        rows, length = input_ids.shape
        if length <= self._length or not self._length:  # the first token, of this window of a long clip
            self.start = length - 1
        self._length = length
        limits = self.limits.to(input_ids.device)
        # Whisper writes some rows again alone where it is told to look at its own certainty
        is_whole = rows % len(limits) == 0
        limits = limits.repeat_interleave(rows // len(limits)) if is_whole else limits.max().expand(rows)
        return length - self.start >= limits


def write(
    model: Any,
    inputs: Mapping[str, torch.Tensor],
    *,
    rate: int,
    per_second: float | None,
    longest: float | None = None,
    **settings: Any,
) -> dict[str, torch.Tensor]:
    """Return what a model writes: "prediction" int64 [B, L], and "hit_limit" bool [B].

    Args:
        model: With its `generation_config`.
        inputs: Of a batch; "num_samples" [B] says how long the clips are.
        rate: Samples a second.
        per_second: Tokens that may be written for each second; None sets no limit but the model's own.
        longest: Seconds that are written in one go; a longer clip has as many goes as it takes.
        settings: Of `generate`.
    """
    alike = partial(_write_alike, model, rate=rate, per_second=per_second, longest=longest, settings=settings)
    groups = find_groups(model, inputs)
    if groups is None:
        return alike(inputs)
    lengths = {NUM_SAMPLES: inputs[NUM_SAMPLES]} if NUM_SAMPLES in inputs else {}
    parts = [
        alike(take_rows(inputs, rows, length) | {name: value[rows] for name, value in lengths.items()})
        for rows, length in groups
    ]
    pad = _find_pad(model.generation_config)
    return {name: join_rows(groups, [part[name] for part in parts], pad) for name in parts[0]}


def _write_alike(
    model: Any,
    inputs: Mapping[str, torch.Tensor],
    *,
    rate: int,
    per_second: float | None,
    longest: float | None,
    settings: dict[str, Any],
) -> dict[str, torch.Tensor]:
    heard = {name: value for name, value in inputs.items() if name not in ("decoder_input_ids", NUM_SAMPLES)}
    lengths = inputs.get(NUM_SAMPLES)
    limits = torch.full((len(next(iter(heard.values()))),), torch.iinfo(torch.int64).max)
    if lengths is not None and per_second is not None:
        seconds = (lengths.cpu() / rate).clamp(max=longest if longest is not None else math.inf)
        limits = count_allowed(seconds, per_second).ceil().long()
    criterion = TokenLimits(limits)
    tokens = model.generate(**heard, stopping_criteria=StoppingCriteriaList([criterion]), **settings)
    hits = _find_hits(tokens, criterion, model.generation_config)
    # what goes on from window to window is not counted from the start
    is_long = lengths is not None and longest is not None and bool((lengths > longest * rate).any())
    return {"prediction": tokens, "hit_limit": torch.zeros_like(hits) if is_long else hits}


def _find_hits(tokens: torch.Tensor, criterion: TokenLimits, config: Any) -> torch.Tensor:
    """Tell which rows were stopped before they ended, by their own limit or by the model's."""
    ends = [config.eos_token_id] if isinstance(config.eos_token_id, int) else list(config.eos_token_id or [])
    written = tokens[:, criterion.start :] if _has_prompt(tokens, config) else tokens
    is_end = torch.isin(written, torch.tensor([*ends, _find_pad(config)], device=tokens.device))
    counts = torch.where(is_end.any(1), is_end.int().argmax(1), written.shape[1])
    most = config.max_new_tokens or (config.max_length or 0) - criterion.start
    limits = criterion.limits.to(tokens.device)
    return counts >= (limits.clamp(max=most) if most > 0 else limits)


def _has_prompt(tokens: torch.Tensor, config: Any) -> bool:
    """Tell whether what the decoder was given is in what it returned: Whisper's is not."""
    start = config.decoder_start_token_id
    return start is not None and tokens.shape[1] > 0 and bool((tokens[:, 0] == start).all())


def _find_pad(config: Any) -> int:
    if config.pad_token_id is not None:
        return int(config.pad_token_id)
    return int(config.eos_token_id if isinstance(config.eos_token_id, int) else config.eos_token_id[0])
