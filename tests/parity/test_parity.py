"""Both engines, cell by cell: unbroken runs, and all four ways of stopping in one and going on in another."""

from __future__ import annotations

from pathlib import Path

import pytest
from engine_harness.cells import CELLS
from engine_harness.execute import compare_cell

pytestmark = pytest.mark.parity


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow if cell.is_slow else ()) for name, cell in CELLS.items()],
)
def test_cell(name: str, tmp_path: Path) -> None:
    differences = compare_cell(CELLS[name], tmp_path)
    assert {label: found for label, found in differences.items() if found} == {}
