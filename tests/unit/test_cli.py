import json
import subprocess
import sys

import pytest

from hf_finetune import cli


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["run", "r.yaml", "--resume"], ["run", "r.yaml", "--resume=last"]),
        (["run", "--resume", "r.yaml"], ["run", "--resume=last", "r.yaml"]),
        (["run", "r.yaml", "--resume", "--overwrite"], ["run", "r.yaml", "--resume=last", "--overwrite"]),
        (["run", "r.yaml", "--resume", "a.b=1"], ["run", "r.yaml", "--resume=last", "a.b=1"]),
        (
            ["run", "r.yaml", "--resume", "runs/a/checkpoint-5"],
            ["run", "r.yaml", "--resume", "runs/a/checkpoint-5"],
        ),
    ],
)
def test_resume_may_stand_alone(words, expected):
    assert cli._give_resume_a_value(words) == expected


@pytest.mark.parametrize("given", [["--processes", "2"], ["--processes=2"]])
def test_the_children_are_not_told_to_launch_again(given):
    assert cli._without(["run", "r.yaml", *given, "engine=accelerate"], "--processes") == [
        "run",
        "r.yaml",
        "engine=accelerate",
    ]


def run_python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


SLOW_TO_IMPORT = ("torch", "transformers", "datasets", "evaluate", "peft", "numpy")


def test_help_imports_nothing_heavy():
    out = run_python(
        "import sys, json\n"
        "sys.argv = ['hf-finetune', '--help']\n"
        "from hf_finetune.cli import main\n"
        "try:\n    main()\n"
        "except SystemExit as done:\n    assert done.code == 0\n"
        f"print(json.dumps([name for name in {SLOW_TO_IMPORT} if name in sys.modules]))"
    )
    assert "Fine-tune" in out
    assert json.loads(out.splitlines()[-1]) == []


def test_a_schema_check_imports_nothing_heavy():
    out = run_python(
        "import sys, json\n"
        "sys.argv = ['hf-finetune', 'check', 'recipes/quickstart.yaml', '--schema-only']\n"
        "from hf_finetune.cli import main\n"
        "try:\n    main()\n"
        "except SystemExit as done:\n    assert done.code == 0\n"
        f"print(json.dumps([name for name in {SLOW_TO_IMPORT} if name in sys.modules]))"
    )
    assert json.loads(out.splitlines()[-1]) == []


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["task     x"], "nothing wrong found"),
        (["task     x", "warning  a"], "nothing wrong but the warning above found"),
        (["warning  a", "warning  b"], "nothing wrong but the warnings above found"),
    ],
)
def test_a_check_does_not_end_as_if_there_were_no_warning(monkeypatch, tmp_path, capsys, lines, said):
    import hf_finetune.runner as runner

    monkeypatch.setattr(runner, "check", lambda *args, **options: lines)
    recipe = tmp_path / "r.yaml"
    recipe.write_text(
        "task: image-classification\nmodel: {checkpoint: x}\ndata: {path: x}\ntraining: {output_dir: x}\n"
    )
    cli.check(recipe)
    assert capsys.readouterr().out.splitlines() == [*lines, f"{recipe}: {said}"]


def test_an_unknown_option_ends_with_2():
    done = subprocess.run(
        [sys.executable, "-m", "hf_finetune", "run", "--wat"], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "--wat" in done.stderr
