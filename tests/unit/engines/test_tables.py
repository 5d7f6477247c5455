"""The tables of tests/README.md: made from reports, with every cell there is."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from engine_harness import tables
from engine_harness.cells import CELLS

FIRST, SECOND = "images-linear-G1-full-w0", "bf16"
REPORT = f"""<testsuites><testsuite>
<testcase classname="tests.parity.test_cells" name="test_one_process[{FIRST}]" />
<testcase classname="tests.parity.test_cells" name="test_one_process[{SECOND}]"><failure /></testcase>
<testcase classname="tests.parity.test_cells" name="test_two_processes[one]"><properties>
<property name="{tables.ON_TWO}: {FIRST}" value="True" />
<property name="{tables.ON_TWO}: {SECOND}" value="False" />
</properties></testcase>
<testcase classname="tests.resume.test_go_on" name="test_a_moved_run[trainer]" />
<testcase classname="tests.resume.test_go_on" name="test_a_moved_run[accelerate]"><error /></testcase>
</testsuite></testsuites>"""


def test_results_are_told_as_they_are() -> None:
    cases = list(ET.fromstring(REPORT).iter("testcase"))
    one, two = tables.read_cells(cases)
    assert one == {FIRST: tables.EQUAL, SECOND: tables.DIFFERENT}
    assert two == {FIRST: tables.EQUAL, SECOND: tables.DIFFERENT}
    drawn = "\n".join(tables.draw_parity(one, two))
    assert drawn.startswith(f"1 of {len(CELLS)} cells are equal on one process and 1 of {len(CELLS)} on two")
    assert "| images | linear | equal | not run / not run |" in drawn
    assert "| bf16 | images: bf16=True" in drawn
    assert f"| {tables.DIFFERENT} / {tables.DIFFERENT} |" in drawn
    assert list(tables.count_resumes(cases)) == ["| a moved run | 1 of 2 |"]


def test_the_page_has_no_cell_that_is_gone() -> None:
    page = tables.PAGE.read_text(encoding="utf-8").partition("<!-- parity: generated -->")[2]
    rows = page.partition("<!-- end of parity -->")[0].partition("| cell |")[2].splitlines()[2:]
    told = {row.split("|")[1].strip() for row in rows if row}
    assert told
    assert told <= set(CELLS), "run `make matrix`"
