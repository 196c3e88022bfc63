# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Decisions that cannot be scored, or come in bursts, while the robot moves."""

from __future__ import annotations

import pytest
from testbed.faults.cell import POLICY_PERIOD, Cell
from testbed.faults.trial import SCORED, WITHDRAWN, WITHHELD, Fault

from failure_monitor.monitoring.decision_tally import MAX_WAIT

pytestmark = [pytest.mark.ros, pytest.mark.law(6)]

SIX = 6 * POLICY_PERIOD + WITHDRAWN
"""Seconds until six decisions were not scored, which are more than a tenth of fifty."""

THREE_LATE = 3 * POLICY_PERIOD + MAX_WAIT + WITHDRAWN
"""Seconds until three decisions in a row have waited too long for their other part."""


@pytest.mark.parametrize(
    ("name", "script", "promised", "state", "reason"),
    [
        ("every second decision repeats a stamp", "repeated", SIX, "STALE", "not scored"),
        ("one embedding of fifteen", "rare_embedding", THREE_LATE, "STALE", "not scored"),
        ("stamps go back by 0.5 s", "set_back", SCORED, "ALARM", "went back by"),
        ("stamps go back by 0.5 s, strange", "set_back strange", SCORED, "ALARM", ""),
        ("strange decisions in a burst", "burst", SCORED, "ALARM", "rnd_oe"),
    ],
)
def test_no_decision_goes_unscored_in_silence(
    moving: Cell, table, name, script, promised, state, reason
):
    fault: Fault = table(name, promised=promised)
    fault.closes(
        lambda: moving.follow(script), gate_reason=WITHHELD, state=state, monitor_reason=reason
    )
    moving.follow("nominal")
    fault.recovers(by_reset=True)


def test_the_gate_closes_on_strange_observations_among_many_decisions(moving: Cell, table):
    fault: Fault = table("500 decisions a second, of which some are strange", promised=SCORED)
    moving.follow("often")
    fault.stays_open(1.0)
    fault.closes(
        lambda: moving.follow("often strange"),
        gate_reason=WITHHELD,
        state="ALARM",
        monitor_reason="rnd_oe",
    )
    assert not moving.reset().success
    moving.follow("nominal")
    fault.recovers(by_reset=True)
