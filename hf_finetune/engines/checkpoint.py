"""Checkpoints in `Trainer`'s own layout, that survive a crash at any moment.

    checkpoint-<step>/
      model.safetensors  config.json  ...   what `from_pretrained` reads (adapters for PEFT), and the
      processor optimizer.pt  scheduler.pt  rng_state*.pth  trainer_state.json ...  as Trainer's
      engine_state*.pth                     what Trainer forgets: position, running loss, what is still due
      recipe_stamp.json                     `parts.stamp` manifest.json                         written last:
      size and sha256 of every file

A checkpoint is written to a hidden staging folder beside the others, flushed, and renamed. Whatever has the
name `checkpoint-<step>` and a manifest is therefore whole, or was damaged later, which `verify` sees. Weights
are stored under the names the model has in memory: the published names, `save_pretrained`'s default, are what
`Trainer` reads back into nothing for DeiT, ViT, Swin and others.
"""

from __future__ import annotations

import json
import logging
import os
import re
import zipfile
from dataclasses import fields
from functools import cache
from pathlib import Path
from types import NoneType
from typing import Any

import torch
from safetensors import safe_open
from transformers import TrainerState, TrainingArguments
from transformers.trainer_pt_utils import safe_globals

from hf_finetune import atomic_io
from hf_finetune.engines.randomness import write_state
from hf_finetune.engines.weights import load_weights
from hf_finetune.errors import CheckpointError
from hf_finetune.optim import restore_optimizer

__all__ = [
    "find_last",
    "is_of_run",
    "list_checkpoints",
    "load_engine_state",
    "load_optimizer",
    "load_rng",
    "load_stamp",
    "load_state",
    "load_torch",
    "load_weights",
    "restore_rng",
    "rotate",
    "tidy",
    "verify",
]

logger = logging.getLogger(__name__)
STAMP = "recipe_stamp.json"
NAME = re.compile(r"checkpoint-(\d+)")


def list_checkpoints(run_folder: Path) -> list[Path]:
    """Return the checkpoint folders by step, whole or not."""
    found = [
        (int(match[1]), path)
        for path in run_folder.glob("checkpoint-*")
        if (match := NAME.fullmatch(path.name))
    ]
    return [path for _, path in sorted(found) if path.is_dir()]


def verify(folder: Path) -> None:
    """Check that a checkpoint is whole.

    Ours is compared with its manifest byte for byte. One written by a plain `Trainer` has no manifest; its
    JSON must parse, its zip files must pass their checksums and its weights must be as long as their header
    says.

    Raises:
        CheckpointError: It is not; the message says which file and why.
    """
    if (folder / atomic_io.MANIFEST).exists() or (folder / STAMP).exists():
        atomic_io.verify(folder)
        return
    if not (folder / "trainer_state.json").is_file():
        raise CheckpointError("trainer_state.json is missing", where=str(folder))
    for path in sorted(folder.iterdir()):
        try:
            if path.suffix == ".json":
                json.loads(path.read_text(encoding="utf-8"))
            elif path.suffix in (".pt", ".pth", ".bin"):
                with zipfile.ZipFile(path) as archive:
                    if (bad := archive.testzip()) is not None:
                        raise ValueError(f"{bad} in it has a wrong checksum")
            elif path.suffix == ".safetensors":
                with safe_open(path, framework="pt"):
                    pass
        except Exception as error:  # every way in which a reader can stumble over damaged bytes
            raise CheckpointError(f"{path.name} is damaged ({error})", where=str(folder)) from error


def find_last(run_folder: Path | str, *, of: TrainerState | None = None) -> Path | None:
    """Return the last whole checkpoint of a run, or None; damaged ones are passed over with a warning.

    Args:
        run_folder: Where they are.
        of: Where the run stands; what is not a part of its history is then passed over, such as later
            checkpoints of a run that was resumed from an earlier one.
    """
    tidy(Path(run_folder))
    for folder in reversed(list_checkpoints(Path(run_folder))):
        if of is not None and not is_of_run(folder, of):
            continue
        try:
            verify(folder)
        except CheckpointError as error:
            logger.warning("skipping a damaged checkpoint: %s", error)
        else:
            return folder
    return None


def tidy(run_folder: Path) -> None:
    """Undo what a crash in the middle of `save` left: remove half-written folders, restore a replaced one."""
    for staging in run_folder.glob(".partial-checkpoint-*"):
        atomic_io.remove(staging)
    for replaced in run_folder.glob(".replaced-checkpoint-*"):
        target = replaced.with_name(replaced.name.removeprefix(".replaced-"))
        if target.exists():
            atomic_io.remove(replaced)
        else:
            os.rename(replaced, target)


def rotate(run_folder: Path, limit: int | None, *, best: str | None, newest: Path | None) -> None:
    """Delete the oldest checkpoints over `limit`; never the best one, never the newest whole one.

    Args:
        run_folder: Where the checkpoints are.
        limit: How many to keep, the best included; None or 0 keeps all. With a limit of 1 and a best that is
            not the newest, two stay: the newest says where the run stands. They also stay when training is
            over, where `Trainer` deletes the newest, and so would train again when resumed.
        best: The best checkpoint's folder.
        newest: The one just written, known to be whole.
    """
    if not limit or newest is None:
        return
    keep = {newest.name} | ({Path(best).name} if best else set())
    others = [path for path in list_checkpoints(run_folder) if path.name not in keep]
    # a checkpoint of a later step is from before a resume; it is not what this run will go on from
    step = int(newest.name.rsplit("-", 1)[1])
    others.sort(key=lambda path: (int(path.name.rsplit("-", 1)[1]) <= step, int(path.name.rsplit("-", 1)[1])))
    for path in others[: max(len(others) - max(limit - len(keep), 0), 0)]:
        _delete(path)


def _delete(path: Path) -> None:
    doomed = path.with_name(f".partial-{path.name}")
    os.rename(path, doomed)  # gone at once, whatever happens while its files are deleted
    atomic_io.remove(doomed)


def load_torch(path: Path, *, device: str = "cpu") -> Any:
    """Read what `torch.save` wrote; only tensors and plain containers, never code.

    Raises:
        CheckpointError: The file is missing, damaged, or holds more than data.
    """
    try:
        with safe_globals():
            return torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # every way in which a reader can stumble over damaged bytes
        raise CheckpointError(f"{path.name} cannot be read ({error})", where=str(path.parent)) from error


def load_state(folder: Path) -> TrainerState:
    """Read `trainer_state.json`, and find the best checkpoint of this very run again, wherever it lies now.

    What lies beside the checkpoint comes first, by name: the path that was written down may by now lead into
    the folder of another run. Where the best is gone, the best so far is forgotten with it: a later one would
    otherwise have to beat a score that no weights are left of.

    Raises:
        CheckpointError: The file is damaged, or not as this version of transformers writes it.
    """
    state = _read_state(folder)
    recorded = state.best_model_checkpoint
    if recorded is None:
        return state
    places = [folder.parent / re.split(r"[\\/]", recorded)[-1], Path(recorded)]
    found = next((place for place in places if is_of_run(place, state)), None)
    if found is not None:
        state.best_model_checkpoint = str(found)
    else:
        _warn_once(f"the best checkpoint, {recorded}, is gone: the best is chosen anew")
        state.best_model_checkpoint = state.best_metric = state.best_global_step = None
    return state


def is_of_run(folder: Path, state: TrainerState) -> bool:
    """Whether a checkpoint was written by the run that is now in this state, on its way here.

    Its history of logs must be how this one begins, but for what depends on the clock.
    """
    try:
        earlier = _read_state(folder)
    except CheckpointError:
        return False
    entries = state.log_history[: len(earlier.log_history)]
    return earlier.global_step <= state.global_step and _spell(earlier.log_history) == _spell(entries)


def _spell(history: list[dict[str, Any]]) -> str:
    """Return a history without times, as text: NaN is then equal to itself."""
    clocks = ("_runtime", "_per_second")
    return json.dumps(
        [{k: v for k, v in entry.items() if not k.endswith(clocks)} for entry in history],
        sort_keys=True,
        default=str,
    )


def _read_state(folder: Path) -> TrainerState:
    path = folder / "trainer_state.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path.name} cannot be read ({error})", where=str(folder)) from error
    if problem := _judge_state(content):
        raise CheckpointError(
            f"{path.name} is not what this version of transformers writes: {problem}",
            where=str(folder),
            todo="Go on with the version that wrote it, or from another checkpoint by --resume CHECKPOINT.",
        )
    return TrainerState(**content)


def _judge_state(content: Any) -> str | None:
    """Say what is wrong with the content of a `trainer_state.json`; None for nothing."""
    if not isinstance(content, dict):
        return "it is no mapping"
    known = {field.name for field in fields(TrainerState)}
    if unknown := sorted(content.keys() - known):
        return f"it has {', '.join(unknown)}"
    kinds: dict[str, Any] = {
        "global_step": int,
        "max_steps": int,
        "num_train_epochs": int,
        "log_history": list,
        "best_global_step": (int, NoneType),
        "best_metric": (int, float, NoneType),
        "best_model_checkpoint": (str, NoneType),
        "stateful_callbacks": (dict, NoneType),
        "epoch": (int, float, NoneType),
    }
    if missing := [name for name in ("global_step", "max_steps", "log_history") if name not in content]:
        return f"it lacks {', '.join(missing)}"
    wrong = [name for name, kind in kinds.items() if name in content and not isinstance(content[name], kind)]
    if not wrong and not all(isinstance(entry, dict) for entry in content["log_history"]):
        wrong = ["log_history"]
    return f"{', '.join(wrong)} is of another kind" if wrong else None


@cache
def _warn_once(text: str) -> None:
    logger.warning(text)


def load_engine_state(folder: Path, args: TrainingArguments) -> dict[str, Any] | None:
    """Read what a process needs to go on exactly; None for a checkpoint of a plain `Trainer`.

    Written by another number of processes, the position is the same for all and the running loss is shared
    out.
    """
    paths = _of_all_processes(folder, "engine_state")
    if not paths:
        return None
    if len(paths) == args.world_size:
        return dict(load_torch(paths[args.process_index]))
    states = [load_torch(path) for path in paths]
    return {**states[0], "loss_sum": torch.stack([state["loss_sum"] for state in states]).mean(0)}


def load_rng(folder: Path, args: TrainingArguments) -> dict[str, Any] | None:
    """Read this process' random state; None when another number of processes wrote the checkpoint."""
    paths = _of_all_processes(folder, "rng_state")
    if len(paths) != args.world_size:
        return None
    return dict(load_torch(paths[args.process_index]))


def restore_rng(folder: Path, args: TrainingArguments) -> None:
    """Put the global random generators where they were when the checkpoint was written."""
    state = load_rng(folder, args)
    if state is None:
        logger.warning(
            "%s has no random state for %d processes: dropout will differ", folder, args.world_size
        )
    else:
        write_state(state)


def load_optimizer(folder: Path, optimizer: Any, scheduler: Any, scaler: Any = None) -> None:
    """Load the moments and the place in the schedule; changed settings are applied (see `restore_optimizer`).

    Args:
        folder: The checkpoint.
        optimizer: As built for this run.
        scheduler: As built for this run.
        scaler: The fp16 loss scaler, where there is one; one that the checkpoint does not have starts afresh.

    Raises:
        CheckpointError: A file is missing, as after `save_only_model`, or is of other parameters.
    """
    moments, place = load_torch(folder / "optimizer.pt"), load_torch(folder / "scheduler.pt")
    try:
        restore_optimizer(optimizer, scheduler, moments, place)
    except ValueError as error:
        raise CheckpointError(
            f"optimizer.pt does not fit ({error})",
            where=str(folder),
            todo="Resume with the optimizer and the trained parameters the run was started with.",
        ) from error
    if scaler is not None and (folder / "scaler.pt").is_file():
        scaler.load_state_dict(load_torch(folder / "scaler.pt"))


def _of_all_processes(folder: Path, stem: str) -> list[Path]:
    """Return the files each process wrote for itself, by process."""
    alone = folder / f"{stem}.pth"
    if alone.is_file():
        return [alone]
    return sorted(folder.glob(f"{stem}_*.pth"), key=lambda path: int(path.stem.rsplit("_", 1)[1]))


def load_stamp(folder: Path) -> dict[str, Any] | None:
    """Return `parts.stamp` as it was saved, or None for a plain Trainer's checkpoint.

    Raises:
        CheckpointError: The file cannot be read.
    """
    path = folder / STAMP
    if not path.is_file():
        return None
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{STAMP} cannot be read ({error})", where=str(folder)) from error
