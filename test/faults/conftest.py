# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A cell for every fault, whose rows go into the table of what came of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from testbed.faults.cell import Cell, open_cell
from testbed.faults.table import keep_requirements, keep_rows
from testbed.faults.trial import Fault


@pytest.fixture(autouse=True)
def requirements_of_test(request: pytest.FixtureRequest) -> None:
    """Say in the report which requirements the test holds."""
    keep_requirements(request.node)


@pytest.fixture(scope="module")
def cell(bundle_folder: Path) -> Iterator[Cell]:
    """Open a cell for all tests of a file; what one test has ended, the next starts again."""
    with open_cell(bundle_folder) as made:
        made.start_policy()
        made.start_gate()
        made.start_monitor()
        yield made


@pytest.fixture
def moving(cell: Cell) -> Cell:
    """Return the cell while all is well."""
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
    """Add a row for a fault; a process that ends by itself fails the test."""

    faults: list[Fault] = []

    def add(name: str, **promises: float) -> Fault:
        faults.append(Fault(name, cell=cell, **promises))
        return faults[-1]

    yield add
    keep_rows(request.node, faults)
    assert cell.dead() == [], "a process has ended by itself"
