"""A trained model to use again: a run folder, or what `push` wrote to the Hub."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from hf_finetune.errors import HubError, ModelError, RunFolderError, UserError
from hf_finetune.hub_access import reading_hub, tell_code_allowed
from hf_finetune.made_here import list_strange_imports
from hf_finetune.recipe import Recipe, list_imports, load_recipe
from hf_finetune.run_folder import RunFolder, check_best, describe_mismatch, is_sealed
from hf_finetune.tasks import Task, build_task

__all__ = ["Trained", "build_trained_task", "find_trained"]

logger = logging.getLogger(__name__)

HUB_ID = re.compile(r"^[\w.-]+/[\w.-]+(@[\w./-]+)?$")
WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
ADAPTERS = ("adapter_model.safetensors",)
NOT_NEEDED = ["*.bin", "*.ckpt", "*.h5", "*.html", "*.msgpack", "*.onnx", "*.pkl", "*.pt", "*.pth", "*.py"]
"""Files of a repository that are not fetched: other formats of the weights, pickles, code."""


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A finished run.

    Args:
        name: As the user said it.
        folder: Of the best model and its processor.
        recipe: Resolved.
        scores: What `scores.json` says.
        recorded: The recipe without what the user says otherwise.
        commit: Of the Hub's repository it was fetched from; None for a folder.
    """

    name: str
    folder: Path
    recipe: Recipe
    scores: Mapping[str, Any]
    recorded: Recipe
    commit: str | None = None

    @property
    def has_adapters(self) -> bool:
        """Whether the folder holds adapters, which need the recipe's checkpoint below them."""
        return (self.folder / "adapter_config.json").is_file()

    def as_checkpoint(self) -> Recipe:
        """Return the recipe with the best model in place of its checkpoint."""
        own = {"peft": None, "checkpoint": str(self.folder), "revision": None}
        return self.recipe.model_copy(update={"model": self.recipe.model.model_copy(update=own)})


def build_trained_task(trained: Trained, *, trust_remote_code: bool = False) -> Task:
    """Return the task of a trained model; where it matters, the model says itself of which kind it is."""
    recipe = trained.recipe if trained.has_adapters else trained.as_checkpoint()
    return build_task(recipe, trust_remote_code=trust_remote_code)


def find_trained(
    source: str | Path,
    *,
    overrides: Sequence[str] = (),
    trust_remote_code: bool = False,
    allow_pickle: bool = False,
    allow_imports: bool | None = None,
) -> Trained:
    """Find a finished run in a folder, or fetch one from the Hub.

    Args:
        source: A run folder; a folder with what `push` writes; or `owner/name` on the Hub, with `@revision`.
        overrides: `dotted.key=value` of the recipe.
        trust_remote_code: Fetch the code that comes with a model of the Hub, too.
        allow_pickle: Take weights from a pickle where there are no safetensors; tensors only.
        allow_imports: Run the files in `imports` of the folder's recipe (True), or leave them out (False);
            needed where no run of this user has made the folder. Those of the Hub are always left out.

    Raises:
        RunFolderError: There is nothing, no run, or one that is not finished.
        UserError: The recipe of the folder imports files that no run has imported here.
        ModelError: Its weights are pickled, and that is not allowed.
        HubError: The Hub cannot be reached, does not know the repository, or no run was pushed to it.
        RecipeError: An override is wrong.
    """
    path = Path(source)
    if path.is_dir():
        trained = _read_folder(path, str(source), overrides, allow_imports)
    elif path.exists():
        raise RunFolderError("this is a file", where=str(source), todo="Name the folder of a run.")
    elif HUB_ID.match(str(source)):
        if allow_imports:
            raise UserError(
                "a recipe from the Hub may not import code",
                where=str(source),
                todo="Read the code, fetch the repository to this machine, and name its folder.",
            )
        allowed = {"*.py": trust_remote_code, "*.bin": allow_pickle}
        trained = _fetch(str(source), overrides, [name for name in NOT_NEEDED if not allowed.get(name)])
    else:
        raise RunFolderError(
            "there is no such folder", where=str(source), todo="Name a run folder, or owner/name on the Hub."
        )
    if trust_remote_code:
        tell_code_allowed(trained.name.partition("@")[0] if trained.commit else trained.name, trained.commit)
        if trained.has_adapters:
            tell_code_allowed(trained.recipe.model.checkpoint, trained.recipe.model.revision)
    if allow_pickle:
        return replace(trained, recipe=trained.recipe.allow_pickle())
    # by the name that is read: another file beside a pickle makes it no safer
    names = ADAPTERS if trained.has_adapters else WEIGHTS
    if not any((trained.folder / name).is_file() for name in names):
        raise ModelError(
            f"{source} has no safetensors weights",
            todo="To read tensors out of a pickle, add --allow-pickle.",
        )
    return trained


def _read_folder(
    path: Path, name: str, overrides: Sequence[str], allow_imports: bool | None = None
) -> Trained:
    folder = RunFolder(path)
    is_run = folder.best.is_dir() or not _has_model(path)
    best = folder.best if is_run else path
    anew = folder.say_anew() if is_run else "Download it again."
    if folder.recipe.is_file() and folder.scores.is_file() and (_has_model(best) or is_sealed(best)):
        scores = _read_scores(folder.scores, todo=anew)
        check_best(best, scores, todo=anew, is_alone=is_run)
        if mismatch := describe_mismatch(best, scores):
            logger.warning("%s: %s. Score it: %s", name, mismatch, folder.say_resume())
        own = _judge_imports(folder, overrides, allow_imports)
        recipe = load_recipe(folder.recipe, [*own, *overrides], is_new=False)
        recorded = load_recipe(folder.recipe, own, is_new=False) if overrides else recipe
        return Trained(name=name, folder=best, recipe=recipe, scores=scores, recorded=recorded)
    if folder.has_run():
        raise RunFolderError(
            "this run is not finished",
            where=name,
            todo=f"Finish it: {folder.say_resume()}",
        )
    raise RunFolderError("there is no finished run", where=name, todo="Train it first.")


def _judge_imports(folder: RunFolder, overrides: Sequence[str], is_allowed: bool | None) -> list[str]:
    """Return the override that leaves the recipe's imports out, or nothing where they may run.

    Raises:
        UserError: Nobody has said whether they may, and no run has imported them here.
    """
    if is_allowed is False:
        return ["imports=[]"]
    names = list_imports(folder.recipe)
    if not names or any(override.startswith("imports=") for override in overrides):
        return []
    if is_allowed:
        logger.warning("--allow-imports: this code may run on this machine: %s", ", ".join(names))
        return []
    if strange := list_strange_imports(folder.path, names):
        raise UserError(
            "the recipe of this folder imports code that no run in this folder has imported on this machine, "
            f"or that was changed since: {', '.join(strange)}",
            where=str(folder.recipe),
            todo="Read the code; then say --allow-imports to run it, or --skip-imports to leave it out.",
        )
    return []


def _fetch(source: str, overrides: Sequence[str], left_out: Sequence[str]) -> Trained:
    from huggingface_hub import snapshot_download

    repo_id, _, revision = source.partition("@")
    with reading_hub("model", repo_id, revision=revision or None):
        path = Path(snapshot_download(repo_id, revision=revision or None, ignore_patterns=list(left_out)))
    folder = RunFolder(path)
    missing = [file.name for file in (folder.recipe, folder.scores) if not file.is_file()]
    if missing or not _has_model(path):
        lacking = " and no ".join(missing or ["model"])
        raise HubError(
            f"{source} on the Hub is no run of hf-finetune: it has no {lacking}",
            todo="Name one that `hf-finetune push` wrote.",
        )
    # code of the Hub is never run; what it would have registered is missed by its name, where it is needed
    own = ["imports=[]"]
    recipe = load_recipe(folder.recipe, [*own, *overrides], is_local=False, is_new=False)
    recorded = load_recipe(folder.recipe, own, is_local=False, is_new=False) if overrides else recipe
    scores = _read_scores(folder.scores, todo="Push it again.")
    try:
        # the commit says what it is: whoever may write to the repository may have changed it on purpose
        check_best(
            path,
            scores,
            todo="",
            may_lack=lambda file: any(fnmatch(file, one) for one in left_out),
            is_alone=False,
        )
    except RunFolderError as error:
        logger.warning("%s: not as it was pushed: %s", source, error.what)
    return Trained(
        name=source, folder=path, recipe=recipe, scores=scores, recorded=recorded, commit=path.name
    )


def _read_scores(path: Path, *, todo: str) -> Mapping[str, Any]:
    try:
        scores = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunFolderError(f"it is damaged ({error})", where=str(path), todo=todo) from error
    kinds = {"best": dict, "labels": list, "problem_type": str}
    if not isinstance(scores, dict) or not all(isinstance(scores.get(k), kind) for k, kind in kinds.items()):
        raise RunFolderError(f"it is damaged (it lacks {', '.join(kinds)})", where=str(path), todo=todo)
    return scores


def _has_model(folder: Path) -> bool:
    return any((folder / name).is_file() for name in ("config.json", "adapter_config.json"))
