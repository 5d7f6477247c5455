"""The report as a whole: what it says, that it stands alone, that no state of a run folder breaks it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser

import pytest
import run_folders

from hf_finetune.errors import RunFolderError
from hf_finetune.formatting import format_number
from hf_finetune.report import read_run, write_report
from hf_finetune.report.training import build_charts

VOID = {"meta", "link", "img", "br", "wbr", "input", "hr"}
SHAPES = {"line", "rect", "circle", "path", "polyline"}


class Page(HTMLParser):
    """Checks that every element is closed where it must be, and collects what a test wants to see."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        assert tag in SHAPES
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("script", "style"):
            self.text.append(data)

    @property
    def words(self) -> str:
        return re.sub(r"\s+", " ", "".join(self.text))

    def all(self, tag: str, **wanted: str) -> list[dict[str, str | None]]:
        return [
            attrs
            for name, attrs in self.elements
            if name == tag and all(attrs.get(key.rstrip("_")) == value for key, value in wanted.items())
        ]


@pytest.fixture(scope="module")
def short_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("short") / "run"
    folder.mkdir()
    run_folders.make_digits_run(folder, updates=20)
    return folder


@pytest.fixture
def run_folder(tmp_path, short_run):
    """A short finished run, to be damaged."""
    return shutil.copytree(short_run, tmp_path / "run")


def open_page(folder) -> Page:
    return Page(write_report(folder).read_text(encoding="utf-8"))


def test_a_finished_run_shows_its_scores(tmp_path):
    scores = run_folders.make_digits_run(tmp_path)
    page = open_page(tmp_path)
    for split in ("eval", "test"):
        for name, value in scores[split].items():
            assert format_number(value) in page.words, (split, name)
            assert format_number(scores["baseline"][split][name]) in page.words
    assert f"update {scores['best']['step']}" in page.words
    assert "from random weights" in page.words
    assert "2 unreadable rows of the train split were left out" in page.words
    assert "rows of the test split were left out" not in page.words
    assert len(page.all("figure", class_="chart")) == 5  # loss, accuracy, f1, learning rate, gradient norm
    assert run_folders.PLANTED not in page.words


def test_it_stands_alone(tmp_path):
    run_folders.make_digits_run(tmp_path)
    html = write_report(tmp_path).read_text(encoding="utf-8")
    page = Page(html)
    addresses = [
        value
        for _, attrs in page.elements
        for key, value in attrs.items()
        if key in ("src", "href", "srcset", "data")
    ]
    assert addresses
    assert all(address.startswith(("data:", "#")) for address in addresses)
    assert "url(" not in html
    assert "@import" not in html
    (policy,) = [attrs for attrs in page.all("meta") if attrs.get("http-equiv") == "Content-Security-Policy"]
    assert policy["content"].startswith(
        "default-src 'none'; img-src data:; media-src data:; style-src 'sha256-"
    )
    assert "unsafe" not in policy["content"]
    handlers = [key for _, attrs in page.elements for key in attrs if key.startswith("on") or key == "style"]
    assert handlers == []


def test_the_same_folder_gives_the_same_page(tmp_path):
    run_folders.make_digits_run(tmp_path)
    assert write_report(tmp_path).read_bytes() == write_report(tmp_path).read_bytes()


def test_without_a_test_split_it_says_so(tmp_path):
    run_folders.make_digits_run(tmp_path, has_test=False, has_baseline=False)
    page = open_page(tmp_path)
    assert "There is no test split" in page.words
    assert "All wrong predictions on the eval split, the surest first" in page.words
    assert "random weights" not in page.words


def test_an_interrupted_run_gets_a_page_of_what_there_is(tmp_path):
    run_folders.make_unfinished_run(tmp_path)
    page = open_page(tmp_path)
    assert "not finished" in page.words
    assert "update 120 of 450" in page.words
    assert "accuracy, best so far 0.8700" in page.words
    assert "The training loss was not a finite number in 4 log entries, first at update 60" in page.words
    assert "log.jsonl: 1 torn line left out" in page.words
    assert "--resume" in page.words


@pytest.mark.parametrize("kept", ["recipe.yaml", "log.jsonl", "scores.json"])
def test_any_one_file_is_enough(tmp_path, short_run, kept):
    shutil.copy(short_run / kept, tmp_path / kept)
    open_page(tmp_path)


FILES = ("recipe.yaml", "environment.json", "log.jsonl", "baseline.log.jsonl", "scores.json",
         "predictions/test.parquet", "predictions/worst.parquet")  # fmt: skip


@pytest.mark.parametrize("damaged", FILES)
@pytest.mark.parametrize("content", [b"", b"\xff\xfe{[", b"[]", b"null", b'"text"', b"{}", b"[1, {}, null]"])
def test_no_damaged_file_breaks_it(run_folder, damaged, content):
    (run_folder / damaged).write_bytes(content)
    open_page(run_folder)


ODD_SCORES = [
    {"best": None, "eval": None, "test": [], "details": 3, "labels": "abc", "train": [], "baseline": "x"},
    {"best": {"metric": None, "value": None, "step": None}, "eval": {"loss": None, "accuracy": "NaN"}},
    {"best": {"metric": "f1", "value": float("nan"), "step": 1e300}, "test": {"f1": float("inf")}},
    {"details": {"test": {"confusion_matrix": [[1, 2], [3]]}}, "labels": ["a", "b"], "test": {"loss": 1}},
    {"details": {"test": {"confusion_matrix": [[1, -2], [3, 4]]}}, "labels": ["a", "b"], "test": {"loss": 1}},
    {"details": {"test": {"confusion_matrix": [[0, 0], [0, 0]]}}, "labels": ["a", "b"], "test": {"loss": 1}},
    {"details": {"test": {"confusion_matrix": [[[1, 0], [0, 1]]]}}, "labels": ["a"], "test": {"loss": 1}},
    {"details": {"test": {"confusion_matrix": [[5]]}}, "labels": [], "test": {"accuracy": 1.5}},
    {
        "labels": [None, 3, {"a": 1}],
        "problem_type": "multi_label_classification",
        "train": {"runtime_s": "NaN"},
    },
    {
        "train": {"runtime_s": float("inf"), "num_parameters": 0, "num_trained": 0, "updates": "many"},
        "test": {"a": 1},
    },
]


@pytest.mark.parametrize("scores", ODD_SCORES)
def test_no_odd_scores_break_it(run_folder, scores):
    (run_folder / "scores.json").write_text(json.dumps(scores))
    open_page(run_folder)


ODD_LOGS = [
    [{"loss": None, "step": 1}],
    [{"loss": "NaN", "step": 1}, {"loss": float("inf"), "step": 2}, {"loss": 1.0, "step": 3}],
    [{"loss": 1.0}],
    [{"loss": 1.0, "step": "three"}],
    [{"loss": 1.0, "step": float("inf")}],
    [{"loss": 0.0, "step": 5}],
    [{"loss": 1e308, "step": 1}, {"loss": -1e308, "step": 2}],
    [{"loss": 5e-324, "step": 1}, {"loss": 1e308, "step": 2}, {"loss": 5e-324, "step": 3}],
    [{"loss": 1.0, "step": -4}, {"loss": 1.0, "step": -4}],
    [{"loss": 10**400, "step": 1}],
    [{"eval_accuracy": 1.0, "step": 10, "epoch": None}, {"eval_accuracy": 0.0, "step": 20}],
    [{"loss": [1, 2], "eval_loss": {"a": 1}, "step": 1}],
]


@pytest.mark.parametrize("log", ODD_LOGS)
def test_no_odd_log_breaks_it(tmp_path, log):
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in log))
    html = write_report(tmp_path).read_text(encoding="utf-8")
    assert not re.search(r'(?:cx|cy|x1|y1|x|y|points)="[^"]*(?:nan|inf)', html)
    Page(html)


def test_shared_rows_are_the_first_thing_said(tmp_path):
    run_folders.make_digits_run(tmp_path)
    overlap, what, example = run_folders.share_rows(tmp_path)
    page = open_page(tmp_path)
    first, second = f"T{overlap[1:]}.", f"{what}."
    assert page.words.index(first) < page.words.index(second) < page.words.index("Scores")
    assert f"{what}, such as{example}" in page.words
    assert "1 row repeats within train, such asrow 1 is row 0" in page.words
    assert page.words.count(overlap[1:]) == 1


def test_hostile_strings_stay_strings(tmp_path):
    run_folders.make_hostile_run(tmp_path)
    page = open_page(tmp_path)
    assert len(page.all("script")) == len(page.all("figure", class_="chart")) + 1
    assert [attrs for attrs in page.all("img") if not attrs["src"].startswith("data:image/")] == []
    assert "<script>window.hacked = 1</script>" in page.words
    assert "{{ 7 * 7 }}" in page.words


def test_a_thousand_classes_and_a_hundred_thousand_entries(tmp_path):
    run_folders.make_large_run(tmp_path)
    html = write_report(tmp_path).read_text(encoding="utf-8")
    assert len(html) < 3_000_000
    page = Page(html)
    assert (
        len([attrs for attrs in page.all("img") if attrs.get("class") is None]) == 25
    )  # the heat map and 24
    assert "n00000007 a synset" in page.words
    assert len(page.all("table", class_="numbers sortable")) == 1
    large, small = build_charts(read_run(tmp_path))
    assert max(len(line.data) for chart in (*large, *small) for line in chart.lines) <= 600
    norm = next(chart for chart in small if chart.title == "Gradient norm")
    assert norm.is_log
    assert max(value for line in norm.lines for _, value in line.data) > 100  # spikes outlive the thinning


@pytest.mark.parametrize("folder", ["/home/me/pictures/cats", "~/all/pictures/cats"])
def test_paths_of_this_machine_are_short_in_the_headline(run_folder, folder):
    data = f"{{path: imagefolder, data_dir: {folder}}}"
    (run_folder / "recipe.yaml").write_text(f"model: {{checkpoint: /home/me/models/small}}\ndata: {data}\n")
    assert "models/small on imagefolder pictures/cats" in open_page(run_folder).words


def test_the_promise_of_the_recipe_is_compared(tmp_path):
    scores = run_folders.make_digits_run(tmp_path)
    accuracy = scores["test"]["accuracy"]
    with (tmp_path / "recipe.yaml").open("a") as recipe:
        recipe.write(
            f"expected: {{test_accuracy: {accuracy + 0.001}, eval_accuracy: 0.5, tolerance: 0.002}}\n"
        )
    words = open_page(tmp_path).words
    assert f"on the test split: {accuracy:.4f} is as expected" in words
    assert f"on the eval split: {scores['eval']['accuracy']:.4f} is not as expected" in words


def test_it_loads_what_it_says(tmp_path):
    run_folders.make_digits_run(tmp_path)
    html = write_report(tmp_path).read_text(encoding="utf-8")
    snippet = next(text for text in Page(html).text if "import pipeline" in text)
    compile(snippet, "snippet", "exec")
    assert str(tmp_path / "best") in snippet


def test_another_folder_is_refused(tmp_path):
    with pytest.raises(RunFolderError, match="not the folder of a run"):
        write_report(tmp_path)


def test_it_needs_no_torch(run_folder):
    code = (
        "import sys, pathlib; from hf_finetune.report import write_report\n"
        "write_report(pathlib.Path(sys.argv[1]))\n"
        "assert not {'torch', 'transformers', 'datasets', 'matplotlib'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, run_folder], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
