# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The policy server dies while commands pass: the gate closes, and opens again when it is back."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from testbed.faults.cell import Cell, open_cell
from testbed.faults.served_policy import PORT
from testbed.faults.trial import MISSED, WITHHELD, Fault

pytestmark = [pytest.mark.lerobot, pytest.mark.ros]

SERVED_POLICY = "testbed.faults.served_policy"


@contextmanager
def server(port: int = 0) -> Iterator[tuple[subprocess.Popen[str], int]]:
    command = [sys.executable, "-m", SERVED_POLICY, "server", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, int(process.stdout.readline())
        finally:
            process.kill()


@pytest.mark.parametrize("death", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "frozen"])
def test_the_gate_closes_when_the_policy_server_dies(bundle_folder, monkeypatch, death):
    with server() as (process, port):
        monkeypatch.setenv(PORT, str(port))
        with open_cell(bundle_folder, policy=SERVED_POLICY) as cell:
            start(cell)
            fault = Fault("the policy server dies", promised=MISSED, cell=cell)
            fault.closes(
                lambda: process.send_signal(death),
                gate_reason=WITHHELD,
                state="STALE",
                monitor_reason="decision",
            )
            process.kill()
            process.wait()
            with server(port):
                fault.recovers(by_reset=True)
            assert cell.dead() == []


def start(cell: Cell) -> None:
    cell.start_policy()
    cell.start_gate()
    cell.start_monitor()
    cell.reset_until_moving()
