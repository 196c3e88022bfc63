# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A cell for every fault, and the table of what came of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from testbed.faults.cell import Cell, open_cell
from testbed.faults.trial import Fault

TABLE = pytest.StashKey[list[Fault]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[TABLE] = []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    faults = terminalreporter.config.stash[TABLE]
    if faults:
        terminalreporter.section("faults")
        row = "{:<58} {:>6} {:>9} {:>9} {:>7} {:>9}"
        heads = ("fault", "trials", "to closed", "promised", "passed", "recovered")
        terminalreporter.write_line(row.format(*heads))
        for fault in faults:
            terminalreporter.write_line(row.format(*fault.cells()))


@pytest.fixture(scope="module")
def cell(bundle_folder: Path) -> Iterator[Cell]:
    """One for all tests of a file; what one test has ended, the next begins again."""
    with open_cell(bundle_folder) as made:
        made.start_policy()
        made.start_gate()
        made.start_monitor()
        yield made


@pytest.fixture
def moving(cell: Cell) -> Cell:
    """The cell while all is well."""
    for process, start in [
        (cell.policy, cell.start_policy),
        (cell.gate, cell.start_gate),
        (cell.monitor, cell.start_monitor),
    ]:
        if not process.is_running:
            start()
    cell.follow("nominal")
    cell.reset_until_moving()
    return cell


@pytest.fixture
def table(request: pytest.FixtureRequest, cell: Cell) -> Iterator[Callable[..., Fault]]:
    """Adds a row for a fault; a process that ends unasked fails the test."""

    def add(name: str, **promises: float) -> Fault:
        row = Fault(name, cell=cell, **promises)
        request.config.stash[TABLE].append(row)
        return row

    yield add
    assert cell.dead() == [], "a process has ended by itself"
