"""Resume: what may differ from the recipe a checkpoint was made with, and what each difference means.

Every changed key is applied, and said so, or refused with the reason. None is ignored.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

import torch
from transformers import TrainingArguments

from hf_finetune.errors import CheckpointError
from hf_finetune.formatting import flatten_keys
from hf_finetune.recipe import Recipe
from hf_finetune.recipe.specs import Named, Spec
from hf_finetune.secrecy import HIDDEN, hide_in

__all__ = ["Change", "build_stamp", "compare_stamps", "require_same_run"]

START_ANEW = "Start anew by --overwrite or another training.output_dir, or set it back to go on."

GONE = "this version knows no such setting: go on with the versions that environment.json of the run names"
MOVED = "; neither recipe says it, another version has another default: write the old value to keep it"

APPLIED = {
    "engine": "the engines continue each other's checkpoints exactly",
    "device": "its kernels round otherwise, so from here on the bits are not those of the unbroken run",
    "data.augment": "from here on the training rows are changed this way",
    "model.peft.merge": "at the end",
    "metrics": "scores before this point lack the new ones",
    "baseline": "it is trained after this run",
    "guard.*": "from here on",
    "early_stopping.*": "the patience already used up counts",
    "early_stopping": "counting starts here",
    "tracking.*": "from here on",
    "hub.*": "from here on",
    "sweep.*": "it does not touch this run",
    "expected.*": "it does not touch this run",
    "task.max_tokens_per_second": "from here on",
    "training.learning_rate": "the schedule goes on with the new rate",
    "training.weight_decay": "from here on",
    "training.adam_*": "from here on",
    "training.max_grad_norm": "from here on",
    "training.num_train_epochs": "the schedule is laid out over the new length",
    "training.max_steps": "the schedule is laid out over the new length",
    "training.use_cpu": "from here on",
    "training.load_best_model_at_end": "at the end",
    "training.output_dir": "checkpoints go there from here on",
    # what follows does not touch the numbers
    "training.eval_*": "from here on",
    "training.per_device_eval_batch_size": "from here on",
    "training.predict_with_generate": "from here on",
    "training.generation_*": "from here on",
    "training.batch_eval_metrics": "from here on",
    "training.save_*": "from here on",
    "training.logging_*": "from here on",
    "training.log_*": "from here on",
    "training.dataloader_num_workers": "it does not touch the numbers",
    "training.dataloader_p*": "it does not touch the numbers",
    "training.dataloader_multiprocessing_context": "it does not touch the numbers",
    "training.disable_tqdm": "from here on",
    "training.report_to": "from here on",
    "training.run_name": "from here on",
    "training.project": "from here on",
    "training.trackio_*": "from here on",
    "training.skip_memory_metrics": "from here on",
    "training.include_num_input_tokens_seen": "from here on",
    "training.restore_callback_states_from_checkpoint": "for this resume",
    "training.ddp_timeout": "from here on",
}

OF_DATA = {"task.allow_cut_off", "task.time_unit"}
"""What else only says which rows there are."""

REFUSED = {
    "fingerprint": "the data are not those the checkpoint was trained on",
    "global batch": "the position within the epoch and the schedule count in updates of that many rows",
    "rows of a round": "dataloader_drop_last leaves out what does not fill one, so other rows",
    "num_processes": "with average_tokens_across_devices: false a gradient is a mean over that many",
    "task.allow_cut_off": "the data may not be those the checkpoint was trained on",
    "task.time_unit": "the data are not those the checkpoint was trained on",
    "task*": "the checkpoint's model was made for the other task",
    "model*": "the checkpoint holds the weights of the other model",
    "data*": "the data are not those the checkpoint was trained on",
    "loss*": "losses before and after could not be compared",
    "training.metric_for_best_model": "the best so far was measured by the other metric",
    "training.seed": "the order of the rows and the augmentation follow from it",
    "training.data_seed": "the order of the rows follows from it",
    "training.optim*": "the checkpoint holds the other optimizer's state",
    "training.lr_scheduler*": "the checkpoint holds the other schedule's state",
    "training.warmup*": "the checkpoint's place in the schedule was counted with the other warm-up",
}


@dataclass(frozen=True, kw_only=True)
class Change:
    """One key that is not what it was.

    Args:
        key: Dotted, as in the recipe.
        old: In the checkpoint.
        new: Now.
        reason: What applying it means, or why it is refused.
        is_applied: Whether the run goes on with the new value.
    """

    key: str
    old: Any
    new: Any
    reason: str
    is_applied: bool

    def __str__(self) -> str:
        verdict = "applied" if self.is_applied else "refused"
        return f"{self.key}: {self.old!r} -> {self.new!r}, {verdict}: {self.reason}"


def build_stamp(recipe: Recipe, args: TrainingArguments, fingerprint: str) -> dict[str, Any]:
    """Return what a checkpoint remembers of its run; JSON-able, without secrets.

    Args:
        recipe: Resolved.
        args: All arguments, those with default values too.
        fingerprint: Of the data.
    """
    wanted = recipe.model_dump(mode="json", exclude={"training"})
    arguments = {key: value for key, value in args.to_dict().items() if not key.endswith("_token")}
    return {
        "recipe": hide_in(wanted | {"training": arguments}),
        "not_default": sorted([*_list_set_keys(recipe), *_list_set_arguments(recipe, args)]),
        "fingerprint": fingerprint,
        "num_processes": args.world_size,
        "device": _name_device(args.device),
    }


def compare_stamps(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Change]:
    """List what differs between two runs.

    A key that only one of them knows, since another version of a library or of this package made the other,
    is a difference only where it was set: at its default it says what the other does anyway.

    Args:
        old: The stamp of the checkpoint.
        new: The stamp of the run that wants to go on from it.
    """
    # redacted, both: those of older versions were not, and another secret is no other run
    before, now = (flatten_keys(_spell_task_out(hide_in(stamp["recipe"]))) for stamp in (old, new))
    changes = []
    is_same_data = old["fingerprint"] == new["fingerprint"]
    if not is_same_data:
        changes.append(_judge("fingerprint", old["fingerprint"], new["fingerprint"]))
    device = old.get("device", new["device"])  # older checkpoints do not know it
    if device != new["device"]:
        changes.append(_judge("device", device, new["device"]))
    batches = [_global_batch(stamp) for stamp in (old, new)]
    if batches[0] != batches[1]:
        changes.append(_judge("global batch", *batches))
    in_batch = {"training.per_device_train_batch_size", "training.gradient_accumulation_steps"}
    is_same_batch = batches[0] == batches[1]
    for key in sorted(before.keys() | now.keys()):
        values = before.get(key), now.get(key)
        if (
            values[0] == values[1]
            or _is_same_but_secret(*values)
            or _is_default_of_one(key, (old, before), (new, now))
        ):
            continue
        if key in in_batch:
            if is_same_batch:
                changes.append(_apply(key, *values, f"an update still sees the same {batches[0]} rows"))
        elif is_same_data and (key in OF_DATA or re.match(r"data\.(?!augment)", key)):
            changes.append(_apply(key, *values, "the rows are the same, by their fingerprint"))
        else:
            change = _judge(key, *values)
            if not change.is_applied and _is_gone(key, now):
                change = replace(change, reason=GONE)
            elif _is_default(key, old) and _is_default(key, new):
                change = replace(change, reason=change.reason + MOVED)
            changes.append(change)
    counts = old["num_processes"], new["num_processes"]
    rounds = [_rows_of_a_round(stamp) for stamp in (old, new)]
    if is_same_batch and now.get("training.dataloader_drop_last") and rounds[0] != rounds[1]:
        changes.append(_judge("rows of a round", *rounds))
    if is_same_batch and counts[0] != counts[1]:
        if now.get("training.average_tokens_across_devices"):
            changes.append(
                _apply("num_processes", *counts, f"an update still sees the same {batches[0]} rows")
            )
        else:
            changes.append(_judge("num_processes", *counts))
    return changes


def require_same_run(old: Mapping[str, Any], new: Mapping[str, Any], *, where: str) -> list[str]:
    """Check that a run may go on from a checkpoint.

    Args:
        old: The stamp of the checkpoint.
        new: The stamp of the run.
        where: The checkpoint, for the message.

    Returns:
        What was changed and is applied, a line each.

    Raises:
        CheckpointError: Something differs that cannot be applied; every such key is named.
    """
    changes = compare_stamps(old, new)
    refused = [str(change) for change in changes if not change.is_applied]
    if refused:
        raise CheckpointError(
            "the recipe is not the one this checkpoint was made with\n  " + "\n  ".join(refused) + "\n",
            where=where,
            todo=START_ANEW,
        )
    return [str(change) for change in changes]


def _spell_task_out(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Write a task without options as one with options: given its first option it is the same task."""
    task = recipe["task"]
    return {**recipe, "task": {"name": task} if isinstance(task, str) else task}


def _list_set_keys(section: Spec, prefix: str = "") -> Iterator[str]:
    """Yield the dotted keys of a recipe, `training` apart, whose values are not the defaults."""
    for name, field in type(section).model_fields.items():
        value, default = getattr(section, name), field.get_default(call_default_factory=True)
        if value == default or (name == "training" and not prefix):
            continue
        if isinstance(value, Spec) and not isinstance(value, Named) and default is not None:
            yield from _list_set_keys(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def _list_set_arguments(recipe: Recipe, args: TrainingArguments) -> Iterator[str]:
    """Yield the dotted keys of `training` that are said and are not the defaults of transformers."""
    defaults = {field.name: field.default for field in dataclasses.fields(args)}
    for key, value in flatten_keys(recipe.training).items():
        if key not in defaults or value != defaults[key]:
            yield f"training.{key}"


def _is_default(key: str, stamp: Mapping[str, Any]) -> bool:
    """Tell whether a key was left at its default; False for stamps of before, which do not say it."""
    return "not_default" in stamp and not any(
        key == told or key.startswith(f"{told}.") for told in stamp["not_default"]
    )


def _is_default_of_one(key: str, *sides: tuple[Mapping[str, Any], Mapping[str, Any]]) -> bool:
    """Tell whether one side does not know a key, and the other has it at its default."""
    for (stamp, own), (_, others) in (sides, sides[::-1]):
        is_known = key in others or any(
            known.startswith(f"{key}.") or key.startswith(f"{known}.") for known in others
        )
        if key in own and not is_known:
            return _is_default(key, stamp) or (_is_gone(key, others) and own[key] in (None, False, [], {}))
    return False


def _is_gone(key: str, now: Mapping[str, Any]) -> bool:
    """Tell whether a version has no such argument any more."""
    argument = key.split(".")[:2]
    return argument[0] == "training" and all(known.split(".")[:2] != argument for known in now)


def _is_same_but_secret(old: Any, new: Any) -> bool:
    """Whether one is the other with something redacted: the environment has other secrets than it had."""
    for redacted, whole in ((old, new), (new, old)):
        if isinstance(redacted, str) and isinstance(whole, str) and HIDDEN in redacted:
            pattern = ".+".join(map(re.escape, redacted.split(HIDDEN)))
            if re.fullmatch(pattern, whole, re.DOTALL):
                return True
    return False


def _name_device(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _apply(key: str, old: Any, new: Any, reason: str) -> Change:
    return Change(key=key, old=old, new=new, reason=reason, is_applied=True)


def _judge(key: str, old: Any, new: Any) -> Change:
    for pattern, reason in APPLIED.items():
        if fnmatchcase(key, pattern):
            return _apply(key, old, new, reason)
    reasons = (reason for pattern, reason in REFUSED.items() if fnmatchcase(key, pattern))
    reason = next(reasons, "a run of two halves with different values would be neither the old nor the new")
    return Change(key=key, old=old, new=new, reason=reason, is_applied=False)


def _global_batch(stamp: Mapping[str, Any]) -> int:
    """Rows of one update, over all processes."""
    return _rows_of_a_round(stamp) * int(stamp["recipe"]["training"]["gradient_accumulation_steps"])


def _rows_of_a_round(stamp: Mapping[str, Any]) -> int:
    """Rows that all processes take at once."""
    return int(stamp["recipe"]["training"]["per_device_train_batch_size"]) * int(stamp["num_processes"])
