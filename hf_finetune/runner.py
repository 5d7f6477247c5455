"""One run, eight hops: recipe -> names -> processor -> data -> model -> ingredients -> engine -> finish."""

from __future__ import annotations

import copy
import logging
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from accelerate.utils import broadcast_object_list
from transformers import EarlyStoppingCallback, TrainerState, TrainingArguments, set_seed

from hf_finetune.arguments import build_arguments, fill_defaults, output_folder
from hf_finetune.data import Splits, build_datasets, check_batch_size
from hf_finetune.endings import explain_endings
from hf_finetune.engines import ENGINES, Engine, checkpoint
from hf_finetune.engines.arguments import require_arguments
from hf_finetune.engines.evaluation import evaluate as score
from hf_finetune.engines.evaluation import try_one_batch
from hf_finetune.engines.ingredients import Guard, Ingredients
from hf_finetune.environment import describe_environment, describe_inputs, list_loose_revisions
from hf_finetune.errors import DataError, RunFolderError
from hf_finetune.losses import build_loss
from hf_finetune.metrics import MetricSet, build_metrics
from hf_finetune.model import build_model, count_parameters, load_model
from hf_finetune.processes import is_first_process, require_world_size
from hf_finetune.recipe import Recipe, import_user_files, load_recipe
from hf_finetune.report import write_report
from hf_finetune.resume import build_stamp, require_same_run
from hf_finetune.run_folder import RunFolder, write_json
from hf_finetune.scoring import describe_best, save_best, score_splits
from hf_finetune.tasks import Task, build_task
from hf_finetune.terminal import JsonLines, TerminalProgress

__all__ = ["Prepared", "Result", "check", "evaluate", "prepare", "run"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """Everything up to the first training step.

    Args:
        recipe: Resolved: with every default filled in.
        task: What is special about the task.
        splits: The data, ready for the model.
        metrics: Fed by the engine; also knows which way is better.
        engine: Trains the parts.
        parts: What the engine is given.
        trust_remote_code: Whether the user lets code of the checkpoint run.
    """

    recipe: Recipe
    task: Task
    splits: Splits
    metrics: MetricSet
    engine: Engine
    parts: Ingredients
    trust_remote_code: bool


@dataclass(frozen=True, kw_only=True)
class Result:
    """A finished run.

    Args:
        folder: Where everything is.
        state: Of the engine: history, best metric, best step.
        scores: What `scores.json` says.
    """

    folder: RunFolder
    state: TrainerState
    scores: dict[str, Any]


def run(
    recipe: Recipe,
    *,
    resume: bool | Path = False,
    overwrite: bool = False,
    trust_remote_code: bool = False,
) -> Result:
    """Train what a recipe says and leave a run folder behind.

    Args:
        recipe: As `load_recipe` returns it.
        resume: True goes on from the last whole checkpoint; a path from that one.
        overwrite: Replace the run that is in the folder.
        trust_remote_code: Run code that comes with the checkpoint or the data set.

    Raises:
        UserError: Something the user can fix; nothing was lost.
        Interrupted: Ctrl-C or SIGTERM, after a checkpoint was written.

    Example:
        from hf_finetune import load_recipe, run
        print(run(load_recipe("recipes/quickstart.yaml")).scores["test"]["accuracy"])
    """
    folder = RunFolder(Path(output_folder(recipe)))
    with explain_endings(folder.path):
        return _run(recipe, folder, resume=resume, overwrite=overwrite, trust_remote_code=trust_remote_code)


def _run(
    recipe: Recipe, folder: RunFolder, *, resume: bool | Path, overwrite: bool, trust_remote_code: bool
) -> Result:
    # by every process: the others would wait for one that is refused alone
    folder.claim(resume=bool(resume), overwrite=overwrite)
    prepared = prepare(recipe, trust_remote_code=trust_remote_code)
    resume_from = _find_checkpoint(prepared, folder, resume)
    if is_first_process():
        if not resume:
            folder.clear()
        folder.recipe.write_text(prepared.recipe.to_yaml(), encoding="utf-8")
        inputs = describe_inputs(prepared.recipe, prepared.splits, prepared.parts.args)
        write_json(folder.environment, describe_environment(recipe.source) | inputs)
    # 7 engine
    with TerminalProgress() as progress:
        parts = _with_callbacks(prepared, progress, folder.log)
        state = prepared.engine(parts, resume_from)
        # 8 finish
        scores = _finish(prepared, parts, state, folder, progress)
    if recipe.baseline is not None:
        scores["baseline"] = _run_baseline(prepared, folder)
    if is_first_process():
        write_json(folder.scores, scores)
        write_report(folder.path)
    return Result(folder=folder, state=state, scores=scores)


def check(recipe: Recipe, *, trust_remote_code: bool = False) -> list[str]:
    """Find everything that can be wrong before any training step; last, one batch goes through the model.

    Returns:
        What would be trained, a line each.

    Raises:
        UserError: What is wrong.
    """
    prepared = prepare(recipe, trust_remote_code=trust_remote_code)
    parts, splits = prepared.parts, prepared.splits
    try_one_batch(parts)
    num_all, num_trained = count_parameters(parts.model)
    return [
        f"task     {recipe.task.name}, {splits.labels.describe()}",
        f"model    {recipe.model.checkpoint}: {num_all:,} parameters, {num_trained:,} trained",
        f"data     {', '.join(f'{name} {size:,} rows' for name, size in splits.sizes.items())}",
        f"columns  {', '.join(f'{role}: {column}' for role, column in splits.columns.items())}",
        f"best by  {parts.args.metric_for_best_model}",
        *(f"pin      {key}: {commit}  (today's commit)" for key, commit in list_loose_revisions(recipe)),
    ]


def evaluate(run_folder: Path, *, split: str = "test", trust_remote_code: bool = False) -> dict[str, float]:
    """Score the best model of a finished run again.

    Args:
        run_folder: As `run` left it.
        split: "eval" or "test".
        trust_remote_code: Run code that comes with the checkpoint or the data set.

    Returns:
        `{name: value}`, the same as in `scores.json` to the last digit.

    Raises:
        RunFolderError: There is no finished run.
        DataError: The recipe has no such split.
    """
    folder = RunFolder(run_folder)
    if not folder.scores.exists() or not folder.best.is_dir():
        raise RunFolderError("there is no finished run", where=str(run_folder), todo="Train it first.")
    prepared = prepare(load_recipe(folder.recipe), trained=folder.best, trust_remote_code=trust_remote_code)
    dataset = getattr(prepared.splits, split, None) if split in ("eval", "test") else None
    if dataset is None:
        raise DataError(
            f"this run has no split {split!r}", where=str(folder.recipe), todo="Use eval or test."
        )
    with TerminalProgress() as progress:
        scores = score(prepared.parts, dataset, prefix=split, on_step=progress.track(split))
    return {name.removeprefix(f"{split}_"): value for name, value in scores.items()}


def prepare(recipe: Recipe, *, trained: Path | None = None, trust_remote_code: bool = False) -> Prepared:
    """Do hops 2 to 6: everything that can go wrong before the first training step goes wrong here.

    Args:
        recipe: As `load_recipe` returns it.
        trained: The folder of a model that was trained by this recipe, to be used instead of the checkpoint.
        trust_remote_code: Run code that comes with the checkpoint or the data set.

    Raises:
        UserError: Names, data, model or arguments do not fit.
    """
    # 2 registries
    import_user_files(recipe)
    task = build_task(recipe, trust_remote_code=trust_remote_code)
    engine = ENGINES.get(recipe.engine, where=recipe.where("engine"))
    training = fill_defaults(recipe)
    args = build_arguments(recipe, training)
    require_world_size(args.world_size)
    require_arguments(args, recipe.engine, has_eval_set=True)  # a missing eval split is held out
    # 3 processor
    processor = task.load_processor(recipe, trust_remote_code=trust_remote_code)
    # 4 data
    with args.main_process_first():  # the other processes then find it cached
        splits = build_datasets(recipe, task, processor, seed=args.seed)
    labels = splits.labels
    check_batch_size(
        splits,
        args.train_batch_size * args.world_size,
        where=recipe.where("training.per_device_train_batch_size"),
    )
    for note in splits.notes:
        logger.info(note)
    for name, rows in splits.dropped.items():
        logger.warning("%s: %d unusable rows dropped, such as row %d: %s", name, len(rows), *rows[0])
    specs = recipe.metrics or tuple(task.default_metrics(labels))
    metrics = build_metrics(specs, labels, where=recipe.where, trust_remote_code=trust_remote_code)
    training |= _choose_best_by(metrics, recipe, args)
    # 5 model
    set_seed(args.seed)  # a new head draws its weights
    if trained is None:
        model = build_model(recipe, task, labels, trust_remote_code=trust_remote_code)
    else:
        model = load_model(trained, recipe, task, labels, trust_remote_code=trust_remote_code)
    # 6 ingredients
    resolved = recipe.model_copy(update={"training": training, "metrics": specs})
    parts = Ingredients(
        model=model,
        args=args,
        train_dataset=splits.train,
        eval_dataset=splits.eval,
        collate=task.build_collate(labels),
        loss=build_loss(
            recipe.loss,
            labels,
            label_smoothing=args.label_smoothing_factor,
            count_labels=lambda: _count_labels(splits),
            where=recipe.where,
        ),
        reduce=task.build_reduce(labels),
        decode=task.build_decode(labels),
        metrics=metrics,
        processor=task.complete_processor(processor, labels),
        guard=Guard(max_skips=recipe.guard.max_skips),
        stamp=build_stamp(resolved, args, splits.fingerprint),
    )
    return Prepared(
        recipe=resolved,
        task=task,
        splits=splits,
        metrics=metrics,
        engine=engine,
        parts=parts,
        trust_remote_code=trust_remote_code,
    )


def _count_labels(splits: Splits) -> list[int]:
    """Return the number of training rows of each class, for balanced class weights."""
    raw = splits.train.raw
    classes = raw.targets.classes
    if classes is None:
        raise DataError("class_weights: balanced needs one class per row", todo="Give the weights as a list.")
    counts: list[int] = np.bincount(classes[raw.rows], minlength=splits.labels.num_labels).tolist()
    return counts


def _choose_best_by(metrics: MetricSet, recipe: Recipe, args: TrainingArguments) -> dict[str, Any]:
    """Let the first metric decide which model is best, and the metric itself which way is better."""
    if args.eval_strategy == "no":
        return {}
    name = recipe.training.get("metric_for_best_model") or next(iter(metrics.names), "loss")
    where = recipe.where("training.metric_for_best_model")
    args.metric_for_best_model = name
    args.greater_is_better = recipe.training.get(
        "greater_is_better", metrics.greater_is_better(name, where=where)
    )
    return {"metric_for_best_model": name, "greater_is_better": args.greater_is_better}


def _with_callbacks(prepared: Prepared, progress: TerminalProgress, log: Path) -> Ingredients:
    stopping = prepared.recipe.early_stopping
    patience = [EarlyStoppingCallback(stopping.patience, stopping.threshold)] if stopping else []
    return replace(prepared.parts, callbacks=[JsonLines(log), progress, *patience])


def _finish(
    prepared: Prepared, parts: Ingredients, state: TrainerState, folder: RunFolder, progress: TerminalProgress
) -> dict[str, Any]:
    """Keep the best model, load it back from the disk as a user would, and score every split with it."""
    task, splits = prepared.task, prepared.splits
    save_best(parts, state, folder.best)
    trust = prepared.trust_remote_code
    model = load_model(folder.best, prepared.recipe, task, splits.labels, trust_remote_code=trust)
    scored = replace(parts, model=model)
    return {
        "best": describe_best(parts, state),
        **splits.labels.to_json(),
        **score_splits(scored, task, splits, prepared.metrics, folder, on_step=progress.track),
        "train": _describe_training(parts, state),
    }


def _run_baseline(prepared: Prepared, folder: RunFolder) -> dict[str, Any]:
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
        parts = _with_callbacks(own, progress, folder.baseline_log)
        scores = _finish(own, parts, prepared.engine(parts, None), RunFolder(folder.baseline), progress)
    if is_first_process():
        shutil.rmtree(folder.baseline)
    return {"name": "from-scratch", **{key: scores[key] for key in ("best", "eval", "test") if key in scores}}


def _find_checkpoint(prepared: Prepared, folder: RunFolder, resume: bool | Path) -> Path | None:
    """Return the checkpoint to go on from, after comparing its recipe with this one."""
    if not resume:
        return None
    found: Path | None
    if resume is True:
        # the first process tidies up what a crash left; the others must not look on meanwhile
        found = broadcast_object_list([checkpoint.find_last(folder.path) if is_first_process() else None])[0]
        if found is None:
            logger.warning("there is no whole checkpoint in %s: starting from the beginning", folder.path)
            return None
    else:
        found = Path(resume)
        checkpoint.verify(found)
    stamp = checkpoint.load_stamp(found)
    if stamp is None:
        logger.warning("%s does not say which recipe it was made with: taking it as it is", found)
    else:
        for change in require_same_run(stamp, prepared.parts.stamp, where=str(found)):
            logger.info(change)
    if resume is True and is_first_process():  # a crash may have come between saving and this
        best = checkpoint.load_state(found).best_model_checkpoint
        checkpoint.rotate(folder.path, prepared.parts.args.save_total_limit, best=best, newest=found)
    logger.info("going on from %s", found)
    return found


def _describe_training(parts: Ingredients, state: TrainerState) -> dict[str, Any]:
    num_all, num_trained = count_parameters(parts.model)
    logged: dict[str, Any] = next((e for e in reversed(state.log_history) if "train_runtime" in e), {})
    return {
        "runtime_s": logged.get("train_runtime"),
        "samples_per_second": logged.get("train_samples_per_second"),
        "updates": state.global_step,
        "num_parameters": num_all,
        "num_trained": num_trained,
    }
