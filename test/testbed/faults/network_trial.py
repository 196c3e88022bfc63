# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What happens on the robot's machine when the network to the monitor's is cut."""

from __future__ import annotations

from pathlib import Path

from testbed.faults.cell import open_cell
from testbed.faults.network import Cable, on_machine
from testbed.faults.trial import SILENT, Fault

NAME = "network between monitor and gate cut, then mended"


def cut(cable: Cable, bundle_folder: Path) -> tuple[list[float], int, int]:
    """Cut the cable, on the robot's machine; return delays, commands passed and recoveries."""
    with on_machine(cable.namespaces[1]), open_cell(bundle_folder) as cell:
        fault = Fault(NAME, cell=cell)
        cell.start_gate()
        with on_machine(cable.namespaces[0]):
            cell.start_policy()
            cell.start_monitor()
        cell.wait_until_moving()
        fault.closes(cable.cut, gate_reason=SILENT)
        cable.mend()
        fault.recovers(by_reset=False)
        assert cell.dead() == [], "a process has ended by itself"
    return fault.delays, fault.passed, fault.recovered
