"""The last hop: the best model kept, read back and scored; the baseline beside it."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from transformers import EarlyStoppingCallback, TrainerCallback, TrainerState, set_seed

from hf_finetune.engines.ingredients import Ingredients
from hf_finetune.engines.padding import measure_padding
from hf_finetune.model import build_model, count_parameters, load_model
from hf_finetune.processes import is_first_process
from hf_finetune.run_folder import RunFolder
from hf_finetune.runner.adaptive_rank import with_adaptive_rank
from hf_finetune.runner.values import Prepared
from hf_finetune.scoring import save_best, score_splits
from hf_finetune.terminal import JsonLines, TerminalProgress

__all__ = ["finish", "run_baseline", "with_callbacks"]


def with_callbacks(
    prepared: Prepared, progress: TerminalProgress, log: Path, trackers: Sequence[TrainerCallback] = ()
) -> Ingredients:
    """Add who listens to the run: its log, the terminal, early stopping, trackers."""
    stopping = prepared.recipe.early_stopping
    patience = [EarlyStoppingCallback(stopping.patience, stopping.threshold)] if stopping else []
    args = copy.copy(prepared.parts.args)
    args.report_to = []  # the trackers are here already, set up for this run
    listeners = [JsonLines(log), progress, *patience, *trackers]
    return with_adaptive_rank(replace(prepared.parts, args=args, callbacks=listeners))


def finish(
    prepared: Prepared,
    parts: Ingredients,
    state: TrainerState,
    folder: RunFolder,
    progress: TerminalProgress,
    failures: dict[str, Exception],
) -> dict[str, Any]:
    """Keep the best model, load it back from the disk as a user would, and score every split with it.

    Args:
        prepared: The run.
        parts: What was trained.
        state: Of the engine.
        folder: Of the run.
        progress: Shows how far the scoring is.
        failures: Takes the tables that cannot be written: they cost no score.
    """
    task, splits = prepared.task, prepared.splits
    adapters = prepared.recipe.model.peft
    best = save_best(parts, state, folder.best, merge=bool(adapters and adapters.merge))
    trust = prepared.trust_remote_code
    model = load_model(folder.best, prepared.recipe, task, splits.labels, trust_remote_code=trust)
    scored = replace(parts, model=model)
    return {
        "best": best,
        **splits.labels.to_json(),
        "rows": splits.sizes,
        **score_splits(
            scored, task, splits, prepared.metrics, folder, failures=failures, on_step=progress.track
        ),
        "train": {**_describe_training(parts, state), "rows_per_class": splits.count_classes()},
    }


def run_baseline(prepared: Prepared, folder: RunFolder) -> dict[str, Any]:
    """Train the same architecture from random weights with the same settings, and keep its log and scores."""
    args = copy.copy(prepared.parts.args)
    args.output_dir = str(folder.baseline)
    set_seed(args.seed)
    model = build_model(
        prepared.recipe,
        prepared.task,
        prepared.splits.labels,
        from_scratch=True,
        trust_remote_code=prepared.trust_remote_code,
    )
    own = replace(prepared, parts=replace(prepared.parts, model=model, args=args))
    if is_first_process():
        shutil.rmtree(folder.baseline, ignore_errors=True)
    with TerminalProgress("baseline") as progress:
        parts = with_callbacks(own, progress, folder.baseline_log)
        state = prepared.engine(parts, None)
        scores = finish(own, parts, state, RunFolder(folder.baseline), progress, {})
    if is_first_process():
        shutil.rmtree(folder.baseline)
    return {"name": "from-scratch", **{key: scores[key] for key in ("best", "eval", "test") if key in scores}}


def _describe_training(parts: Ingredients, state: TrainerState) -> dict[str, Any]:
    num_all, num_trained = count_parameters(parts.model)
    logged: dict[str, Any] = next((e for e in reversed(state.log_history) if "train_runtime" in e), {})
    return {
        "runtime_s": logged.get("train_runtime"),
        "samples_per_second": logged.get("train_samples_per_second"),
        "updates": state.global_step,
        "num_parameters": num_all,
        "num_trained": num_trained,
        "padding": measure_padding(parts, parts.args),
    }
