"""The loss of text that is spelt frame by frame. Shapes: B rows, T frames, V tokens, L tokens of a target."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch.nn import functional as F

from hf_finetune.losses.base import IGNORED, LOSSES, Loss, check_problem, divide, get_logits
from hf_finetune.problems import CTC, NUM_SAMPLES, Labels
from hf_finetune.registry import OptionError

__all__ = ["CtcLabels", "build_ctc"]


class CtcLabels(Labels, Protocol):
    """What this loss must know beyond `Labels`; the `CtcSpace` of the tasks has it."""

    @property
    def blank(self) -> int:
        """Return the token that stands for nothing."""
        ...

    @property
    def reduction(self) -> str:
        """Return what the recipe's model.config says of ctc_loss_reduction; else "mean"."""
        ...

    @property
    def zero_infinity(self) -> bool:
        """Return what the recipe's model.config says of ctc_zero_infinity; else False."""
        ...

    def count_frames(self, lengths: torch.Tensor) -> torch.Tensor:
        """Return how many frames the model makes of inputs of these lengths, [B]."""
        ...


@LOSSES.register("ctc")
def build_ctc(space: CtcLabels, *, reduction: str | None = None, zero_infinity: bool | None = None) -> Loss:
    """Build connectionist temporal classification over [B, T, V] logits and [B, L] labels.

    A target is a token of a transcript: the sum of the rows' losses is divided by the number of tokens in the
    whole window, over all processes. torch's own "mean" is a mean over rows of means over tokens, which gives
    another number for every way of cutting a window into micro-batches.

    Args:
        space: The targets.
        reduction: "mean" over the tokens of the window, or "sum" over them; by default what model.config says
            of ctc_loss_reduction, else "mean".
        zero_infinity: Leave a row out whose transcript has more tokens than there are frames, instead of
            stopping at its infinite loss; by default what model.config says of ctc_zero_infinity, else false.

    Source: Graves et al. 2006; `torch.nn.functional.ctc_loss`; `Wav2Vec2ForCTC.forward` of transformers.
    """
    check_problem(space, CTC)
    chosen = reduction if reduction is not None else space.reduction
    if chosen not in ("mean", "sum"):
        raise OptionError(f"reduction must be mean or sum, not {chosen!r}", option="reduction")
    is_zeroed = zero_infinity if zero_infinity is not None else space.zero_infinity
    if not isinstance(is_zeroed, bool):
        raise OptionError(f"zero_infinity must be true or false, not {is_zeroed!r}", option="zero_infinity")

    def ctc(
        outputs: Any,
        labels: torch.Tensor,
        *,
        inputs: Mapping[str, torch.Tensor],
        num_items_in_batch: torch.Tensor | int,
    ) -> torch.Tensor:
        logits = get_logits(outputs)
        num_rows, num_frames = logits.shape[:2]
        frames = torch.full((num_rows,), num_frames, device=logits.device)
        # without a mask only evaluations know where a row ends
        lengths = inputs["attention_mask"].sum(-1) if "attention_mask" in inputs else inputs.get(NUM_SAMPLES)
        if lengths is not None:
            frames = space.count_frames(lengths).clamp(max=num_frames)
        is_target = labels != IGNORED
        # with full_determinism: torch 2.13 cannot repeat the backward pass of this loss on a GPU
        place = "cpu" if torch.are_deterministic_algorithms_enabled() else logits.device
        with torch.backends.cudnn.flags(enabled=False):  # its version takes other shapes and is not exact
            total = F.ctc_loss(
                F.log_softmax(logits, dim=-1).transpose(0, 1).to(place),  # [T, B, V]
                labels[is_target].to(place),
                frames.long().to(place),
                is_target.sum(-1).to(place),
                blank=space.blank,
                reduction="sum",
                zero_infinity=is_zeroed,
            ).to(logits.device)
        return total if chosen == "sum" else divide(total, num_items_in_batch)

    return ctc
