"""Every recipe in broken/ against the message a user sees, in the .txt file beside it.

A first line `# overrides: a=b c=d` gives overrides. After a change of wording, write the messages again, on
purpose, and read the difference:

    python tests/unit/recipe/test_broken_recipes.py
    git diff tests/unit/recipe/broken
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import pytest

from hf_finetune.errors import RecipeError
from hf_finetune.recipe import load_recipe

BROKEN = Path(__file__).parent / "broken"
NAMES = sorted(path.stem for path in BROKEN.glob("*.yaml"))


def message_of(name: str) -> str:
    first = Path(f"{name}.yaml").read_bytes().decode("latin-1").partition("\n")[0]
    overrides = first.partition("# overrides:")[2]
    with pytest.raises(RecipeError) as caught:
        load_recipe(f"{name}.yaml", shlex.split(overrides))
    assert caught.value.exit_code == 2
    assert [str(problem) for problem in caught.value.problems] == str(caught.value).splitlines()
    return f"{caught.value}\n"


@pytest.mark.parametrize("name", NAMES)
def test_message(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(BROKEN)
    assert message_of(name) == Path(f"{name}.txt").read_text(encoding="utf-8")


def test_the_corpus_is_large_and_has_no_leftovers() -> None:
    assert len(NAMES) >= 60
    assert sorted(path.stem for path in BROKEN.glob("*.txt")) == NAMES


if __name__ == "__main__":
    os.chdir(BROKEN)
    for name in NAMES:
        Path(f"{name}.txt").write_text(message_of(name), encoding="utf-8")
