# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What the monitor needs of the policy ceases to come, or comes broken, while the robot moves."""

from __future__ import annotations

import signal

import pytest
from testbed.faults.cell import Cell
from testbed.faults.trial import MISSED, SCORED, WITHHELD, Fault

pytestmark = [pytest.mark.ros, pytest.mark.law(7)]

# Of the last decision, or a moment before of its first part.
GONE = {"gate_reason": WITHHELD, "state": "STALE", "monitor_reason": "than 1 s"}
BACK = {"gate_reason": WITHHELD, "state": "STALE", "monitor_reason": "the cause is gone"}


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
        ("embedding with NaN", "nan", SCORED, "ALARM", "NaN"),
        ("chunks of a wrong shape", "wrong_shape", SCORED, "ALARM", "15"),
        ("strange observations (an alarm)", "strange", SCORED, "ALARM", "rnd_oe"),
        ("stamps a minute ahead", "ahead", SCORED, "ALARM", "ahead of this machine's clock"),
    ],
)
def test_the_gate_closes_on_broken_decisions(
    moving: Cell, table, name, script, promised, state, reason
):
    fault: Fault = table(f"{name}, then well again", promised=promised)
    fault.halts_until_reset(script, state=state, monitor_reason=reason)


def test_the_gate_closes_when_the_stamps_go_back(moving: Cell, table):
    """The clock of the policy's machine was set back: its plans seem old from then on."""
    fault: Fault = table("stamps go back by a minute, then forward again", promised=SCORED)
    fault.closes(
        lambda: moving.follow("behind"),
        gate_reason=WITHHELD,
        state="ALARM",
        monitor_reason="the stamps went back by",
    )
    answer = moving.reset()
    assert not answer.success
    assert "the plan that is executed is 60" in answer.message
    moving.follow("nominal")
    fault.stays_closed(
        0.5, gate_reason=WITHHELD, state="ALARM", monitor_reason="the cause is gone"
    )
    fault.recovers(by_reset=True)
