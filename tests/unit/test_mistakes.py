"""What a new user gets wrong: one message with what, where and what to do, and exit code 2."""

from __future__ import annotations

import datasets
import pytest
from PIL import Image

from hf_finetune import cli

RECIPE = "recipes/smoke/image-classification.yaml"


@pytest.fixture(autouse=True)
def own_caches(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture
def complaint(capsys):
    """Return a function that runs the command, sees it end with 2, and returns what it said."""

    def run(*words: str) -> str:
        assert cli._run_and_explain(words) == 2
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return said.err

    return run


@pytest.mark.parametrize(
    ("override", "what"),
    [
        ("task={name: image-classification, image_siz: 384}", "image-classification has no such option. Rem"),
        ("task=image_classification", "unknown task 'image_classification'. Did you mean 'image-class"),
        ("engine=acelerate", "unknown engine 'acelerate'. Did you mean 'accelerate'? Known: accelerate, "),
        ("metrics=[acuracy]", "unknown metric 'acuracy'. Did you mean 'accuracy'? Known: accuracy, cer"),
        ("metrics=f1", "metrics: got the text 'f1', expected a list. Write [f1]."),
        ("metrics=[wer]", "the metric 'wer': it is for ctc or seq2seq"),
        ("loss=focl", "unknown loss 'focl'. Did you mean 'focal'?"),
        ("data.augment=[randomcrop]", "unknown augmentation 'randomcrop'. Did you mean 'random_crop'?"),
        ("data.augment=[{name: random_crop, pading: 1}]", "has no option 'pading'. Did you mean 'padding'?"),
        ("data.columns={image: img}", "the data set has no column 'img'. Did you mean 'image'? Its columns:"),
        ("data.columns={picture: image}", "image-classification has no role 'picture'. Its roles: image, "),
        ("data.splits.train=training", "no split 'training'. Did you mean 'train'? Its splits: train, test"),
        ("data.path=./nothing", "there is nothing at nothing. Relative paths start at "),
        ("model.checkpoint=./nothing", "/nothing. Check the path."),
        ("model.checkpoint=recipes/smoke/tiny-wav2vec2", "has no image processor: "),
        ("model.freeze=[encoder]", "model.freeze: 'encoder' matches no parameter. Parameters start with: "),
        ("model.config.image_size=64", "image_size: 1 of the weights of "),
        ("model.config.num_hidden_layers=5", "num_hidden_layers: 16 of the weights of "),
        ("model.config={hidden_dropout_prob: 0.2, patch_size: 2}", "model.config.patch_size: 2 of the weig"),
        ("model.config.hidden_act=no", "with these changes no model can be built: KeyError: 'no'. Take back"),
        ("model.config.hidden_dropout_prob=high", "model.config.hidden_dropout_prob: got 'high': Valid"),
        ("model.config.num_labels=3", "model.config.num_labels: got 3, and it follows from the data: 10."),
        ("training.metric_for_best_model=f2", "no metric of the recipe gives a number 'f2'. Known: loss, "),
        (
            "training.per_device_train_batch_size=99",
            "a batch of 99 is larger than the training split (70 row",
        ),
        ("training.learning_rate='1e-4'", "got the text '1e-4', expected a number of 0 or more. Write 1e-4"),
        ("training.learning_rat=1e-4", "unknown key. Did you mean 'learning_rate'?"),
        ("training={greater_is_better: false}", "greater_is_better: false would keep the worst model: accur"),
        ("training.learning_rate='0,001'", "expected a number of 0 or more. Write 0.001."),
        ("training.fp16=true", "training.fp16: Accelerate leaves it out on a CPU without a word; use bf16"),
        ("training.deepspeed=ds.json", "training.deepspeed: DeepSpeed is not supported. Remove it"),
        ("training.output_dir=", "nothing after the '='. Write training.output_dir=null for no value."),
        ("learning_rate=1e-4", "learning_rate: unknown key"),
        ("early", "no '=' in it. Write key=value, without spaces around the '='."),
    ],
)
def test_a_wrong_override(complaint, override, what):
    said = complaint("check", RECIPE, override)
    assert f"error: <override> {override}: " in said
    assert what in said


def test_all_names_that_nothing_registered_come_at_once(complaint, tmp_path):
    (tmp_path / "mine.py").write_text("from hf_finetune import losses as mine\nmine.LOSSES.register(str())")
    words = [
        f"imports=[{tmp_path}/mine.py]",
        "metrics=[f2]",
        "loss=focl",
        "engine=acelerate",
    ]
    said = complaint("check", RECIPE, *words)
    for part in ("metrics=[f2]: unknown metric 'f2'", "unknown loss 'focl'", "unknown engine 'acelerate'"):
        assert part in said


def test_a_size_that_the_processor_does_not_make(complaint):
    said = complaint("check", RECIPE, "model.from_scratch=true", "model.config.image_size=64")
    assert "model.config: with these changes no batch passes through the model: ValueError: Input " in said
    assert said.endswith("Take back what does not fit: image_size.\n")


def test_a_file_that_the_arguments_name(complaint):
    said = complaint("check", RECIPE, "training.accelerator_config=nothing.json")
    assert said.startswith(f"error: {RECIPE}:13:1: training: ")
    assert "No such file or directory: 'nothing.json'. Change these values." in said


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["run"], "Missing argument 'RECIPE'"),
        (["run", "recipes/quickstart.yml"], "recipes/quickstart.yml: no such file. In this folder: "),
        (["run", "recipes"], "recipes: a folder, not a recipe. Name a .yaml file in it."),
        (["run", RECIPE, "--learning-rate", "1"], "No such option: --learning-rate"),
        (["run", RECIPE, "--processes", "0"], "--processes 0: expected 2 or more. Leave it out for one."),
        (["train", RECIPE], "No such command 'train'"),
        (["report", "nothing"], "nothing: this is not the folder of a run"),
        (["evaluate", "nothing"], "nothing: there is no such folder. Name a run folder, or owner/name on"),
        (["predict", "nothing", "x.png"], "nothing: there is no such folder"),
        (["push", "nothing"], "nothing: there is no finished run. Train it first."),
    ],
)
def test_a_wrong_command(complaint, words, what):
    assert what in complaint(*words)


def test_a_folder_in_use(complaint, capsys, tmp_path):
    (tmp_path / "recipe.yaml").touch()
    words = [RECIPE, f"training.output_dir={tmp_path}"]
    assert f"{tmp_path}: another run is in this folder. Go on with it by --resume, " in complaint(
        "run", *words
    )
    assert cli._run_and_explain(["check", *words]) == 0
    assert f"folder   {tmp_path}: a run is in it: add --resume or --overwrite" in capsys.readouterr().out


@pytest.mark.parametrize("words", [["run"], ["check"], ["check", "--schema-only"]])
def test_a_search_that_nothing_makes_is_refused(complaint, words):
    said = complaint(*words, RECIPE, "sweep={space: {training.seed: [1, 2]}}")
    assert "sweep: this version does not search. Remove it, and start a run for each value: hf-fin" in said


@pytest.fixture
def folder(tmp_path):
    """Return a folder with six cats and six dogs, and the words to check a recipe over it."""
    root = tmp_path / "pets"
    for label in ("cat", "dog"):
        (root / "train" / label).mkdir(parents=True)
        for i in range(6):
            Image.new("RGB", (8, 8), (20 * i, 0, 0)).save(root / "train" / label / f"{i}.png")
    overrides = ["imports=[]", f"data.path={root}", "data.splits={train: train}"]
    return root, ["check", RECIPE, *overrides, "training.per_device_train_batch_size=2"]


def test_a_damaged_picture_is_named(complaint, folder):
    root, words = folder
    (root / "train" / "cat" / "3.png").write_bytes(b"no picture")
    assert "train row 3: " in (said := complaint(*words))
    assert "cat/3.png: not an image file. Repair or remove them, or say data: {bad_rows: drop}" in said


def test_a_table_that_names_a_missing_picture(complaint, folder):
    root, words = folder
    table = root / "table.csv"
    table.write_text("image,label\ntrain/cat/0.png,cat\ntrain/dog/9.png,dog\n")
    assert "train row 1: no such file: train/dog/9.png" in complaint(*words, f"data.path={table}")


def test_a_table_without_rows(complaint, folder):
    root, words = folder
    (root / "table.csv").write_text("image,label\n")
    assert "table.csv cannot be loaded: there is no row in it" in complaint(
        *words, f"data.path={root / 'table.csv'}"
    )


def test_a_table_with_two_possible_labels(complaint, folder):
    root, words = folder
    (root / "table.csv").write_text("image,kind,size\ntrain/cat/0.png,cat,1\n")
    said = complaint(*words, f"data.path={root / 'table.csv'}")
    assert "which column is the label: 'kind' (text) or 'size' (integer)? Say so: data: {columns: " in said


def test_an_empty_class_folder_is_no_class_and_that_is_said(caplog, capsys, folder):
    root, words = folder
    (root / "train" / "owl").mkdir()
    with caplog.at_level("INFO", "hf_finetune"):
        assert cli._run_and_explain(words) == 0
    assert f"{root / 'train' / 'owl'}: an empty folder" in caplog.messages
    assert "labels   2 classes: cat, dog\n" in capsys.readouterr().out


def test_a_class_without_training_rows_is_named(caplog, folder):
    root, words = folder
    (root / "test" / "owl").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(root / "test" / "owl" / "0.png")
    with caplog.at_level("INFO", "hf_finetune"):
        assert cli._run_and_explain(words) == 0
    assert "train: no row is labelled owl" in caplog.messages
