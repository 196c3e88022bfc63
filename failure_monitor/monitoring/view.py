# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What there is to see of a monitor at one moment."""

from __future__ import annotations

from dataclasses import dataclass

from failure_monitor.decision import Decision, PolicyFormat, Verdict
from failure_monitor.monitoring.alarm import AlarmStatus
from failure_monitor.monitoring.score_history import ScoreHistory
from failure_monitor.monitoring.unfamiliarity import Unfamiliarity


@dataclass(frozen=True, eq=False)
class MonitorView:
    """A moment of a monitor.

    Attributes:
        status: of the alarm, now.
        history: of the scores.
        policy: what its decisions look like; None while no bundle is loaded.
        verdict: the last one of this rollout; None before the first.
        decision: that it is of.
        chosen: the number of the sample that is executed.
        trusted: how many of its actions are trusted; None where nobody says.
        unfamiliarity: where the picture is unfamiliar; None where nobody looked.
    """

    status: AlarmStatus
    history: ScoreHistory
    policy: PolicyFormat | None = None
    verdict: Verdict | None = None
    decision: Decision | None = None
    chosen: int = 0
    trusted: int | None = None
    unfamiliarity: Unfamiliarity | None = None
