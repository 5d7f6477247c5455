"""What is offered for a number written otherwise is the one that was meant, and is taken."""

from __future__ import annotations

import pytest

from hf_finetune.recipe.training_checks import check_training
from hf_finetune.recipe.wording import hint

MEANT = {
    "1e-3": 1e-3,
    "0,001": 0.001,
    "0,5": 0.5,
    "1,5e-4": 1.5e-4,
    "1,5": 1.5,
    "12,25": 12.25,
    "0.001": 0.001,
    "1.000": 1.0,
    "1.000,5": 1000.5,
    "1,000.5": 1000.5,
    "1,234,567": 1234567.0,
    "1_000": 1000.0,
    "1 000": 1000.0,
    "1'000": 1000.0,
    "5e-5,": 5e-5,
    "\N{FULLWIDTH DIGIT THREE}": 3.0,
    "\N{MINUS SIGN}0.5": -0.5,
    "1e\N{MINUS SIGN}4": 1e-4,
    "10%": 0.1,
    "0,5 %": 0.005,
    " 2 ": 2.0,
    ".5": 0.5,
    # more than one meaning, or none
    "1,000": None,
    "0.1.2": None,
    "0,1,2": None,
    "1,00,000": None,
    "1e": None,
    "fast": None,
    "10k": None,
    "nan": None,
    "inf": None,
    "0x10": None,
    "1/3": None,
    "": None,
}


@pytest.mark.parametrize("text", MEANT)
def test_a_number(text: str) -> None:
    said = hint(text, {"float"})
    assert (
        said and float(said.removeprefix("Write ").removesuffix(" without quotes.").removesuffix("."))
    ) == (MEANT[text])


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("1,000", "1000"),
        ("1.000", "1000"),
        ("2.5", None),
        ("10%", None),
        ("1e3", "1000"),
        ("16.0", "16"),
        ("0,5", None),
    ],
)
def test_a_whole_number(text: str, meant: str | None) -> None:
    assert hint(text, {"int"}) == (meant and f"Write {meant}.")


@pytest.mark.parametrize(
    ("values", "todo"),
    [
        ({"learning_rate": "0,001"}, "Write 0.001."),
        ({"learning_rate": "-1"}, None),  # would be refused again
        ({"adam_beta1": "1,5"}, None),
        ({"per_device_train_batch_size": "2.5"}, None),
        ({"per_device_train_batch_size": "0"}, None),
        ({"save_total_limit": "none"}, "Write null."),
        ({"bf16": "yes"}, "Write true."),
        ({"bf16": "none"}, "Write false."),
        ({"label_names": "labels"}, "Write [labels]."),
    ],
)
def test_what_is_offered_is_taken(values: dict[str, object], todo: str | None) -> None:
    (finding,) = check_training(values, metrics=None)
    assert finding.todo == todo
