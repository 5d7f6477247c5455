"""Run a cell with an engine, in this process, which may be one of several."""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import torch.distributed as dist
from peft import PEFT_TYPE_TO_CONFIG_MAPPING, PeftConfig, PeftType, get_peft_model
from transformers import EarlyStoppingCallback, TrainerCallback, TrainingArguments, set_seed

from engine_harness import compare
from engine_harness.cells import BATCH, Cell
from engine_harness.recipes import RECIPES, build_from_recipe, write_pretrained
from engine_harness.tasks import TASKS, Rows, Stream, Task
from hf_finetune.engines import ENGINES, checkpoint
from hf_finetune.engines.ingredients import Ingredients
from hf_finetune.errors import Interrupted
from hf_finetune.runner.adaptive_rank import with_adaptive_rank

DEFAULTS = {
    "num_train_epochs": 2,
    "per_device_eval_batch_size": 32,
    "learning_rate": 5e-3,
    "use_cpu": True,
    "report_to": "none",
    "disable_tqdm": True,
    "dataloader_pin_memory": False,
    "log_level": "error",
}


class Trace(TrainerCallback):
    """Everything a callback can see at each event."""

    def __init__(self) -> None:
        self.events: list[Any] = []

    def __getattribute__(self, name: str) -> Any:
        if not name.startswith("on_"):
            return object.__getattribute__(self, name)

        def record(args: Any, state: Any, control: Any, **others: Any) -> None:
            numbers = others.get("logs") or others.get("metrics") or {}
            flags = {key: value for key, value in vars(control).items() if key.startswith("should_")}
            position = (state.global_step, state.epoch, state.max_steps, state.best_metric)
            self.events.append((name, *position, flags, sorted(numbers), others["model"].training))

        return record


class Snapshot(TrainerCallback):
    """Copy the run folder right after a save, as a crash at that moment would leave it."""

    def __init__(self, step: int, to: Path) -> None:
        self.step, self.to = step, to

    def on_save(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        if state.global_step == self.step:
            barrier()
            if args.process_index == 0:
                shutil.copytree(args.output_dir, self.to, dirs_exist_ok=True)
            barrier()


class LeaveEvaluation(TrainerCallback):
    """Send a signal to the last of the processes within the evaluation at a step, and count what follows."""

    def __init__(self, step: int, nth: int, signum: int = signal.SIGUSR1) -> None:
        self.step, self.nth, self.signum = step, nth, signum
        self.num_batches = 0

    def on_prediction_step(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        self.num_batches += state.global_step == self.step
        if self.num_batches == self.nth and args.process_index == args.world_size - 1:
            os.kill(os.getpid(), self.signum)


def barrier() -> None:
    if dist.is_initialized():
        dist.barrier()


def build_parts(cell: Cell, folder: Path, **overrides: Any) -> Ingredients:
    """Return fresh ingredients of a cell; `overrides` are of TrainingArguments."""
    if cell.task in RECIPES:
        return build_from_recipe(cell, folder, DEFAULTS, **overrides)
    task = TASKS[cell.task]()
    train_rows, eval_rows = task.rows
    model = task.model
    if cell.lora or cell.peft:
        set_seed(0)
        model = get_peft_model(model, build_adapters(cell, task))
    dataset = {"rows": Rows, "stream": Stream}[cell.kind](train_rows, task.input_name, cell.noise)
    evaluated = Rows(eval_rows, task.input_name)
    arguments = {
        **DEFAULTS,
        "output_dir": str(folder),
        "per_device_train_batch_size": BATCH[cell.task] // int(os.environ.get("WORLD_SIZE", "1")),
        **cell.args,
        **overrides,
    }
    parts = Ingredients(
        model=model,
        args=TrainingArguments(**arguments),
        train_dataset=dataset,
        eval_dataset=dict.fromkeys("ab", evaluated) if cell.leaves else evaluated,
        collate=task.collate,
        loss=task.loss,
        reduce=task.reduce,
        metrics=task.metrics,
        callbacks=[EarlyStoppingCallback(cell.patience)] if cell.patience else [],
        stamp={"cell": cell.name},
    )
    return with_adaptive_rank(parts)


def build_adapters(cell: Cell, task: Task) -> PeftConfig:
    options = dict(cell.peft) or {"method": "lora", "r": 4, "lora_dropout": 0.1}
    kind = PeftType(options.pop("method").upper())
    options |= {"total_step": 1000} if kind == PeftType.ADALORA else {}
    options |= {"feedforward_modules": []} if kind == PeftType.IA3 else {}
    return PEFT_TYPE_TO_CONFIG_MAPPING[kind](
        target_modules=list(task.lora_targets), modules_to_save=[task.head], **options
    )


def execute(cell: Cell, engine: str, root: Path, label: str, resume: str | None = None) -> dict[str, Any]:
    """Train a cell in `root/live`, one path for all as it is in the state, then move it to `root/label`.

    Args:
        cell: What to run.
        engine: Of `ENGINES`.
        root: A folder for this cell.
        label: What to call the outcome.
        resume: The label of the run whose snapshot at `cell.stop` to go on from.
    """
    live, is_main = root / "live", not dist.is_initialized() or dist.get_rank() == 0
    if is_main:
        shutil.rmtree(live, ignore_errors=True)
        if resume is None:
            live.mkdir(parents=True)
        else:
            shutil.copytree(root / f"snapshot-{resume}", live)
        write_pretrained(cell, root)
    barrier()
    trace = Trace()
    parts = build_parts(cell, live)
    callbacks = [*parts.callbacks, trace]
    if resume is None and cell.stop:
        callbacks.append(Snapshot(cell.stop, root / f"snapshot-{label}"))
    parts = dataclasses.replace(parts, callbacks=callbacks)
    state = ENGINES.get(engine)(parts, live / f"checkpoint-{cell.stop}" if resume else None)
    barrier()
    if is_main:
        shutil.rmtree(root / label, ignore_errors=True)
        shutil.move(live, root / label)
    barrier()
    folders = checkpoint.list_checkpoints(root / label)
    return {
        "history": compare.without_times(state.log_history),
        "weights": {name: tensor.clone() for name, tensor in parts.model.state_dict().items()},
        "folders": sorted(path.name for path in (root / label).iterdir()),
        "checkpoint": compare.read_checkpoint(folders[-1]) if folders else {},
        "best": (state.best_metric, state.best_global_step),
        "events": trace.events,
    }


def leave_in_evaluation(cell: Cell, engine: str, root: Path) -> Interrupted:
    """Stop a run at a batch of the second evaluation set; its folder becomes the snapshot of the engine."""
    live, is_main = root / "live", not dist.is_initialized() or dist.get_rank() == 0
    barrier()
    parts = build_parts(cell, live)
    num_batches = len(parts.eval_dataset["a"]) // (parts.args.eval_batch_size * parts.args.world_size) + 1
    leave = LeaveEvaluation(cell.stop, num_batches + 1)
    try:
        ENGINES.get(engine)(dataclasses.replace(parts, callbacks=[*parts.callbacks, leave]), None)
    except Interrupted as stopped:
        ended = stopped
    assert leave.num_batches == leave.nth, "it was left at once"
    assert ended.exit_code == 128 + leave.signum
    barrier()
    if is_main:
        assert ended.checkpoint == str(live / f"checkpoint-{cell.stop}")
        history = checkpoint.load_state(Path(ended.checkpoint)).log_history
        assert not any("eval_a_loss" in entry for entry in history if entry["step"] == cell.stop)
        shutil.rmtree(root / f"snapshot-{engine}", ignore_errors=True)
        shutil.move(live, root / f"snapshot-{engine}")
    barrier()
    return ended


def compare_cell(cell: Cell, root: Path) -> dict[str, list[str]]:
    """Return what differs: both engines unbroken, and all four ways of stopping and going on."""
    whole = {engine: execute(cell, engine, root, engine) for engine in ("trainer", "accelerate")}
    found = {"trainer = accelerate": compare.compare_runs(whole["trainer"], whole["accelerate"])}
    for first in whole if cell.stop else ():
        if cell.leaves:
            leave_in_evaluation(cell, first, root)
        for second in whole:
            label = f"{first} -> {second}"
            resumed = execute(cell, second, root, f"{first}-{second}", resume=first)
            found[label] = compare.compare_runs(whole["trainer"], resumed, skip=("events",))
    return found
