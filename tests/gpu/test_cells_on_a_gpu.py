"""The cells of the parity matrix on a GPU: other kernels, another random stream, half precision that is real.

    python -m pytest -m gpu -n 8 tests/gpu

Nothing in CI runs this: it has no GPU. Deterministic kernels are asked for, as a user does who wants the same
bits again: without them, Whisper's gradients differ in the seventh digit from run to run. The comparison is
that of tests/parity, `==` throughout.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from engine_harness.cells import CELLS, EVERY_FIVE, Cell
from engine_harness.execute import compare_cell
from engine_harness.half_precision import WINDOWS

pytestmark = pytest.mark.gpu

ON_A_GPU = {"use_cpu": False, "dataloader_pin_memory": True, "full_determinism": True}

HALF = {**WINDOWS, "fp16": True}
FP16 = [
    Cell("fp16", args=HALF, stop=4),
    Cell("fp16-text", "text", HALF, stop=2),
    Cell("fp16-speech", "speech", HALF, stop=4),
    Cell("fp16-lora", args=HALF, stop=4, lora=True),
    Cell("fp16-activation-checkpointing", "text", {**HALF, "activation_checkpointing": True}, stop=4),
    Cell("fp16-seq2seq", "seq2seq", {**HALF, "max_steps": 8}, stop=4),
]
COMPILED = Cell("inductor", args={**EVERY_FIVE, "torch_compile": True, "max_steps": 8}, stop=5)


@pytest.mark.parametrize("cell", [*CELLS.values(), *FP16, COMPILED], ids=lambda cell: cell.name)
def test_both_engines(cell: Cell, tmp_path: Path) -> None:
    found = compare_cell(dataclasses.replace(cell, args={**cell.args, **ON_A_GPU}), tmp_path)
    assert not any(found.values()), found
