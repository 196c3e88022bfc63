# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""docs/safety.md names its requirements, and the tests that hold each."""

from pathlib import Path

import pytest
from testbed import safety_table
from testbed.faults.table import lines, tried_faults
from testbed.safety_table import MarkedTest, marked_tests, requirements, with_table

MODULE = """
import pytest

pytestmark = [pytest.mark.ros, pytest.mark.law(7)]
stops = pytest.mark.law(1)


@stops
@pytest.mark.law(3)
def test_a_stop_is_sent():
    pass


@pytest.mark.parametrize("at", [pytest.param(1, marks=pytest.mark.law(2)), 2])
async def test_it_is_in_time(at):
    pass


def helper():
    pass


@pytest.mark.law(10)
class TestBoth:
    def test_neither_is_believed(self):
        pass
"""


def test_marks_are_found_on_tests_classes_modules_and_cases(tmp_path: Path):
    (tmp_path / "test" / "gate").mkdir(parents=True)
    (tmp_path / "test" / "gate" / "test_gate.py").write_text(MODULE)
    found = marked_tests(tmp_path / "test")
    assert [(test.law, test.sentence) for test in found] == [
        (1, "a stop is sent"),
        (2, "it is in time"),
        (3, "a stop is sent"),
        (7, "a stop is sent"),
        (7, "it is in time"),
        (7, "neither is believed"),
        (10, "neither is believed"),
    ]
    assert {test.file for test in found} == {"test/gate/test_gate.py"}


def test_the_table_stands_between_its_markers_and_the_rest_stays():
    page = f"before\n{safety_table.BEGIN}\nold\n{safety_table.END}\nafter\n"
    test = MarkedTest(4, "test/ros/test_halt.py", 3, "test_it_stays_halted")
    written = with_table(page, [test])
    assert "| 4 | [ros/test_halt.py](../test/ros/test_halt.py) | it stays halted |" in written
    assert "old" not in written
    assert written.startswith("before\n")
    assert written.endswith("\nafter\n")
    assert with_table(written, [test]) == written


def test_the_page_has_twelve_requirements_and_every_mark_means_one_of_them():
    assert list(requirements()) == list(range(1, 13))
    assert {test.law for test in marked_tests()} <= set(requirements())


def report(name: str, *, when: str = "teardown", outcome: str = "passed", **properties):
    return pytest.TestReport(
        nodeid=f"test/faults/test_gate_faults.py::{name}",
        location=("", 0, ""),
        keywords={},
        outcome=outcome,
        longrepr=None,
        when=when,
        user_properties=list(properties.items()),
    )


def test_the_faults_stand_requirement_by_requirement():
    row = ("monitor killed", "3", "0.201 s", "0.210 s", "0", "3")
    tried = tried_faults(
        [
            report("test_a", requirements=[2, 3], fault=row),
            report("test_it_stays_halted", requirements=[4]),
            report("test_b", requirements=[], fault=("camera gone", *row[1:])),
            report("test_c", when="call", outcome="failed"),
            report("test_c", requirements=[1], fault=("pipe full", *row[1:])),
        ]
    )
    text = "\n".join(lines(tried))
    assert text.count("monitor killed") == 2
    first = text.index("2. A command passes only by a permit")
    assert first < text.index("monitor killed") < text.index("3. A permit's age")
    assert text.index("4. A halt outlives") < text.index("it stays halted") < text.index("5. ")
    assert text.index("of no requirement") < text.index("camera gone")
    assert "FAILED: pipe full" in text
