"""What a recipe hardly means is told, and one that is read as it stands is not bothered."""

from pathlib import Path

import pytest

from hf_finetune.recipe import list_remarks, load_recipe

ROOT = Path(__file__).parents[3] / "recipes"
SMOKE = ROOT / "smoke" / "image-classification.yaml"

TOLD = {
    "training.eval_steps=100": "eval_strategy is epoch",
    "training.save_steps=100": "save_strategy is epoch",
    "training={eval_strategy: no, eval_delay: 3}": "eval_strategy is no",
    "training={logging_strategy: epoch, logging_steps: 5}": "logging_strategy is epoch",
    "training={max_steps: 9, num_train_epochs: 2}": "max_steps decides how long the run is",
    "training.gradient_checkpointing_kwargs={use_reentrant: false}": "gradient_checkpointing is false",
    "training.project=mine": "report_to names no tracker",
    "training={report_to: [wandb], trackio_space_id: me/space}": "report_to does not name trackio",
    "training.logging_nan_inf_filter=true": "a loss that is not finite is always shown",
    "training.restore_callback_states_from_checkpoint=false": "callbacks always go on where they were",
    "training.length_column_name=n": "train_sampling_strategy is random",
    "data.holdout=0.3": "data.splits.eval names a split",
    "model.revision=main": f"{SMOKE.parents[1] / 'quickstart/checkpoint'} is a path, which has no revisions",
    "hub.strategy=every_save": "nothing is pushed without hub.repo_id",
}


def test_smoothing_that_is_said_twice():
    words = ["loss={name: cross_entropy, label_smoothing: 0.1}", "training.label_smoothing_factor=0.2"]
    remarks = dict(list_remarks(load_recipe(SMOKE, words)))
    assert remarks["training.label_smoothing_factor"] == "has no effect: loss.label_smoothing says it"


@pytest.mark.parametrize("override", TOLD)
def test_told(override: str) -> None:
    assert f"has no effect: {TOLD[override]}" in dict(list_remarks(load_recipe(SMOKE, [override]))).values()


@pytest.mark.parametrize(
    ("training", "part"),
    [
        ("learning_rate: 3", "is 3: AdamW hardly ever learns above 0.1; usual is 1e-6 to 1e-2"),
        ("learning_rate: 30, optim: sgd", "is 30: sgd hardly ever learns above 10"),
        ("learning_rate: 0", "is 0: nothing will be learned"),
        ("weight_decay: 10", "is 10: usual is 0.01"),
        ("warmup_steps: 100, max_steps: 50", "is 100, and the run has 50 updates: it never ends"),
    ],
)
def test_a_number_far_off_is_told(training: str, part: str) -> None:
    assert any(part in remark for _, remark in list_remarks(load_recipe(SMOKE, [f"training={{{training}}}"])))


@pytest.mark.parametrize(
    "override",
    [
        "training={eval_strategy: steps, eval_steps: 5, save_steps: 10}",
        "training={logging_steps: 5, num_train_epochs: 3}",
        "training={learning_rate: 1.0, optim: sgd, warmup_steps: 0.1, max_steps: 5}",
        "training={report_to: [wandb], project: mine}",
        "data={path: csv, holdout: 0.3, splits: {train: train}}",
    ],
)
def test_what_is_read_is_not_told(override: str) -> None:
    keys = [key for key, _ in list_remarks(load_recipe(SMOKE, [override]))]
    assert not [key for key in keys if key in override or key.rpartition(".")[2] in override]


@pytest.mark.parametrize("path", sorted(ROOT.glob("**/*.yaml")), ids=lambda path: path.stem)
def test_no_recipe_of_the_project_says_what_nothing_reads(path: Path) -> None:
    assert list(list_remarks(load_recipe(path))) == []
