# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Nobody reads the log of gate or monitor, or the disk that it goes to is full."""

from __future__ import annotations

import fcntl
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
from testbed.faults.cell import Cell
from testbed.faults.trial import SCORED, SILENT, WITHHELD, Fault

pytestmark = [pytest.mark.ros, pytest.mark.law(5)]


@contextmanager
def log(kind: str) -> Iterator[int]:
    """Yield a file descriptor to which nothing can be written."""
    if kind == "a full disk":
        descriptor = os.open("/dev/full", os.O_WRONLY)
        yield descriptor
        os.close(descriptor)
        return
    reading, descriptor = os.pipe()
    if kind == "a closed pipe":
        os.close(reading)
    else:
        fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, 4096)
        os.set_blocking(descriptor, False)
        with suppress(BlockingIOError):
            while True:
                os.write(descriptor, b"x")
        os.set_blocking(descriptor, True)
    yield descriptor
    os.close(descriptor)


@pytest.mark.parametrize("kind", ["a full pipe", "a closed pipe", "a full disk"])
def test_the_gate_closes_and_the_monitor_answers(moving: Cell, table, kind):
    fault: Fault = table(f"log goes to {kind}: strange decisions, monitor killed", promised=SCORED)
    moving.monitor.end()
    moving.gate.end()
    with log(kind) as descriptor:
        moving.start_gate(output=descriptor)
        moving.start_monitor(output=descriptor)
        moving.reset_until_moving()
        fault.closes(lambda: moving.follow("strange"), gate_reason=WITHHELD, state="ALARM")
        moving.follow("nominal")
        fault.recovers(by_reset=True)
        fault.closes(lambda: moving.monitor.send(signal.SIGKILL), gate_reason=SILENT)
        moving.start_monitor(output=descriptor)
        # Its halt mark outlived it.
        fault.recovers(by_reset=True)
        moving.monitor.end()
        moving.gate.end()
        assert (moving.monitor.code, moving.gate.code) == (0, 0)
