"""Whole runs with adapters: best/ holds them alone or merged, and evaluate finds the same scores."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import soundfile
from safetensors.torch import load_file

from hf_finetune import evaluate, load_recipe, predict, run
from hf_finetune.errors import UserError
from hf_finetune.terminal import print_summary

SMOKE = Path(__file__).parents[2] / "recipes" / "smoke"
METHODS = {
    "lora": "{method: lora, r: 4, lora_dropout: 0.1}",
    "adalora": "{method: adalora, init_r: 4, target_r: 2, tinit: 1}",
}


def start(folder: Path, task: str, *words: str, resume: bool = False):
    given = [f"training.output_dir={folder}", "training.max_steps=4", *words]
    return run(load_recipe(SMOKE / f"{task}.yaml", given), resume=resume)


def without_times(scores: dict) -> dict:
    return {
        name: value for name, value in scores.items() if "runtime" not in name and "per_second" not in name
    }


@pytest.mark.parametrize("method", METHODS)
def test_the_same_run_from_both_engines_evaluated_and_merged(method, tmp_path, caplog):
    words = [f"model.peft={METHODS[method]}", "training.learning_rate=1e-2"]
    ends = {}
    for engine in ("trainer", "accelerate"):
        with caplog.at_level(logging.INFO, logger="hf_finetune"):
            done = start(tmp_path / engine, "image-classification", *words, f"engine={engine}")
        assert f"model.peft: {method} on " in caplog.text
        assert " trained (" in caplog.text
        assert (done.folder.best / "adapter_model.safetensors").exists()
        assert not (done.folder.best / "model.safetensors").exists()
        ends[engine] = without_times(done.scores["test"])
        assert without_times(evaluate(done.folder.path)) == ends[engine]
        assert done.scores["train"]["num_trained"] < done.scores["train"]["num_parameters"]
    assert ends["trainer"] == ends["accelerate"]
    # merging a finished run: the same last checkpoint, kept whole
    merged = start(tmp_path / "trainer", "image-classification", *words, "model.peft.merge=true", resume=True)
    assert (merged.folder.best / "model.safetensors").exists()
    assert not (merged.folder.best / "adapter_config.json").exists()
    assert merged.scores["test"] == pytest.approx(ends["trainer"] | merged.scores["test"], rel=1e-5)
    assert without_times(merged.scores["test"]) == pytest.approx(ends["trainer"], rel=1e-5)
    assert without_times(evaluate(merged.folder.path)) == without_times(merged.scores["test"])


def test_the_quickstart_with_adapters(tmp_path, capsys):
    """The recipe as it is shipped, cut short; the end says how much was trained."""
    words = [f"training.output_dir={tmp_path / 'run'}", "training.max_steps=3", "training.eval_strategy=no"]
    recipe = load_recipe(SMOKE.parent / "quickstart_lora.yaml", [*words, "training.save_strategy=no"])
    done = run(recipe)
    assert (done.folder.best / "adapter_config.json").exists()
    assert done.scores["train"]["num_trained"] == 17_034
    print_summary(done.folder.path)
    assert "17,034 of 156,116 parameters (10.9 %)" in capsys.readouterr().out


def test_adalora_keeps_the_ranks_that_are_left(tmp_path):
    peft = "{method: adalora, init_r: 6, target_r: 2, tfinal: 1}"
    done = start(
        tmp_path / "run",
        "image-classification",
        f"model.peft={peft}",
        "training.learning_rate=1e-2",
        "training.eval_strategy=no",
        "training.save_strategy=steps",
        "training.save_steps=4",
    )
    checkpoint = load_file(done.folder.path / "checkpoint-4" / "adapter_model.safetensors")
    best = load_file(done.folder.best / "adapter_model.safetensors")
    ranks = {name: len(tensor) for name, tensor in best.items() if name.endswith("lora_E")}
    whole = {name: len(tensor) for name, tensor in checkpoint.items() if name.endswith("lora_E")}
    assert set(whole.values()) == {6}, "a checkpoint keeps what the optimizer has"
    assert len(ranks) <= sum(ranks.values()) <= 2 * len(ranks) + sum(rank == 1 for rank in ranks.values())
    pattern = json.loads((done.folder.best / "adapter_config.json").read_text())["rank_pattern"]
    assert {sum(kept) for kept in pattern.values()} == set(ranks.values())


@pytest.mark.parametrize(("tinit", "tfinal", "updates"), [(3, 1, 4), (0, 0, 1)])
def test_adalora_says_when_the_run_is_too_short_for_it(tmp_path, tinit, tfinal, updates):
    peft = f"model.peft={{method: adalora, tinit: {tinit}, tfinal: {tfinal}}}"
    left = rf"tinit \({tinit}\) and tfinal \({tfinal}\) leave none of the {updates} updates"
    with pytest.raises(UserError, match=left):
        start(tmp_path / "run", "image-classification", peft, f"training.max_steps={updates}")


def test_the_baseline_trains_all_weights(tmp_path):
    done = start(tmp_path / "run", "image-classification", "model.peft=lora", "baseline=from-scratch")
    assert done.scores["baseline"]["name"] == "from-scratch"
    assert (done.folder.best / "adapter_config.json").exists()


@pytest.mark.parametrize(
    "task", sorted(path.stem for path in SMOKE.glob("*.yaml") if path.stem != "image-classification")
)
def test_adapters_for_sound(task, tmp_path):
    base = start(tmp_path / "base", task).folder.best
    words = [f"model.checkpoint={base}", "model.from_scratch=false", "model.peft={method: lora, r: 2}"]
    done = start(tmp_path / "run", task, *words)
    assert (done.folder.best / "adapter_config.json").exists()
    split = "test" if "test" in done.scores else "eval"
    assert without_times(evaluate(done.folder.path, split=split)) == without_times(done.scores[split])
    clips = tmp_path / "clips"
    clips.mkdir()
    for length in (0.5, 0.7):
        wave = 0.3 * np.sin(np.arange(int(16_000 * length)) * 0.2)
        soundfile.write(clips / f"{length}.wav", wave, 16_000)
    assert predict(done.folder.path, clips, output=tmp_path / "said.jsonl") == 0
    said = [json.loads(line) for line in (tmp_path / "said.jsonl").read_text().splitlines()]
    assert [Path(row["file"]).name for row in said] == ["0.5.wav", "0.7.wav"]
    assert all("text" in row or "probabilities" in row for row in said)
