"""Files that extend files, overrides, and what a loaded recipe can say about itself."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from pydantic import ValidationError

from hf_finetune.errors import RecipeError
from hf_finetune.recipe import CometSpec, NamedSpec, Recipe, SweepSpec, TaskSpec, load_recipe

BASE = """\
task: image-classification
model:
  checkpoint: org/base
  peft: {method: lora, r: 16}
data:
  path: org/pictures
  augment: [{name: random_crop, padding: 4}, horizontal_flip]
metrics: [accuracy, {name: f1, average: macro}]
loss: {name: huber, factor: 0.1}
training:
  learning_rate: 5e-5
  num_train_epochs: 3
  eval_strategy: no
"""


@pytest.fixture(autouse=True)
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = Path("base.yaml")
    path.write_text(BASE)
    return path


def load(text: str, *overrides: str) -> Recipe:
    Path("own.yaml").write_text(text)
    return load_recipe("own.yaml", overrides)


# ---------------------------------------------------------------- one file


def test_a_recipe_is_a_frozen_value(base: Path) -> None:
    recipe = load_recipe(base)
    assert recipe.task == TaskSpec(name="image-classification")
    assert recipe.metrics == (NamedSpec(name="accuracy"), NamedSpec(name="f1", options={"average": "macro"}))
    assert recipe.training["learning_rate"] == 5e-5
    assert recipe.training["eval_strategy"] == "no"
    assert recipe.engine == "trainer"
    assert recipe.source == Path("base.yaml")
    with pytest.raises(ValidationError, match="frozen"):
        recipe.engine = "accelerate"


def test_a_smallest_recipe_has_all_defaults() -> None:
    recipe = load("task: image-classification\nmodel: {checkpoint: m}\ndata: {path: p}\n")
    assert recipe.data.splits.train == "train"
    assert recipe.data.splits.eval is None
    assert recipe.data.holdout == 0.1
    assert recipe.metrics == ()
    assert recipe.loss is None
    assert recipe.hub.private is True
    assert recipe.guard.max_skips == 0


@pytest.mark.parametrize(
    "lines",
    [
        "training: {warmup_steps: 0.1, logging_steps: 10, eval_steps: 0.5, max_steps: -1, learning_rate: 1}",
        "training: {report_to: [tensorboard], debug: underflow_overflow, optim: sgd, tf32: null}",
        "training: {lr_scheduler_type: cosine_with_min_lr, lr_scheduler_kwargs: {min_lr: 1e-6}}",
        "training: {save_strategy: best, load_best_model_at_end: true}",
        "training: {eval_strategy: steps, eval_steps: 100, save_steps: 200, load_best_model_at_end: true}",
        "training: {eval_strategy: steps, eval_steps: 0.1, load_best_model_at_end: true}",
        "training: {eval_strategy: steps, eval_steps: 0.1, save_steps: 0.3, load_best_model_at_end: true}",
        "training: {metric_for_best_model: anything}",
        "metrics: [f1]\ntraining: {metric_for_best_model: eval_f1_macro}",
        "metrics: [{name: top_k_accuracy, k: 3}]\ntraining: {metric_for_best_model: top_3_accuracy}",
        "metrics: [{name: hub, path: org/some-metric}]\ntraining: {metric_for_best_model: some_metric}",
        "metrics: [accuracy]\ntraining: {metric_for_best_model: eval_loss, greater_is_better: false}",
        "training: {gradient_checkpointing: true, include_num_input_tokens_seen: true}",
        "training: {predict_with_generate: true, generation_max_length: 64}",
        "early_stopping: {patience: 2}",
        "baseline: from-scratch",
        "tracking: {comet: {project: dl, mode: offline, tags: [a, b], collect: [git]}}",
        "hub: {repo_id: me/model, private: false, strategy: every_save, branch: next, tags: [a]}",
        "expected: {eval_accuracy: 0.98, date: 2026-11-23, classes: {0: cat}}",
        "training:\n  learning_rate: !!float 1\n",
    ],
)
def test_what_is_right_is_taken(lines: str) -> None:
    recipe = load(f"task: image-classification\nmodel: {{checkpoint: m}}\ndata: {{path: p}}\n{lines}\n")
    assert load(recipe.to_yaml()) == recipe


def test_whole_numbers_of_a_search_space_stay_whole() -> None:
    space = SweepSpec.model_validate({"space": {"training.seed": {"low": 1, "high": 9}}}).space[
        "training.seed"
    ]
    assert type(space.low) is int
    assert type(space.high) is int


# ---------------------------------------------------------------- extends


def test_mappings_merge_and_everything_else_is_replaced() -> None:
    recipe = load("extends: base.yaml\ntraining: {learning_rate: 1e-3, seed: 7}\nmetrics: [accuracy]\n")
    assert recipe.training == {
        "learning_rate": 1e-3,
        "num_train_epochs": 3,
        "eval_strategy": "no",
        "seed": 7,
    }
    assert [spec.name for spec in recipe.metrics] == ["accuracy"]
    assert recipe.model.checkpoint == "org/base"


def test_options_stay_with_the_same_name_and_go_with_another() -> None:
    same = load("extends: base.yaml\nloss: {name: huber, weight: 2}\nmodel: {peft: {r: 8}}\n")
    assert same.loss == NamedSpec(name="huber", options={"factor": 0.1, "weight": 2})
    assert same.model.peft is not None
    assert same.model.peft.options == {"r": 8}
    other = load("extends: base.yaml\nloss: {name: focal, gamma: 2}\nmodel: {peft: {method: ia3}}\n")
    assert other.loss == NamedSpec(name="focal", options={"gamma": 2})
    assert other.model.peft is not None
    assert other.model.peft.options == {}
    task = load("extends: base.yaml\ntask: {problem_type: regression}\n").task
    assert (task.name, task.problem_type) == ("image-classification", "regression")
    assert load("extends: base.yaml\nloss: focal\n").loss == NamedSpec(name="focal")
    assert load("extends: base.yaml\nloss: null\n").loss is None


def test_a_chain_over_folders_each_relative_to_its_file() -> None:
    Path("deep/er").mkdir(parents=True)
    Path("deep/middle.yaml").write_text("extends: ../base.yaml\nguard: {max_skips: 2}\n")
    Path("deep/er/low.yaml").write_text("extends: ../middle.yaml\ntraining: {seed: 9}\n")
    recipe = load_recipe("deep/er/low.yaml")
    assert recipe.guard.max_skips == 2
    assert recipe.training["num_train_epochs"] == 3
    assert recipe.where("training.seed") == "deep/er/low.yaml:2:12"
    assert recipe.where("guard.max_skips") == "deep/er/../middle.yaml:2:9"


def test_of_several_bases_the_later_wins_and_a_shared_one_is_no_circle() -> None:
    Path("one.yaml").write_text("extends: base.yaml\ntraining: {seed: 1, max_steps: 10}\n")
    Path("two.yaml").write_text("extends: base.yaml\ntraining: {seed: 2}\n")
    recipe = load("extends: [one.yaml, two.yaml]\n")
    assert recipe.training["seed"] == 2
    assert recipe.training["max_steps"] == 10


# ---------------------------------------------------------------- overrides


def test_overrides_are_yaml_and_the_last_wins(base: Path) -> None:
    recipe = load_recipe(
        base, ["training.learning_rate=3e-5", "training.seed=1", "training.seed=2", "engine=accelerate"]
    )
    assert recipe.training["learning_rate"] == 3e-5
    assert recipe.training["seed"] == 2
    assert recipe.engine == "accelerate"


def test_overrides_reach_into_lists_and_short_forms(base: Path) -> None:
    recipe = load_recipe(
        base,
        [
            "data.augment.0.padding=8",
            "data.augment.1.p=0.3",
            "data.augment.2=rotation",
            "metrics.0.normalize=true",
            "task.problem_type=single_label_classification",
        ],
    )
    assert [spec.options for spec in recipe.data.augment] == [{"padding": 8}, {"p": 0.3}, {}]
    assert recipe.metrics[0].options == {"normalize": True}
    assert recipe.task.problem_type == "single_label_classification"


def test_overrides_make_what_is_not_there_and_replace_what_is(base: Path) -> None:
    recipe = load_recipe(base, ["tracking.comet.project=dl", "model.peft={method: ia3}", "metrics=[f1]"])
    assert recipe.tracking.comet == CometSpec(project="dl")
    assert recipe.model.peft is not None
    assert recipe.model.peft.options == {}
    assert [spec.name for spec in recipe.metrics] == ["f1"]


def test_overrides_know_keys_with_dots() -> None:
    text = BASE + "expected: {space: {training.learning_rate: {low: 1e-5, high: 1e-3}}}\n"
    recipe = load(text, "expected.space.training.learning_rate.low=1e-6")
    assert recipe.expected["space"]["training.learning_rate"]["low"] == 1e-6


def test_overrides_need_no_quotes_for_slices_and_lists(base: Path) -> None:
    words = ["data.splits.train=train[:90%]", "model.peft=null", "model.freeze=[a.*, b]", "loss=null"]
    recipe = load_recipe(base, words)
    assert recipe.data.splits.train == "train[:90%]"
    assert recipe.model.freeze == ("a.*", "b")
    assert recipe.loss is None


def test_overrides_may_hold_equals_signs_and_mend_the_file(base: Path) -> None:
    assert load_recipe(base, ["model.checkpoint=a=b"]).model.checkpoint == "a=b"
    assert load(BASE.replace("5e-5", "fast"), "training.learning_rate=1").training["learning_rate"] == 1


# ---------------------------------------------------------------- where


def test_where_points_to_the_key_its_nearest_parent_or_the_override() -> None:
    recipe = load("extends: base.yaml\ntraining:\n  seed: 7\n", "training.learning_rate=3e-5")
    assert recipe.where("training.seed") == "own.yaml:3:3"
    assert recipe.where("training.max_steps") == "own.yaml:2:1"
    assert recipe.where("metrics.1.name") == "base.yaml:8:22"
    assert recipe.where("metrics.0.name") == "base.yaml:8:11"
    assert recipe.where("data.augment.0") == "base.yaml:7:13"
    assert recipe.where("data.columns.label") == "base.yaml:5:1"
    assert recipe.where("training.learning_rate") == "<override> training.learning_rate=3e-5"
    assert recipe.where("sweep") == "own.yaml:1:1"


def test_where_never_shows_a_secret(base: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe(base, ["training.hub_token=abc123", "tracking.comet.api_key=[abc123"])
    assert "abc123" not in str(caught.value)


def test_places_survive_copies_and_pickling(base: Path) -> None:
    recipe = load_recipe(base)
    copy = recipe.model_copy(update={"training": {}})
    assert copy.where("data.path") == "base.yaml:6:3"
    again = pickle.loads(pickle.dumps(recipe))
    assert again == recipe
    assert again.where("data.path") == "base.yaml:6:3"
    assert again.source == recipe.source


# ---------------------------------------------------------------- to_yaml, Python


def test_to_yaml_is_complete_and_loads_to_the_same(base: Path) -> None:
    recipe = load_recipe(base, ["model.config={id2label: {'0': cat}}"])
    text = recipe.to_yaml()
    again = load(text)
    assert again == recipe
    assert again.to_yaml() == text
    for name in Recipe.model_fields:
        assert f"\n{name}:" in f"\n{text}"
    assert "- accuracy\n- name: f1\n  average: macro\n" in text
    assert "learning_rate: 5e-05" in text


def test_a_recipe_made_in_python_is_checked_the_same() -> None:
    recipe = Recipe(task="t", model={"checkpoint": "m"}, data={"path": "p"}, training={"seed": 1})
    assert recipe.source == Path("recipe")
    assert recipe.where("data.path") == "recipe"
    assert recipe.is_local
    with pytest.raises(ValidationError) as caught:
        Recipe(task="t", model={"checkpoint": "m"}, data={"path": "p"}, training={"seed": -1, "lr": 1})
    assert [error["loc"] for error in caught.value.errors()] == [("training", "seed"), ("training", "lr")]
    assert "Did you mean 'learning_rate'?" in str(caught.value)


def test_problems_are_listed_one_by_one(base: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe(base, ["training.seed=x", "engine=5"])
    assert len(caught.value.problems) == 2
    assert {problem.where for problem in caught.value.problems} == {
        "<override> training.seed=x",
        "<override> engine=5",
    }
    assert caught.value.exit_code == 2


def test_missing_files_and_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"^bas.yaml: no such file. In this folder: base.yaml$"):
        load_recipe("bas.yaml")
    with pytest.raises(RecipeError, match="a folder, not a recipe"):
        load_recipe(".")
    with pytest.raises(RecipeError, match=r"no such file.*\n.*no '=' in it"):
        load_recipe("gone.yaml", ["nonsense"])
