"""The head of a card, which the Hub reads."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from hf_finetune.formatting import as_finite, format_name, is_score
from hf_finetune.report.record import RunRecord

__all__ = ["build_metadata", "data_name", "find_base", "is_adapter", "task_name"]

HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")


def build_metadata(record: RunRecord, *, name: str) -> ModelCardData:
    """Say what the Hub sorts and finds models by; what is not on the Hub is not named as if it were.

    Args:
        record: Of the run.
        name: Of the model, for its results.

    Source:
        https://github.com/huggingface/hub-docs/blob/main/modelcard.md
    """
    base, dataset = find_base(record), _find_dataset(record)
    relation: dict[str, Any] = {}
    if base:
        relation["base_model_relation"] = "adapter" if is_adapter(record) else "finetune"
    results = _results(record)
    hub = record.lookup("hub", {})
    return ModelCardData(
        base_model=base,
        datasets=[dataset] if dataset else None,
        eval_results=results or None,
        library_name="peft" if is_adapter(record) else "transformers",
        license=hub.get("license"),
        metrics=sorted({result.metric_type for result in results} - {"loss"}) or None,
        model_name=name if results else None,
        pipeline_tag=task_name(record) or None,
        tags=["hf-finetune", *_method(record), *map(str, hub.get("tags") or ())],
        **relation,
    )


def task_name(record: RunRecord) -> str:
    """Return the pipeline tag."""
    task = record.recipe.get("task", "")
    return str(task.get("name", "") if isinstance(task, Mapping) else task)


def is_adapter(record: RunRecord) -> bool:
    """Whether the model is adapters alone, to be put on another one."""
    return (record.folder / "best" / "adapter_config.json").is_file()


def find_base(record: RunRecord) -> str | None:
    """Return the Hub id of the checkpoint; None when it is of this machine, or only lent its architecture."""
    is_from_hub = record.environment.get("checkpoint_revision") is not None
    return (
        str(record.lookup("model.checkpoint"))
        if is_from_hub and not record.lookup("model.from_scratch")
        else None
    )


def data_name(record: RunRecord) -> str:
    """Name the data set: its Hub id, or the last part of its path here."""
    path = str(record.lookup("data.path", ""))
    if _find_dataset(record):
        return path
    where = record.lookup("data.data_dir") or path
    return PurePath(str(where)).name or path


def _find_dataset(record: RunRecord) -> str | None:
    path = str(record.lookup("data.path", ""))
    is_from_hub = record.environment.get("dataset_revision") is not None
    return path if is_from_hub and HUB_ID.fullmatch(path) else None


def _method(record: RunRecord) -> list[str]:
    peft = record.lookup("model.peft")
    return [str(peft.get("method") if isinstance(peft, Mapping) else peft)] if peft else []


def _results(record: RunRecord) -> list[EvalResult]:
    """Return the scores of the best model, every digit of them, the final ones first."""
    return [
        EvalResult(
            task_type=task_name(record),
            dataset_type=_find_dataset(record) or data_name(record),
            dataset_name=data_name(record),
            dataset_config=record.lookup("data.name"),
            dataset_split=str(record.lookup(f"data.splits.{split}") or f"{split} (held out of train)"),
            dataset_revision=record.environment.get("dataset_revision"),
            metric_type=name,
            metric_name=f"{format_name(name)} ({split})",
            metric_value=value,
        )
        for split in ("test", "eval")
        for name, value in record.part(split).items()
        if is_score(name, value) and as_finite(value) is not None
    ]
