# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What the monitor needs of the policy ceases to come, or comes broken, while the robot moves."""

from __future__ import annotations

import signal

import pytest
from faults.cell import HEARTBEAT, MAX_DECISION_AGE, POLICY_PERIOD, Cell
from faults.trial import WITHHELD, WITHIN_LEASE, Fault

pytestmark = pytest.mark.ros

MISSED = MAX_DECISION_AGE + HEARTBEAT + WITHIN_LEASE
"""Seconds until the gate is closed where decisions cease."""

JUDGED = POLICY_PERIOD + WITHIN_LEASE
"""Seconds until the gate is closed by the next decision."""

GONE = {"gate_says": WITHHELD, "state": "STALE", "monitor_says": "older than 1 s"}
BACK = {"gate_says": WITHHELD, "state": "STALE", "monitor_says": "the cause is gone"}


def test_the_gate_closes_when_the_policy_ends(moving: Cell, table):
    fault: Fault = table("policy node ended (SIGTERM), then restarted", promised=MISSED)
    fault.closes(lambda: moving.policy.send(signal.SIGTERM), **GONE)
    moving.start_policy()
    fault.stays_closed(1.0, **BACK)
    fault.recovers(by_reset=True)


def test_the_gate_closes_when_the_policy_hangs(moving: Cell, table):
    fault: Fault = table("policy node frozen (SIGSTOP), then thawed", promised=MISSED)
    fault.closes(lambda: moving.policy.send(signal.SIGSTOP), **GONE)
    moving.policy.send(signal.SIGCONT)
    fault.stays_closed(1.0, **BACK)
    fault.recovers(by_reset=True)


@pytest.mark.parametrize(
    ("name", "script", "promised", "state", "reason"),
    [
        ("embedding stops, chunks go on", "no_embedding", MISSED, "STALE", ""),
        ("chunks stop, embedding goes on", "no_chunks", MISSED, "STALE", ""),
        ("embedding with NaN", "nan", JUDGED, "ALARM", "NaN"),
        ("chunks of a wrong shape", "wrong_shape", JUDGED, "ALARM", "15"),
        ("strange observations (an alarm)", "strange", JUDGED, "ALARM", "rnd_oe"),
    ],
)
def test_the_gate_closes_on_broken_decisions(
    moving: Cell, table, name, script, promised, state, reason
):
    fault: Fault = table(f"{name}, then well again", promised=promised)
    fault.closes(
        lambda: moving.follow(script), gate_says=WITHHELD, state=state, monitor_says=reason
    )
    assert not moving.reset().success
    moving.follow("nominal")
    fault.stays_closed(0.5, gate_says=WITHHELD, state=state, monitor_says="the cause is gone")
    fault.recovers(by_reset=True)
