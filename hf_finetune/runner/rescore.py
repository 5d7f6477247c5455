"""`evaluate`: the scores of a finished run, measured again."""

from __future__ import annotations

from pathlib import Path

from hf_finetune.engines.evaluation import evaluate as score
from hf_finetune.errors import DataError, RunFolderError
from hf_finetune.recipe import load_recipe
from hf_finetune.run_folder import RunFolder
from hf_finetune.runner.hops import prepare
from hf_finetune.terminal import TerminalProgress

__all__ = ["evaluate"]


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
