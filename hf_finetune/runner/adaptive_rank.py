"""AdaLoRA in either engine: ranks are given and taken after each update, and its penalty is part of the loss.

PEFT leaves both to the user's own loop: `update_and_allocate` has to be called between the optimizer's step
and forgetting the gradients, and the penalty reaches only a loss that the model computes itself.
"""

from __future__ import annotations

from dataclasses import make_dataclass, replace
from functools import cache
from typing import Any

import torch
from peft import PeftModel, PeftType
from transformers import TrainerCallback

from hf_finetune.engines.evaluation import count_targets
from hf_finetune.engines.ingredients import Batch, Ingredients, Loss
from hf_finetune.errors import UserError

__all__ = ["RankSchedule", "with_adaptive_rank"]

PENALTY = "orthogonality_penalty"
"""Its name among the model's outputs."""


def with_adaptive_rank(parts: Ingredients) -> Ingredients:
    """Add what AdaLoRA needs; other models come back as they are."""
    model = parts.model
    if not isinstance(model, PeftModel) or model.active_peft_config.peft_type != PeftType.ADALORA:
        return parts
    return replace(
        parts, loss=_WithPenalty(parts.loss, model), callbacks=[RankSchedule(model), *parts.callbacks]
    )


class RankSchedule(TrainerCallback):  # type: ignore[misc]
    """Gives and takes ranks after each update; the averages it goes by are in every checkpoint.

    Updates count from 1, so that the last allocation comes after update `total - tfinal`, also when tfinal
    is 0.

    Args:
        model: With one AdaLoRA adapter.

    Source: Zhang et al. 2023, "Adaptive budget allocation for parameter-efficient fine-tuning"
    (https://openreview.net/forum?id=lq62uWRJjiY); peft 0.21, `AdaLoraModel.update_and_allocate`.
    """

    def __init__(self, model: PeftModel) -> None:
        self.tuner: Any = model.base_model
        self.config: Any = model.active_peft_config

    def on_train_begin(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        """Lay the schedule of ranks out over the updates of the run.

        Raises:
            UserError: tinit and tfinal leave no update in between.
        """
        begin, end, total = self.config.tinit, self.config.tfinal, state.max_steps
        if max(begin, 1) >= total - end:  # ranks are weighed from the first update on, and taken after it
            raise UserError(
                f"model.peft: tinit ({begin}) and tfinal ({end}) leave none of the {total} updates",
                todo="AdaLoRA lowers the ranks in between: make them smaller, or train longer.",
            )
        self.tuner.rankallocator.set_total_step(total)
        self.tuner.rankallocator.reset_ipt()
        self.config.rank_pattern = None

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        """Weigh every rank by its gradients, and mask those that matter least."""
        for name, parameter in self.tuner.model.named_parameters():
            if ".lora_" in name and parameter.requires_grad and parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)  # layer drop, or an update that was skipped
        self.tuner.update_and_allocate(state.global_step + 1)

    def state_dict(self) -> dict[str, Any]:
        """Return the averages and the last mask."""
        allocator = self.tuner.rankallocator
        return {
            "importance": dict(allocator.exp_avg_ipt),
            "uncertainty": dict(allocator.exp_avg_unc),
            "rank_pattern": self.config.rank_pattern,
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Put the averages and the last mask back."""
        allocator, places = self.tuner.rankallocator, dict(self.tuner.model.named_parameters())

        def placed(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
            return {name: tensor.to(places[name].device) for name, tensor in tensors.items()}

        allocator.exp_avg_ipt = placed(saved["importance"])
        allocator.exp_avg_unc = placed(saved["uncertainty"])
        # computed anew at each update; that it is there says that the averages are
        allocator.ipt = {name: torch.zeros_like(tensor) for name, tensor in allocator.exp_avg_ipt.items()}
        self.config.rank_pattern = saved["rank_pattern"]


class _WithPenalty:
    """A loss plus how far AdaLoRA's singular vectors are from being orthogonal, while training.

    The penalty of a window is that of one model, so each micro-batch adds its share, by targets. It comes out
    of the model with the outputs: several processes exchange no gradient of what a forward pass leaves out,
    and a layer that was dropped (layer drop) has its vectors in the penalty alone.
    """

    def __init__(self, loss: Loss, model: PeftModel) -> None:
        self.loss, self.config = loss, model.active_peft_config
        named = list(model.named_parameters())
        self.right = [parameter for name, parameter in named if ".lora_A." in name]  # [r, in] each
        self.left = [parameter for name, parameter in named if ".lora_B." in name]  # [out, r] each
        model.register_forward_hook(self._put_beside_outputs)

    def __call__(
        self, outputs: Any, labels: torch.Tensor, *, inputs: Batch, num_items_in_batch: torch.Tensor | int
    ) -> torch.Tensor:
        loss = self.loss(outputs, labels, inputs=inputs, num_items_in_batch=num_items_in_batch)
        if PENALTY not in outputs:
            return loss
        share = count_targets([{"labels": labels}]).to(loss.device) / num_items_in_batch
        total: torch.Tensor = loss + self.config.orth_reg_weight * share * outputs[PENALTY]
        return total

    def _put_beside_outputs(self, model: Any, inputs: Any, outputs: Any) -> Any:
        if not (torch.is_grad_enabled() and self.config.orth_reg_weight):  # an evaluation
            return outputs
        kind: Any = type(outputs)
        return _extend(kind)(**outputs, **{PENALTY: self._penalty()})

    def _penalty(self) -> torch.Tensor:
        """Return the mean of the norms of A A^T - 1 and B^T B - 1: []."""
        terms = []
        for rows in [*self.right, *(vectors.T for vectors in self.left)]:  # [r, n]
            eye = torch.eye(len(rows), dtype=rows.dtype, device=rows.device)
            terms.append(torch.linalg.norm(rows @ rows.T - eye))
        return torch.stack(terms).mean()


@cache
def _extend(outputs: type[Any]) -> type[Any]:
    """Return a kind of `ModelOutput` with the penalty besides; DDP takes apart what is declared, only."""
    return make_dataclass(f"{outputs.__name__}WithPenalty", [(PENALTY, Any, None)], bases=(outputs,))
