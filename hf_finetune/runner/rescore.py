"""`evaluate`: the scores of a finished run, measured again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hf_finetune.engines.evaluation import evaluate as score
from hf_finetune.errors import DataError
from hf_finetune.runner.hops import prepare
from hf_finetune.terminal import TerminalProgress
from hf_finetune.trained import find_trained

__all__ = ["evaluate"]


def evaluate(
    source: str | Path,
    *,
    split: str = "test",
    overrides: Sequence[str] = (),
    trust_remote_code: bool = False,
    allow_pickle: bool = False,
    allow_imports: bool | None = None,
) -> dict[str, float]:
    """Score the best model of a finished run again.

    With the recipe as it is, on the kind of machine that trained, these are the scores of `scores.json` to
    the last digit. Another batch size (`training.per_device_eval_batch_size`) adds up in another order: what
    counts rows stays the same, the loss and what goes by probabilities may differ in a float's last digits.

    Args:
        source: A run folder, or `owner/name` on the Hub, with `@revision`.
        split: "eval" or "test".
        overrides: `dotted.key=value` of the recipe, such as another `data.path`.
        trust_remote_code: Run code that comes with the model, its checkpoint or a metric of the Hub.
        allow_pickle: Read weights from a pickle where there are no safetensors; tensors only.
        allow_imports: Run the `imports` of the run's recipe, or leave them out, wherever the folder is from.

    Returns:
        `{name: value}`.

    Raises:
        RunFolderError: There is no finished run.
        DataError: The recipe has no such split.
        HubError: The run, its data or its checkpoint cannot be fetched.
    """
    trained = find_trained(
        source,
        overrides=overrides,
        trust_remote_code=trust_remote_code,
        allow_pickle=allow_pickle,
        allow_imports=allow_imports,
    )
    if split not in ("eval", "test"):
        raise DataError(f"there is no split {split!r} to score", where=trained.name, todo="Use eval or test.")
    prepared = prepare(trained.recipe, trained=trained, trust_remote_code=trust_remote_code)
    dataset = getattr(prepared.splits, split)
    if dataset is None:
        raise DataError(
            f"this run has no split {split!r}",
            where=trained.name,
            todo="Use --split eval, or name one by data.splits.test=SPLIT.",
        )
    with TerminalProgress() as progress:
        scores = score(prepared.parts, dataset, prefix=split, on_step=progress.track(split))
    return {name.removeprefix(f"{split}_"): value for name, value in scores.items()}
