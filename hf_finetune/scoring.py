"""After training: keep the best model, load it back, score every split with it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from transformers import TrainerState

from hf_finetune.atomic_io import remove, replace_folder
from hf_finetune.data import Splits
from hf_finetune.data.rows import sum_seconds
from hf_finetune.engines import checkpoint
from hf_finetune.engines.evaluation import evaluate
from hf_finetune.engines.ingredients import Ingredients
from hf_finetune.failures import surviving
from hf_finetune.metrics import MetricSet
from hf_finetune.metrics.transcript_notes import TranscriptNotes
from hf_finetune.model import save_model
from hf_finetune.predictions import PredictionWriter, write_worst
from hf_finetune.problems import TEXT
from hf_finetune.run_folder import RunFolder, seal_best
from hf_finetune.tasks.base import Task
from hf_finetune.transcript_words import tell_notes

logger = logging.getLogger(__name__)

__all__ = ["describe_best", "find_best_checkpoint", "save_best", "score_splits"]


def find_best_checkpoint(state: TrainerState, output_dir: Path) -> Path | None:
    """Return the checkpoint with the best metric; without one the last of this run; None without any."""
    if state.best_model_checkpoint and Path(state.best_model_checkpoint).is_dir():
        return Path(state.best_model_checkpoint)
    return checkpoint.find_last(output_dir, of=state)


def save_best(parts: Ingredients, state: TrainerState, best: Path, *, merge: bool = False) -> dict[str, Any]:
    """Write the best model and its processor to a folder that plain `from_pretrained` reads.

    The weights of the best checkpoint are read into `parts.model`; without a checkpoint (save_strategy
    "no") the model is saved as training left it.

    Args:
        parts: With the model and the processor.
        state: Names the best checkpoint.
        best: The folder.
        merge: Add adapters into the weights of a whole model.

    Returns:
        What `describe_best` says, and the sha256 of the folder's manifest.

    Raises:
        CheckpointError: The best checkpoint was damaged since it was written.
    """
    source = find_best_checkpoint(state, Path(parts.args.output_dir))
    if source is not None:
        checkpoint.verify(source)
        checkpoint.load_weights(source, parts.model)
    about = describe_best(parts, state)
    if PartialState().is_main_process:
        part = best.with_name(f"{best.name}.part")
        remove(part)
        save_model(parts.model, part, merge=merge)
        parts.processor.save_pretrained(part)
        about["manifest"] = seal_best(part, about)
        replace_folder(part, best)
    return dict(broadcast_object_list([about])[0])


def describe_best(parts: Ingredients, state: TrainerState) -> dict[str, Any]:
    """Return which metric decided, its value, and the step and split it was measured at.

    The value is that of the model that was kept, also when a better one was never saved; None when that one
    was not evaluated.
    """
    source = find_best_checkpoint(state, Path(parts.args.output_dir))
    step = int(source.name.rpartition("-")[2]) if source else state.global_step
    key = f"eval_{str(parts.args.metric_for_best_model).removeprefix('eval_')}"
    measured = [e[key] for e in state.log_history if e.get("step") == step and key in e]
    return {
        "metric": parts.args.metric_for_best_model,
        "greater_is_better": parts.args.greater_is_better,
        "value": measured[-1] if measured else None,
        "step": step,
        "split": "eval",
    }


def _give(takers: Sequence[Callable[[Any], None]], rows: Any) -> None:
    for take in takers:
        take(rows)


def score_splits(
    parts: Ingredients,
    task: Task,
    splits: Splits,
    metrics: MetricSet,
    folder: RunFolder,
    *,
    failures: dict[str, Exception],
    on_step: Callable[[str], Callable[[Any], None]],
) -> dict[str, Any]:
    """Score the evaluation and the test split with `parts.model`.

    A table that cannot be written costs no score.

    Args:
        parts: With the model to score.
        task: Makes the tables of predictions and the pictures of mistakes.
        splits: The data.
        metrics: For what is not a scalar, such as the confusion matrix.
        folder: Takes the predictions.
        failures: Takes what could not be written: name of the file -> why.
        on_step: Name of a split -> what to call after each of its batches.

    Returns:
        `{"eval": {name: value}, "test": {...}, "details": {split: {name: matrix}}}`, without absent splits;
        for text also `"transcripts"`, split -> what `TranscriptNotes` found.
    """
    scores: dict[str, Any] = {"details": {}}
    transcripts: dict[str, Any] = {}
    for name in ("eval", "test"):
        dataset = getattr(splits, name)
        if dataset is None:
            continue
        if PartialState().is_main_process:
            path, facts = folder.predictions(name), partial(splits.facts, name, task)
            with PredictionWriter(path, task, splits.labels, facts) as writer:
                notes = TranscriptNotes(metrics)
                takers: list[Callable[[Any], None]] = (
                    [writer, notes] if splits.labels.problem_type in TEXT else [writer]
                )
                found = evaluate(
                    parts,
                    dataset,
                    prefix=name,
                    on_batch=partial(_give, takers),
                    on_step=on_step(name),
                )
            if writer.failure is not None:
                failures[f"predictions/{path.name}"] = writer.failure
            transcripts[name] = notes.to_json(
                audio_s=sum_seconds(splits.raw(name), task), runtime_s=found[f"{name}_runtime"]
            )
            for sentence in tell_notes(name, transcripts[name]):
                logger.warning(sentence)
            if name == "test" or splits.test is None:
                with surviving(f"predictions/{folder.worst.name}", failures):
                    types, raw = task.table_types(splits.labels), splits.raw(name)
                    write_worst(folder.worst, writer.worst, raw, task.thumbnail, task.sound, types)
        else:
            found = evaluate(parts, dataset, prefix=name, on_step=on_step(name))
        scores[name] = {key.removeprefix(f"{name}_"): value for key, value in found.items()}
        scores["details"][name] = metrics.details()
    kept = {name: found for name, found in transcripts.items() if found}
    return {**scores, "transcripts": kept} if kept else scores
