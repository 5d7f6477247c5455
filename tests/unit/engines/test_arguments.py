"""Every field of the installed TrainingArguments has its place: nothing is silently ignored."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from engine_harness.cells import Cell
from engine_harness.execute import build_parts
from transformers import Seq2SeqTrainingArguments, TrainingArguments

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


@pytest.mark.parametrize(
    ("given", "part"),
    [
        ({"bf16_full_eval": True}, "precision of training"),
        ({"include_for_metrics": ["inputs"]}, "reduce"),
        ({"label_names": ["start", "end"]}, "'labels'"),
        ({"enable_jit_checkpoint": True}, "SIGTERM"),
        ({"push_to_hub": True}, "hub.repo_id"),
        ({"accelerator_config": {"split_batches": True}}, "dealt out here"),
        ({"save_strategy": "best", "eval_strategy": "epoch"}, "metric_for_best_model is missing"),
    ],
)
def test_both_engines_refuse(given: dict[str, Any], part: str) -> None:
    for engine in ENGINES:
        problems = arguments.check_arguments(TrainingArguments(**QUIET, **given), engine)
        assert any(part in problem for problem in problems), problems


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
