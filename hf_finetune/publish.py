"""A run -> the Hub: the best model with its processor, card, scores, report and recipe."""

from __future__ import annotations

import logging
import re
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_finetune.card import write_card
from hf_finetune.errors import HubError, RunFolderError
from hf_finetune.formatting import as_finite, format_name
from hf_finetune.hub import Pushed, Target, Upload, push_files, require_rights
from hf_finetune.processes import is_first_process
from hf_finetune.recipe import Recipe
from hf_finetune.report.record import RunRecord, read_run
from hf_finetune.run_folder import RunFolder, check_best, describe_mismatch, hold

if TYPE_CHECKING:
    from transformers import TrainerState

    from hf_finetune.hub.callback import PushWhileTraining

__all__ = ["push", "push_owned", "push_while_training", "require_push"]

logger = logging.getLogger(__name__)

BESIDE_MODEL = ("recipe.yaml", "environment.json", "scores.json", "report.html")


def push(
    run_folder: Path, *, repo_id: str | None = None, private: bool | None = None, branch: str | None = None
) -> Pushed:
    """Push the best model of a finished run, or finish a push that failed.

    Args:
        run_folder: As `run` left it.
        repo_id: `owner/name`; `hub.repo_id` of the recipe when left out.
        private: Whether a new repository is private; `hub.private` when left out.
        branch: `hub.branch` when left out.

    Returns:
        The commit, read back and compared.

    Raises:
        RunFolderError: There is no finished run, one is going on, or what lies there is not what was scored.
        HubError: It has no best model, may not be pushed, or the Hub failed; the run stays whole.

    Example:
        from hf_finetune import push
        print(push("runs/quickstart", repo_id="me/digits").url)
    """
    folder = RunFolder(Path(run_folder))
    _require_finished(folder)
    with hold(folder.path, todo="Push it when that one has ended.") as refusal:
        if refusal is not None:
            raise refusal
        return push_owned(folder.path, repo_id=repo_id, private=private, branch=branch)


def push_owned(
    run_folder: Path, *, repo_id: str | None = None, private: bool | None = None, branch: str | None = None
) -> Pushed:
    """Push a run whose folder this process holds already; see `push`."""
    folder = RunFolder(run_folder)
    _require_finished(folder)
    record = read_run(folder.path)
    _require_scored(folder, record)
    wanted = repo_id or record.lookup("hub.repo_id")
    if wanted is None:
        raise HubError(
            "the recipe of this run names no repository",
            where=str(run_folder),
            todo="Say --repo-id OWNER/NAME.",
        )
    title, tag = _name_best(record)
    words = ["hf-finetune", "push", str(run_folder), *(["--repo-id", repo_id] if repo_id else [])]
    words += ["--branch", branch] if branch else []
    words += [] if private is None else ["--private" if private else "--public"]
    todo = f"The run is whole in {run_folder}; this finishes the push: {shlex.join(words)}"
    target = Target(
        repo_id=wanted,
        private=bool(record.lookup("hub.private", True)) if private is None else private,
        branch=branch or record.lookup("hub.branch", "main"),
        later=todo,
    )
    full_id = require_rights(target)
    files = {path.relative_to(folder.best).as_posix(): path for path in _list_files(folder.best)}
    files |= {name: folder.path / name for name in BESIDE_MODEL if (folder.path / name).is_file()}
    files |= write_card(folder.path, repo_id=full_id)
    pushed = push_files(
        Upload(
            repo_id=full_id,
            branch=target.branch,
            private=target.private,
            files=files,
            title=title,
            description=f"The best model of a run, with its recipe, scores and report.\n\nTag: {tag}",
            tag=tag,
            finish=todo,
        )
    )
    logger.info("pushed, read back and compared: %s%s", pushed.url, f" ({pushed.tag})" if pushed.tag else "")
    return pushed


def _require_finished(folder: RunFolder) -> None:
    if not folder.scores.exists() or not folder.best.is_dir():
        raise RunFolderError("there is no finished run", where=str(folder.path), todo="Train it first.")


def _require_scored(folder: RunFolder, record: RunRecord) -> None:
    """Make sure that what is pushed is whole, and that the scores are its own.

    Raises:
        RunFolderError: It is not.
    """
    if not record.part("best"):
        raise RunFolderError(
            "scores.json is damaged", where=str(folder.path), todo=f"Score it again: {folder.say_resume()}"
        )
    check_best(folder.best, record.scores, todo=folder.say_anew())
    if mismatch := describe_mismatch(folder.best, record.scores):
        raise RunFolderError(mismatch, where=str(folder.path), todo=f"Score it first: {folder.say_resume()}")


def require_push(recipe: Recipe, *, create: bool = False) -> str | None:
    """Find out before training whether its push will be let in; every process calls it, the first one asks.

    Args:
        recipe: Reads `hub`.
        create: Make the repository, too, and see whether the token may write to it.

    Returns:
        The repository's id with its owner; None when the recipe names none.

    Raises:
        HubError: It will not.
    """
    from accelerate.utils import broadcast_object_list

    if recipe.hub.repo_id is None:
        return None
    outcome: list[Any] = [None]
    if is_first_process():
        target = Target(
            repo_id=recipe.hub.repo_id,
            private=recipe.hub.private,
            branch=recipe.hub.branch,
            where=recipe.where("hub.repo_id"),
            later="Or train with hub.repo_id=null, and push later: hf-finetune push RUN --repo-id OWNER/NAME",
        )
        try:
            outcome = [require_rights(target, create=create)]
        except HubError as error:
            outcome = [error]
    found = broadcast_object_list(outcome)[0]
    if isinstance(found, HubError):
        raise found
    return str(found)


@contextmanager
def push_while_training(
    recipe: Recipe, folder: RunFolder, repo_id: str | None
) -> Iterator[list[PushWhileTraining]]:
    """Yield what pushes while the engine trains inside; nothing, when the recipe has no such wish.

    Args:
        recipe: Reads `hub`.
        folder: Of the run.
        repo_id: With its owner; None for no push.
    """
    if repo_id is None or recipe.hub.strategy == "end":
        yield []
        return
    from hf_finetune.hub.callback import PushWhileTraining

    def describe(state: TrainerState, into: Path) -> tuple[str, str, Mapping[str, Path]]:
        metric, step = str(recipe.training.get("metric_for_best_model")), int(state.best_global_step or 0)
        title, tag = _name_score(metric, float(state.best_metric or 0.0), step)
        texts = write_card(folder.path, repo_id=repo_id, into=into)
        return f"{title}, the best so far", tag, texts | {folder.recipe.name: folder.recipe}

    upload = partial(
        Upload,
        repo_id=repo_id,
        branch=recipe.hub.branch,
        private=recipe.hub.private,
        finish="Training goes on",
    )
    callback = PushWhileTraining(recipe.hub.strategy, upload, describe)
    try:
        yield [callback]
    except BaseException:  # a signal, too: whatever ends the training ends the push, and then goes on its way
        callback.stop()
        raise
    callback.finish()


def _name_best(record: RunRecord) -> tuple[str, str | None]:
    """Return title and tag of the commit; the last model never goes under the best one's name.

    Raises:
        HubError: A best model was to be chosen, and no evaluation gave a finite number to choose by.
    """
    best = record.part("best")
    metric, value, step = best.get("metric"), as_finite(best.get("value")), as_finite(best.get("step"))
    if metric is None or record.lookup("training.eval_strategy") == "no":
        return f"The last model, at update {step:.0f}" if step is not None else "The last model", None
    if value is None or step is None:
        raise HubError(
            f"there is no best model to push: {format_name(str(metric))} was never a finite number",
            where=str(record.folder),
            todo="Look at the curves in report.html, and train again with other settings.",
        )
    return _name_score(str(metric), value, int(step))


def _name_score(metric: str, value: float, step: int) -> tuple[str, str]:
    title = f"{format_name(metric).capitalize()} {value:.6g} at update {step}"
    tag = re.sub(r"[^\w.-]+", "-", f"step-{step}-{metric.removeprefix('eval_')}-{value:.6g}")
    return title, tag


def _list_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())
