# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The monitor dies, hangs, ends, comes late or comes twice."""

from __future__ import annotations

import signal
from contextlib import ExitStack

import pytest
from testbed.faults.cell import DISCOVERY, MAX_DECISION_AGE, Cell, Process
from testbed.faults.trial import SILENT, WITHDRAWN, WITHHELD, Fault

pytestmark = [pytest.mark.ros, pytest.mark.alone]

KILLS = 20
SECOND_MONITORS = 5


@pytest.mark.law(2)
@pytest.mark.slow
def test_the_gate_closes_whenever_the_monitor_is_killed(moving: Cell, table):
    fault: Fault = table("monitor killed (SIGKILL), then restarted")
    for _ in range(KILLS):
        fault.closes(lambda: moving.monitor.send(signal.SIGKILL), gate_reason=SILENT)
        moving.start_monitor()
        fault.recovers(by_reset=True)


@pytest.mark.law(2)
def test_a_frozen_monitor_closes_the_gate_and_a_thawed_one_does_not_open_it(moving: Cell, table):
    fault: Fault = table("monitor frozen (SIGSTOP), then thawed")
    fault.closes(lambda: moving.monitor.send(signal.SIGSTOP), gate_reason=SILENT)
    fault.stays_closed(MAX_DECISION_AGE, gate_reason=SILENT)
    moving.monitor.send(signal.SIGCONT)
    fault.stays_closed(1.0, gate_reason=WITHHELD, state="STALE")
    fault.recovers(by_reset=True)


@pytest.mark.law(2)
def test_the_gate_closes_when_the_monitor_ends(moving: Cell, table):
    fault: Fault = table("monitor ended (SIGTERM), then restarted", promised=WITHDRAWN)
    fault.closes(lambda: moving.monitor.send(signal.SIGTERM), gate_reason=WITHHELD)
    moving.start_monitor()
    fault.recovers(by_reset=False)


@pytest.mark.law(2)
def test_nothing_passes_before_the_monitor_has_started(moving: Cell, table):
    fault: Fault = table("monitor started late")
    moving.monitor.end()
    moving.gate.end()
    moving.start_gate()
    fault.stays_closed(1.0, gate_reason="no permit has come yet")
    moving.start_monitor()
    fault.recovers(by_reset=False)


@pytest.mark.law(10)
def test_one_of_two_monitors_closes_the_gate(moving: Cell, table):
    """With a topic of its own for each."""
    fault: Fault = table("one of two monitors killed, then restarted")
    topics = ["failure_monitor/permit", "other_monitor/permit"]
    with moving.other_gate(permit_topics=topics), moving.second_monitor("other_monitor") as other:
        moving.wait_until_moving()
        fault.closes(
            lambda: other.send(signal.SIGKILL), gate_reason="no permit on 'other_monitor/permit'"
        )
        assert "'failure_monitor/permit'" not in moving.gate_state.reason
        moving.start_monitor("other_monitor")
        fault.recovers(by_reset=True, monitor="other_monitor")


@pytest.mark.law(10)
def test_a_second_monitor_on_the_same_topic_closes_the_gate(moving: Cell, table):
    """It withholds its permit, and the first grants it: the first is not believed.

    The gate cannot know of it before the middleware has discovered it.
    """
    fault: Fault = table(
        "second monitor on the permit's topic: its first word", promised=DISCOVERY + WITHDRAWN
    )
    for _ in range(SECOND_MONITORS):
        _start_second_monitor(moving, fault)
        fault.recovers(by_reset=False)


def _start_second_monitor(moving: Cell, fault: Fault) -> None:
    started: list[Process] = []
    with ExitStack() as stack:
        other = moving.second_monitor(
            "other_monitor", permit="failure_monitor/permit", bundle="nowhere"
        )
        fault.closes(
            lambda: started.append(stack.enter_context(other)),
            gate_reason="or one of several publishers there does",
            since=lambda: started[0].logged_at("start -> STALE"),
        )
