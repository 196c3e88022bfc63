# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The disk under the incident recorder is full: monitor and gate do not notice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from diagnostic_msgs.msg import DiagnosticArray
from rosbags.rosbag2 import Reader
from std_srvs.srv import Trigger
from testbed.faults.cell import Cell
from testbed.faults.trial import SCORED, WITHHELD, Fault
from testbed.small_disk import fill, small_disk

pytestmark = [pytest.mark.ros, pytest.mark.law(5)]

MEGABYTES = 12
NAME = "incident_recorder"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", megabytes=MEGABYTES) as made:
        yield made


@pytest.fixture
def recorder_says(moving: Cell) -> Iterator[Callable[[], str]]:
    """Yield a function that returns the last state of the recorder."""
    messages = [""]

    def keep(array: DiagnosticArray) -> None:
        messages.extend(one.message for one in array.status if one.name == f"{NAME}: incidents")

    subscription = moving.node.create_subscription(DiagnosticArray, "/diagnostics", keep, 10)
    yield lambda: messages[-1]
    moving.node.destroy_subscription(subscription)


def record(cell: Cell) -> Trigger.Response:
    """Ask the recorder for a bag."""
    client = cell.node.create_client(Trigger, f"{NAME}/record")
    assert client.wait_for_service(20.0)
    future = client.call_async(Trigger.Request())
    cell.wait_for(future.done, "the recorder to answer")
    cell.node.destroy_client(client)
    return future.result()


def test_a_disk_that_is_full_costs_bags_and_nothing_else(
    moving: Cell, table, disk: Path, recorder_says
):
    fault: Fault = table("disk full under the recorder, then an alarm", promised=SCORED)
    recorder = moving.start_recorder(
        disk / "incidents", seconds_before=5.0, seconds_after=3.0, least_free_megabytes=0.0
    )
    moving.wait_for(lambda: recorder_says() == "nothing to record", "the recorder to listen")
    assert record(moving).success
    filler = fill(disk)
    moving.wait_for(lambda: "lost or incomplete" in recorder_says(), "the loss of a bag")
    moving.wait_for(lambda: "make room" in recorder_says(), "the full disk")
    assert not record(moving).success
    fault.stays_open(2.0)
    fault.closes(
        lambda: moving.follow("strange"),
        gate_reason=WITHHELD,
        state="ALARM",
        monitor_reason="rnd_oe",
    )
    moving.follow("nominal")
    fault.recovers(by_reset=True)

    filler.unlink()
    bags = disk / "incidents"
    written = set(bags.glob("incident_*"))
    moving.wait_for(lambda: record(moving).success, "the room to be seen")
    new = moving.wait_for(lambda: set(bags.glob("incident_*")) - written, "a bag after that")
    with Reader(new.pop()) as reader:
        assert "/policy/embedding" in reader.topics
    assert recorder.is_running
    recorder.end()
