# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The table of all faults, requirement by requirement, printed when the tests have ended."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from testbed.safety_table import MARK, requirements

if TYPE_CHECKING:
    from testbed.faults.trial import Fault

FAULT, REQUIREMENTS = "fault", "requirements"
"""Names of the properties of a test's report that hold a row, and what the test is for."""

ROW = "{:<62} {:>6} {:>9} {:>9} {:>7} {:>9}"
HEADS = ("fault", "trials", "to closed", "promised", "passed", "recovered")
NO_REQUIREMENT = 0

Cells = tuple[str, ...]


@dataclass(frozen=True)
class TriedFaults:
    """What a test has tried.

    Attributes:
        requirements: the numbers of those that it holds.
        rows: of the table.
    """

    requirements: tuple[int, ...]
    rows: tuple[Cells, ...]


def keep_rows(test: pytest.Item, faults: Sequence[Fault]) -> None:
    """Put faults into the report of a test, which also comes from another process."""
    test.user_properties.extend((FAULT, fault.cells()) for fault in faults)


def keep_requirements(test: pytest.Item) -> None:
    """Put into the report of a test which requirements it holds."""
    numbers = [number for mark in test.iter_markers(MARK) for number in mark.args]
    test.user_properties.append((REQUIREMENTS, sorted(set(numbers))))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the rows of all tests."""
    tried = tried_faults(
        [
            report
            for reports in terminalreporter.stats.values()
            for report in reports
            if isinstance(report, pytest.TestReport)
        ]
    )
    if tried:
        terminalreporter.section("faults")
        for line in lines(tried):
            terminalreporter.write_line(line)


def tried_faults(reports: Sequence[pytest.TestReport]) -> list[TriedFaults]:
    """Return what the tests of the reports have tried."""
    failed = {report.nodeid for report in reports if report.failed}
    # Keyed: a test that was run again has reports again.
    ended = {report.nodeid: report for report in reports if report.when == "teardown"}
    return [
        TriedFaults(tuple(numbers), tuple(_rows(report, report.nodeid in failed)))
        for report in ended.values()
        for name, numbers in report.user_properties
        if name == REQUIREMENTS and isinstance(numbers, list)
    ]


def _rows(report: pytest.TestReport, has_failed: bool) -> Iterator[Cells]:
    """Yield the rows of a test, or one with its name."""
    rows = [tuple(cells) for name, cells in report.user_properties if name == FAULT]  # type: ignore[arg-type]
    test = report.nodeid.rpartition("::")[2].removeprefix("test_").replace("_", " ")
    for name, *figures in rows or [(test, "1", "-", "-", "-", "-")]:
        yield (f"FAILED: {name}" if has_failed else str(name), *map(str, figures))


def lines(tried: Sequence[TriedFaults]) -> Iterator[str]:
    """Yield the lines of the table."""
    yield ROW.format(*HEADS)
    titles = requirements() | {NO_REQUIREMENT: "of no requirement"}
    for number, title in titles.items():
        rows = [
            row
            for faults in tried
            if number in (faults.requirements or (NO_REQUIREMENT,))
            for row in faults.rows
        ]
        if number or rows:
            yield ""
            yield f"{number}. {title}" if number else title
            yield from (ROW.format(*row) for row in rows)
            if not rows:
                yield "(no process was broken for it: its tests are in docs/safety.md)"
