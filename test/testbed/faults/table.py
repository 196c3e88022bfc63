# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The table of all faults, printed when the tests have ended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from testbed.faults.trial import Fault

PROPERTY = "fault"
"""Name of the property of a test's report that holds a row."""

ROW = "{:<58} {:>6} {:>9} {:>9} {:>7} {:>9}"
HEADS = ("fault", "trials", "to closed", "promised", "passed", "recovered")


def keep_rows(test: pytest.Item, faults: Sequence[Fault]) -> None:
    """Put faults into the report of a test, which also comes from another process."""
    test.user_properties.extend((PROPERTY, fault.cells()) for fault in faults)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the rows of all tests."""
    # Keyed: the report of a test that was run again has its rows again.
    rows = {
        (report.nodeid, cells[0]): cells
        for reports in terminalreporter.stats.values()
        for report in reports
        if getattr(report, "when", None) == "teardown"
        for name, cells in report.user_properties
        if name == PROPERTY
    }
    if rows:
        terminalreporter.section("faults")
        for cells in (HEADS, *rows.values()):
            terminalreporter.write_line(ROW.format(*cells))
