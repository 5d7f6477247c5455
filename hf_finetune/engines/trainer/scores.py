"""Evaluations of the Trainer engine: in memory for one batch, NaN never the best."""

from __future__ import annotations

from typing import Any

from hf_finetune import optim
from hf_finetune.engines import bookkeeping
from hf_finetune.engines.evaluation import evaluate, name_eval_sets
from hf_finetune.engines.trainer.shared import Shared

__all__ = ["Scores"]


class Scores(Shared):
    """What is measured, and what follows from it."""

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: Any = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Score the evaluation sets; Trainer's own keeps the logits of all rows."""
        scores: dict[str, float] = {}
        datasets = name_eval_sets(eval_dataset or self.eval_dataset, metric_key_prefix)
        with bookkeeping.evaluating(self.state, self.optimizer, self.args):
            for prefix, dataset in datasets.items():
                found = evaluate(self.parts, dataset, prefix=prefix, on_step=self._on_prediction_step)
                scores |= found
                self.log(found)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, scores)
        return scores

    def _on_prediction_step(self, loader: Any) -> None:
        self.callback_handler.eval_dataloader = loader
        self.control = self.callback_handler.on_prediction_step(self.args, self.state, self.control)
        self.watch.leave_if_asked()

    def _evaluate(
        self, trial: Any, ignore_keys_for_eval: Any, skip_scheduler: bool = False
    ) -> dict[str, float]:
        if skip_scheduler and self.resume_from is not None:
            return {}  # eval_on_start: the start of a resumed run lies before its checkpoint
        scores = self.evaluate()
        if optim.is_metric_driven(self.lr_scheduler) and not skip_scheduler:
            self.lr_scheduler.step(bookkeeping.score_of(scores, self.args))
        return scores

    def _determine_best_metric(self, metrics: dict[str, float], trial: Any) -> bool:
        """Judge as Trainer does, but NaN is never the best."""
        return bookkeeping.take_if_best(metrics, self.state, self.args)
