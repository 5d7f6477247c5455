"""One run, eight hops: recipe -> names -> processor -> data -> model -> ingredients -> engine -> finish."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import broadcast_object_list
from transformers import TrainingArguments, set_seed

from hf_finetune.arguments import build_arguments, choose_best_by, fill_defaults
from hf_finetune.augment import AUGMENTATIONS
from hf_finetune.card import write_card
from hf_finetune.data import build_datasets, check_batch_size
from hf_finetune.endings import explain_endings
from hf_finetune.engines import ENGINES, Engine
from hf_finetune.engines.arguments import check_arguments
from hf_finetune.engines.evaluation import try_one_batch
from hf_finetune.engines.ingredients import Guard, Ingredients
from hf_finetune.environment import describe_environment, describe_inputs
from hf_finetune.errors import RecipeError, RunFolderError, UserError
from hf_finetune.failures import raise_failures, surviving
from hf_finetune.formatting import count_classes
from hf_finetune.hub_access import tell_code_allowed
from hf_finetune.losses import LOSSES, build_loss
from hf_finetune.made_here import remember_imports
from hf_finetune.metrics import METRICS, build_metrics
from hf_finetune.model import build_model, describe_share, trying_changes
from hf_finetune.processes import is_first_process, require_world_size
from hf_finetune.publish import push_owned, push_while_training, require_push
from hf_finetune.recipe import NO_SWEEP, Recipe, import_user_files, list_remarks
from hf_finetune.registry import Registry
from hf_finetune.report import write_report
from hf_finetune.resume import build_stamp
from hf_finetune.run_folder import RunFolder, output_folder, own, write_json, write_text
from hf_finetune.runner.finish import finish, run_baseline, with_callbacks
from hf_finetune.runner.going_on import find_checkpoint
from hf_finetune.runner.values import Prepared, Result
from hf_finetune.tasks import TASKS, Task, build_task
from hf_finetune.tasks.values import Space
from hf_finetune.terminal import TerminalProgress
from hf_finetune.tracking import require_trackers, track

__all__ = ["build_parts", "prepare", "read_training", "run", "tell_data"]

logger = logging.getLogger(__name__)


def run(
    recipe: Recipe,
    *,
    resume: bool | Path = False,
    overwrite: bool = False,
    trust_remote_code: bool = False,
    allow_pickle: bool = False,
) -> Result:
    """Train what a recipe says and leave a run folder behind.

    Args:
        recipe: As `load_recipe` returns it.
        resume: True goes on from the last whole checkpoint; a path from that one.
        overwrite: Replace the run that is in the folder.
        trust_remote_code: Run code that comes with the checkpoint or the data set.
        allow_pickle: Read weights from a pickle where there are no safetensors; tensors only.

    Raises:
        UserError: Something the user can fix; nothing was lost.
        Interrupted: Ctrl-C, SIGTERM or its like, after a checkpoint was written.

    Example:
        from hf_finetune import load_recipe, run
        print(run(load_recipe("recipes/quickstart.yaml")).scores["test"]["accuracy"])
    """
    recipe = recipe.allow_pickle() if allow_pickle else recipe
    folder = RunFolder(Path(output_folder(recipe)))
    # the checkpoint of another folder begins a new run in this one
    goes_on = resume if isinstance(resume, bool) else resume.resolve().parent == folder.path.resolve()
    with explain_endings(folder.path), own(folder, resume=goes_on, overwrite=overwrite) as refusal:
        # 2 to 6: names, processor, data, model, ingredients
        prepared = prepare(
            recipe, trust_remote_code=trust_remote_code, on_connected=lambda: _raise_for_all(refusal)
        )
        if prepared.splits.labels.names:
            logger.info("labels: %s", count_classes(prepared.splits.labels.names))
        if is_first_process():
            folder.tidy()
        resume_from = find_checkpoint(prepared, folder, resume)
        if is_first_process():
            _open_folder(folder, prepared, is_new=not goes_on)
        repo_id = require_push(recipe, create=True)
        with (
            track(prepared.recipe, prepared.parts.args, folder) as trackers,
            push_while_training(prepared.recipe, folder, repo_id) as pushing,
        ):
            # 7 engine
            with TerminalProgress() as progress:
                parts = with_callbacks(prepared, progress, folder.log, [*trackers.callbacks, *pushing])
                state = prepared.engine(parts, resume_from)
                # 8 finish
                failures: dict[str, Exception] = {}
                scores = finish(prepared, parts, state, folder, progress, failures)
            if is_first_process():
                write_json(folder.scores, scores)  # first: whatever else fails, these are known
            if recipe.baseline is not None:
                scores["baseline"] = run_baseline(prepared, folder)
                if is_first_process():
                    write_json(folder.scores, scores)
            if is_first_process():
                with surviving("report.html", failures):
                    write_report(folder.path)
                with surviving("README.md, the card", failures):
                    write_card(folder.path, repo_id=repo_id)
            trackers.log_results(folder, scores)
            raise_failures(folder.path, failures, resume=folder.say_resume())
        if repo_id is not None and is_first_process():
            push_owned(folder.path)
    return Result(folder=folder, state=state, scores=scores)


def prepare(
    recipe: Recipe,
    *,
    trust_remote_code: bool = False,
    warn: bool = True,
    on_connected: Callable[[], None] = lambda: None,
) -> Prepared:
    """Do hops 2 to 6: everything that can go wrong before the first training step goes wrong here.

    Args:
        recipe: As `load_recipe` returns it.
        trust_remote_code: Run code that comes with the checkpoint or the data set.
        warn: Log what one must know of the data before believing the scores.
        on_connected: Called once the processes can talk to each other, before anything is loaded.

    Raises:
        UserError: Names, data, model or arguments do not fit.
    """
    if recipe.sweep is not None:  # made in Python: a file with it is not even read
        what, todo = NO_SWEEP
        raise RecipeError(f"sweep: {what}", where=recipe.where("sweep"), todo=todo)
    for key, remark in list_remarks(recipe):
        logger.warning("%s: %s %s", recipe.where(key), key, remark)
    # 2 registries
    import_user_files(recipe)
    _require_names(recipe)
    if trust_remote_code:
        tell_code_allowed(recipe.model.checkpoint, recipe.model.revision)
    task = build_task(recipe, trust_remote_code=trust_remote_code)
    engine, training, args = read_training(recipe, task)
    on_connected()
    require_trackers(recipe)
    require_push(recipe)
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
    tell_data(splits.notes, splits.dropped, splits.warnings if warn else ())
    specs = recipe.metrics or tuple(task.default_metrics(labels))
    metrics = build_metrics(specs, labels, where=recipe.where, trust_remote_code=trust_remote_code)
    training |= choose_best_by(metrics, recipe, args)
    # 5 model
    set_seed(args.seed)  # a new head draws its weights
    model = build_model(recipe, task, labels, trust_remote_code=trust_remote_code)
    logger.info("model: %s", describe_share(model))
    # 6 ingredients
    resolved = recipe.model_copy(update={"training": training, "metrics": specs})
    parts = build_parts(
        recipe,
        task,
        labels,
        args=args,
        count_labels=splits.count_labels,
        model=model,
        train_dataset=splits.train,
        eval_dataset=splits.eval,
        metrics=metrics,
        processor=task.complete_processor(processor, labels),
        guard=Guard(max_skips=recipe.guard.max_skips),
        stamp=build_stamp(resolved, args, splits.fingerprint),
    )
    if recipe.model.config:
        # too large a batch is the engine's to see, which may look for a smaller one
        with suppress(torch.OutOfMemoryError), trying_changes(recipe, "no batch passes through the model"):
            try_one_batch(parts)
    return Prepared(
        recipe=resolved,
        task=task,
        splits=splits,
        metrics=metrics,
        engine=engine,
        parts=parts,
        trust_remote_code=trust_remote_code,
    )


def read_training(recipe: Recipe, task: Task) -> tuple[Engine, dict[str, Any], TrainingArguments]:
    """Return the engine, and the recipe's `training` with its defaults, as it is and as arguments.

    Raises:
        UserError: There is no such engine, the engine cannot do what is asked, or a value is wrong.
    """
    engine = ENGINES.get(recipe.engine, where=recipe.where("engine"))
    training = fill_defaults(recipe, task.training_defaults())
    args = build_arguments(recipe, training, task.arguments)
    require_world_size(args.world_size)
    _require_engine_takes(args, recipe)
    return engine, training, args


def build_parts(
    recipe: Recipe,
    task: Task,
    labels: Space,
    *,
    args: TrainingArguments,
    count_labels: Callable[[], Sequence[int]],
    **others: Any,
) -> Ingredients:
    """Put together what an engine or an evaluation is given.

    Args:
        recipe: Reads `loss`.
        task: Says how rows become batches, and outputs become predictions.
        labels: What the model can say.
        args: Of the training.
        count_labels: Returns the training rows of each class; called only for balanced weights.
        others: What else `Ingredients` takes.
    """
    loss, eval_loss = (
        build_loss(
            recipe.loss,
            labels,
            label_smoothing=args.label_smoothing_factor,
            count_labels=count_labels,
            where=recipe.where,
            is_for_evaluation=is_for_evaluation,
        )
        for is_for_evaluation in (False, True)
    )
    return Ingredients(
        args=args,
        loss=loss,
        eval_loss=eval_loss,
        collate=task.build_collate(labels),
        reduce=task.build_reduce(labels),
        decode=task.build_decode(labels),
        forward=task.build_forward(),
        **others,
    )


def _require_names(recipe: Recipe) -> None:
    """Look every name up, now that the user's files have registered theirs; all that miss come at once."""
    named: list[tuple[Registry[Any], str, str]] = [
        (TASKS, "task", recipe.task.name),
        *((METRICS, f"metrics.{i}", spec.name) for i, spec in enumerate(recipe.metrics)),
        *((AUGMENTATIONS, f"data.augment.{i}", spec.name) for i, spec in enumerate(recipe.data.augment)),
        *([(LOSSES, "loss", recipe.loss.name)] if recipe.loss else []),
        (ENGINES, "engine", recipe.engine),
    ]
    missing = []
    for registry, key, name in named:
        try:
            registry.get(name, where=recipe.where(f"{key}.name"))
        except UserError as error:
            missing.append(error)
    if missing:
        raise RecipeError.join(missing)


def _require_engine_takes(args: TrainingArguments, recipe: Recipe) -> None:
    """Refuse what the engine cannot do, each with its place in the recipe."""
    problems = [f"training.{problem}" for problem in check_arguments(args, recipe.engine)]
    if problems:
        raise RecipeError.join(
            UserError(problem, where=recipe.where(problem.split()[0].rstrip(":"))) for problem in problems
        )


def _raise_for_all(refusal: RunFolderError | None) -> None:
    """Let all processes end together where the first one was refused the run folder."""
    refusal = broadcast_object_list([refusal])[0]
    if refusal is not None:
        raise refusal


def _open_folder(folder: RunFolder, prepared: Prepared, *, is_new: bool) -> None:
    """Write down what is about to be trained, and with what."""
    if is_new:
        folder.clear()
    recipe = prepared.recipe
    write_text(folder.recipe, recipe.to_yaml())
    remember_imports(folder.path, recipe.imports)
    inputs = describe_inputs(recipe, prepared.splits, prepared.parts.args)
    write_json(folder.environment, describe_environment(recipe.source) | inputs)


def tell_data(
    notes: Sequence[str], dropped: Mapping[str, list[tuple[int, str]]], warnings: Sequence[str] = ()
) -> None:
    """Say what was inferred from the data, which rows were left out, and what is odd about them."""
    for note in notes:
        logger.info(note)
    for name, rows in dropped.items():
        logger.warning("%s: %d unusable rows dropped, such as row %d: %s", name, len(rows), *rows[0])
    for warning in warnings:
        logger.warning(warning)
