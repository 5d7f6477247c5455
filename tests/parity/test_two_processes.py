"""The same cells on two processes (gloo)."""

from __future__ import annotations

from typing import Any

import pytest
from engine_harness.cells import CELLS
from engine_harness.launch import compare_on_two_processes

pytestmark = pytest.mark.parity

QUICK = [
    "epoch-end-saves",
    "limit-2-best-by-loss",
    "group-by-length-speech",
    "stream",
    "tokens-non-padding",
    "images-step-G3-lora-w0",
    "text-step-G1-full-w2",
    "speech-plateau-G3-full-w2",
]
REST = [name for name in CELLS if name not in QUICK]


@pytest.fixture(scope="module")
def quick_results(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return compare_on_two_processes(QUICK, tmp_path_factory.mktemp("quick"), minutes=10)


@pytest.fixture(scope="module")
def slow_results(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return compare_on_two_processes(REST, tmp_path_factory.mktemp("slow"), minutes=120)


@pytest.mark.parametrize("name", QUICK)
def test_cell(name: str, quick_results: Any) -> None:
    for differences in quick_results:
        assert {label: found for label, found in differences[name].items() if found} == {}


@pytest.mark.slow
@pytest.mark.parametrize("name", REST)
def test_slow_cell(name: str, slow_results: Any) -> None:
    for differences in slow_results:
        assert {label: found for label, found in differences[name].items() if found} == {}
