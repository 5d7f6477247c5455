"""Writing a checkpoint: staged, hashed on the way, flushed, named at the end. Its layout: checkpoint.py."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accelerate.utils import broadcast_object_list, gather_object
from transformers import TrainerState, TrainingArguments

from hf_finetune import atomic_io
from hf_finetune.atomic_io import is_disk_full
from hf_finetune.engines import durable, weights
from hf_finetune.engines.checkpoint import STAMP, is_of_run, list_checkpoints, rotate
from hf_finetune.engines.ingredients import Ingredients
from hf_finetune.engines.randomness import read_state
from hf_finetune.errors import RunFolderError

__all__ = ["Snapshot", "save"]


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """All that a checkpoint keeps.

    Args:
        parts: Model (not wrapped), processor, stamp.
        args: The arguments as the engine uses them.
        state: `global_step`, log history, best so far, the callbacks' states.
        optimizer: Has `state_dict()`; None with `save_only_model`.
        scheduler: Has `state_dict()`; None with `save_only_model`.
        scaler: The fp16 loss scaler, where there is one.
        engine_state: What this process needs to go on exactly; tensors, numbers, strings and containers of
            them.
    """

    parts: Ingredients
    args: TrainingArguments
    state: TrainerState
    optimizer: Any
    scheduler: Any
    scaler: Any
    engine_state: dict[str, Any]


def save(snapshot: Snapshot) -> Path:
    """Write `output_dir/checkpoint-<step>`, then delete the checkpoints that are one too many.

    Every process calls it. Returns when the folder is whole and has its name.

    Raises:
        RunFolderError: The disk is full; nothing half-written is left behind.
    """
    args, state = snapshot.args, snapshot.state
    run_folder = Path(args.output_dir)
    target = run_folder / f"checkpoint-{state.global_step}"
    staging = run_folder / f".partial-{target.name}"
    if args.process_index == 0:
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(parents=True)
        best = run_folder / f"checkpoint-{state.best_global_step}"
        is_known = str(best) == state.best_model_checkpoint
        if state.best_global_step and not is_known and (best == target or is_of_run(best, state)):
            state.best_model_checkpoint = str(best)
    state.best_model_checkpoint = _from_main(state.best_model_checkpoint, args)

    files: dict[str, Any] = {}
    error: OSError | None = None
    try:
        files = _write_own(snapshot, staging)
        if args.process_index == 0:
            files |= _write_shared(snapshot, staging)
    except OSError as problem:
        error = problem
    outcomes: list[Any] = gather_object([(files, error)]) if args.world_size > 1 else [(files, error)]
    error = next((problem for _, problem in outcomes if problem is not None), None)
    if error is None and args.process_index == 0:
        try:
            everything = {name: facts for own, _ in outcomes for name, facts in own.items()}
            about = {"version": 1, "step": state.global_step, "num_processes": args.world_size}
            atomic_io.write_manifest(staging, everything, about)
            atomic_io.replace_folder(staging, target)
        except OSError as problem:
            error = problem
    error = _from_main(error, args)
    if error is not None:
        if args.process_index == 0:
            shutil.rmtree(staging, ignore_errors=True)
        raise _explain(error, target) from error
    if args.process_index == 0:
        rotate(run_folder, args.save_total_limit, best=state.best_model_checkpoint, newest=target)
    return target


def _write_own(snapshot: Snapshot, staging: Path) -> dict[str, Any]:
    """Write what each process has for itself."""
    args = snapshot.args
    if args.save_only_model:
        return {}
    suffix = f"_{args.process_index}" if args.world_size > 1 else ""
    contents = {
        f"rng_state{suffix}.pth": read_state(all_gpus=args.world_size > 1),
        f"engine_state{suffix}.pth": snapshot.engine_state,
    }
    return {name: durable.write_torch(staging / name, content) for name, content in contents.items()}


def _write_shared(snapshot: Snapshot, staging: Path) -> dict[str, Any]:
    """Write what all processes have in common."""
    parts, args, state = snapshot.parts, snapshot.args, snapshot.state
    files = weights.save_weights(parts.model, staging)
    if parts.processor is not None:
        parts.processor.save_pretrained(staging)
    contents = {"training_args.bin": args}
    if not args.save_only_model:
        contents |= {
            "optimizer.pt": snapshot.optimizer.state_dict(),
            "scheduler.pt": snapshot.scheduler.state_dict(),
        }
        if snapshot.scaler is not None:
            contents["scaler.pt"] = snapshot.scaler.state_dict()
    for name, content in contents.items():
        files[name] = durable.write_torch(staging / name, content)
    state.save_to_json(str(staging / "trainer_state.json"))
    files[STAMP] = atomic_io.write_json(staging / STAMP, dict(parts.stamp))
    return files


def _explain(error: OSError, target: Path) -> OSError | RunFolderError:
    if not is_disk_full(error):
        return error
    last = next((path for path in reversed(list_checkpoints(target.parent))), None)
    kept = f"the last whole checkpoint is {last}" if last else "there is no checkpoint yet"
    return RunFolderError(
        f"the disk is full: {target.name} could not be written; {kept}",
        where=str(target.parent),
        todo="Free some space and go on with --resume, or lower save_total_limit.",
    )


def _from_main(value: Any, args: TrainingArguments) -> Any:
    return broadcast_object_list([value], from_process=0)[0] if args.world_size > 1 else value
