"""Every field of the installed TrainingArguments has its place: nothing is silently ignored."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from engine_harness.cells import CELLS, Cell
from engine_harness.execute import DEFAULTS, build_parts
from transformers import Seq2SeqTrainingArguments, TrainingArguments
from transformers.trainer_utils import SchedulerType
from transformers.training_args import OptimizerNames

from hf_finetune.engines import ENGINES, arguments
from hf_finetune.errors import UserError

PLACES = {
    "honoured": set(arguments.HONOURED),
    "always so": set(arguments.ALWAYS_SO),
    "of others": set(arguments.OF_OTHERS),
    "refused": set(arguments.REFUSED),
    "only trainer": set(arguments.ONLY_TRAINER),
}
FIELDS = [field.name for field in dataclasses.fields(Seq2SeqTrainingArguments)]
QUIET = {"use_cpu": True, "report_to": "none"}


@pytest.mark.parametrize("name", FIELDS)
def test_every_field_has_one_place(name: str) -> None:
    assert len([place for place, names in PLACES.items() if name in names]) == 1


def test_no_place_names_a_field_that_is_gone() -> None:
    assert set().union(*PLACES.values()) == set(FIELDS)


def test_the_defaults_are_honoured() -> None:
    for engine in ENGINES:
        assert arguments.check_arguments(TrainingArguments(**QUIET), engine) == []


SHOWN_ELSEWHERE = {
    "output_dir": "every cell has one",
    "per_device_train_batch_size": "every cell has one",
    "auto_find_batch_size": "tests/parity/test_right_numbers.py",
    "length_column_name": "tests/unit/engines/test_tickets.py",
    "fp16": "tests/parity/test_loss_scaling.py, and refused on a CPU, below",
    "tf32": "needs a GPU: TrainingArguments refuses it without, and sets it for torch itself",
    "torch_compile_mode": "goes to torch.compile beside torch_compile_backend, which has a cell",
    "gradient_checkpointing": "TrainingArguments renames it to activation_checkpointing",
    "gradient_checkpointing_kwargs": "TrainingArguments renames it to activation_checkpointing_kwargs",
    "optim_target_modules": "for GaLore and APOLLO, which are not in the tested set of packages",
    "accelerator_config": "all but non_blocking is refused, below; that moves no number",
    "dataloader_in_order": "False gives up a fixed order, so there is nothing to compare by ==",
    "ddp_backend": "gloo on a CPU; others need a GPU",
    "ddp_static_graph": "refused by torch with what other cells ask for",
    "predict_with_generate": "tests of the task that generates",
    "generation_max_length": "tests of the task that generates",
    "generation_num_beams": "tests of the task that generates",
    "generation_config": "tests of the task that generates",
}
"""Honoured fields that no parity cell sets, and why."""


def test_every_honoured_field_is_in_a_cell_or_says_why_not() -> None:
    in_cells = set(DEFAULTS).union(*(cell.args for cell in CELLS.values()))
    assert set(SHOWN_ELSEWHERE) == arguments.HONOURED - in_cells


def test_every_schedule_is_in_a_cell() -> None:
    seen = {cell.args.get("lr_scheduler_type", "linear") for cell in CELLS.values()}
    assert seen == {schedule.value for schedule in SchedulerType}


@pytest.mark.parametrize("optimizer", [name.value for name in OptimizerNames])
def test_every_optimizer_is_in_a_cell_or_refused_with_a_reason(optimizer: str) -> None:
    seen = {cell.args.get("optim", "adamw_torch_fused") for cell in CELLS.values()}
    for engine in ENGINES:
        problems = arguments.check_arguments(TrainingArguments(**QUIET, optim=optimizer), engine)
        if optimizer in seen:
            assert problems == []
        else:
            (problem,) = problems
            assert problem.startswith(f"optim = '{optimizer}'")


@pytest.mark.parametrize(
    ("given", "part"),
    [
        ({"bf16_full_eval": True}, "precision of training"),
        ({"include_for_metrics": ["inputs"]}, "reduce"),
        ({"label_names": ["start", "end"]}, "'labels'"),
        ({"enable_jit_checkpoint": True}, "SIGTERM"),
        ({"push_to_hub": True}, "hub.repo_id"),
        ({"accelerator_config": {"split_batches": True}}, "dealt out here"),
        ({"optim": "adamw_bnb_8bit"}, "bitsandbytes"),
        ({"fp16": True}, "on a CPU"),
        ({"optim": "lomo"}, "inside the backward pass"),
        ({"save_strategy": "best", "eval_strategy": "epoch"}, "metric_for_best_model is missing"),
        ({"optim_args": "momentum=0.9"}, "optim_args: momentum is not read by optim = 'adamw_torch_fused'"),
        ({"optim": "sgd", "optim_args": "momentum=0.9,x=b"}, "optim_args: x is not read by optim = 'sgd'"),
        ({"optim": "sgd", "adam_beta2": 0.95}, "adam_beta2 is not read by optim = 'sgd'"),
        ({"lr_scheduler_type": "cosine", "lr_scheduler_kwargs": {"num_cycle": 1}}, "argument 'num_cycle'"),
        ({"lr_scheduler_type": "constant", "lr_scheduler_kwargs": {"gama": 1}}, "none but step_size, mile"),
    ],
)
def test_both_engines_refuse(given: dict[str, Any], part: str) -> None:
    for engine in ENGINES:
        problems = arguments.check_arguments(TrainingArguments(**QUIET, **given), engine)
        assert any(part in problem for problem in problems), problems


@pytest.mark.parametrize(
    "given",
    [
        {"optim": "sgd", "optim_args": "momentum=0.9, nesterov=true"},
        {"optim": "rmsprop", "optim_args": "alpha=0.9,centered=True"},
        {"adam_beta2": 0.95, "adam_epsilon": 1e-6},
    ],
)
def test_what_the_optimizer_reads_is_taken(given: dict[str, Any]) -> None:
    assert arguments.check_arguments(TrainingArguments(**QUIET, **given), "trainer") == []


@pytest.mark.parametrize(
    "given",
    [
        {"neftune_noise_alpha": 5.0},
        {"use_liger_kernel": True},
        {"debug": "underflow_overflow"},
        {"skip_memory_metrics": False},
    ],
)
def test_the_loop_names_the_other_engine(given: dict[str, Any]) -> None:
    args = TrainingArguments(**QUIET, **given)
    assert arguments.check_arguments(args, "trainer") == []
    (problem,) = arguments.check_arguments(args, "accelerate")
    assert next(iter(given)) in problem
    assert "use engine: trainer" in problem


def test_all_problems_come_at_once(tmp_path: Path) -> None:
    parts = build_parts(Cell("any"), tmp_path, bf16_full_eval=True, enable_jit_checkpoint=True)
    for engine in ENGINES:
        with pytest.raises(UserError, match=r"(?s)bf16_full_eval.*enable_jit_checkpoint"):
            ENGINES.get(engine)(parts, None)
    assert list(tmp_path.iterdir()) == []
