"""The tables of tests/README.md, made from what test runs have reported (`make matrix`, `make soak`).

    python -m engine_harness.tables RESULTS.xml...       # with tests/ on the path

The XML is pytest's own (--junitxml). What a file does not report stays in the page as it was.
"""

from __future__ import annotations

import re
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path

from engine_harness.cells import BATCH, CELLS, SCHEDULES

PAGE = Path(__file__).parents[1] / "README.md"
EQUAL, DIFFERENT, NOT_RUN = "equal", "**differs**", "not run"
ON_TWO = "equal on two processes"

Outcomes = Mapping[str, str]
"""Name of a cell -> EQUAL or DIFFERENT; a cell that was not run is missing."""


def main(paths: list[Path]) -> None:
    """Put the tables that the results have something for into the page."""
    cases = [case for path in paths for case in ET.parse(path).getroot().iter("testcase")]
    page = PAGE.read_text(encoding="utf-8")
    one, two = read_cells(cases)
    if one or two:
        page = replace(page, "parity", "\n".join(draw_parity(one, two)))
    if resumes := list(count_resumes(cases)):
        page = replace(
            page, "resume", "\n".join(["| stopped and resumed | passed |", "| --- | ---: |", *resumes])
        )
    for facts in (properties(case) for case in cases if case.get("name") == "test_soak" and passed(case)):
        page = replace(page, "soak", facts["soak"])
    PAGE.write_text(page, encoding="utf-8")


def passed(case: ET.Element) -> bool:
    """Whether a test was run and did not fail."""
    return not any(case.find(tag) is not None for tag in ("failure", "error", "skipped"))


def properties(case: ET.Element) -> dict[str, str]:
    """Return what a test has recorded; of a name that comes twice the last."""
    return {p.get("name", ""): p.get("value", "") for p in case.iter("property")}


def read_cells(cases: list[ET.Element]) -> tuple[Outcomes, Outcomes]:
    """Return what became of the cells on one process and on two."""
    one: dict[str, str] = {}
    two: dict[str, str] = {}
    for case in cases:
        test, _, cell = case.get("name", "").rstrip("]").partition("[")
        if test == "test_one_process" and cell in CELLS:
            one[cell] = EQUAL if passed(case) else DIFFERENT
        for recorded, value in properties(case).items():
            name = recorded.removeprefix(f"{ON_TWO}: ")
            if name != recorded and name in CELLS:
                two[name] = EQUAL if value == "True" else DIFFERENT
    return one, two


def draw_parity(one: Outcomes, two: Outcomes) -> Iterator[str]:
    """Draw the product, a row for each task and schedule, and the cells beside it."""

    def tell(name: str) -> str:
        both = [outcomes.get(name, NOT_RUN) for outcomes in (one, two)]
        return EQUAL if both == [EQUAL, EQUAL] else " / ".join(both)

    num_equal = [sum(value == EQUAL for value in outcomes.values()) for outcomes in (one, two)]
    yield (
        f"{num_equal[0]} of {len(CELLS)} cells are equal on one process and {num_equal[1]} of {len(CELLS)} "
        f"on two (gloo): unbroken, and stopped and resumed in all four ways. `{EQUAL}` stands for both."
    )
    levels = list(product((1, 3), ("full", "lora"), (0, 2)))
    yield ""
    yield "| task | schedule | " + " | ".join(f"G={g}, {what}, {w} workers" for g, what, w in levels) + " |"
    yield "| --- | --- |" + " --- |" * len(levels)
    in_product = set()
    for task, schedule in product(BATCH, SCHEDULES):
        names = [f"{task}-{schedule}-G{g}-{what}-w{w}" for g, what, w in levels]
        in_product.update(names)
        yield f"| {task} | {schedule} | " + " | ".join(map(tell, names)) + " |"
    yield ""
    yield "| cell | asked for besides the usual | result |"
    yield "| --- | --- | --- |"
    for name in CELLS:
        if name not in in_product:
            yield f"| {name} | {describe(name)} | {tell(name)} |"


def describe(name: str) -> str:
    """Say what a cell asks for, without the strategies that nearly all share."""
    cell = CELLS[name]
    usual = {
        "eval_strategy",
        "save_strategy",
        "logging_strategy",
        "logging_steps",
        "eval_steps",
        "save_steps",
    }
    asked = [f"{key}={value}" for key, value in cell.args.items() if key not in usual]
    asked += [", ".join(f"{key}={value}" for key, value in cell.peft.items())] * bool(cell.peft)
    asked += ["LoRA"] * cell.lora + ["a stream"] * (cell.kind == "stream")
    asked += [f"early stopping, patience {cell.patience}"] * (cell.patience is not None)
    return f"{cell.task}: {', '.join(asked)}" if asked else cell.task


def count_resumes(cases: list[ET.Element]) -> Iterator[str]:
    """Yield a row for each test of tests/resume: what it shows, and how many of its cases passed."""
    counts: dict[str, list[bool]] = {}
    for case in cases:
        if "resume" in case.get("classname", "").split("."):
            test = case.get("name", "").partition("[")[0].removeprefix("test_").replace("_", " ")
            counts.setdefault(test, []).append(passed(case))
    for test, outcomes in counts.items():
        yield f"| {test} | {sum(outcomes)} of {len(outcomes)} |"


def replace(page: str, name: str, text: str) -> str:
    """Put a text between the two marks of a table.

    Raises:
        ValueError: The page has no such marks.
    """
    begin, end = f"<!-- {name}: generated -->", f"<!-- end of {name} -->"
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if not pattern.search(page):
        raise ValueError(f"no {begin} ... {end} in the page")
    return pattern.sub(lambda _: f"{begin}\n{text}\n{end}", page)


if __name__ == "__main__":
    main([Path(word) for word in sys.argv[1:]])
