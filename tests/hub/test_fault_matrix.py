"""The table of faults and flows in README.md is what happens."""

from __future__ import annotations

from pathlib import Path

import pytest
from fault_matrix import make_table

README = Path(__file__).with_name("README.md")


@pytest.mark.parametrize("kind", ["push", "xet", "load", pytest.param("xet-load", marks=pytest.mark.slow)])
def test_what_comes_of_a_fault(kind):
    written = README.read_text(encoding="utf-8").split(f"<!-- {kind} -->\n")[1].split("\n<!-- end")[0]
    assert make_table(kind) == written, "python tests/hub/fault_matrix.py all"
