# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What displays show of a monitor at one moment."""

from __future__ import annotations

from dataclasses import dataclass

from failure_monitor.decision import Decision, PolicyFormat, Verdict
from failure_monitor.monitoring.alarm import AlarmStatus
from failure_monitor.monitoring.score_history import ScoreHistory
from failure_monitor.monitoring.unfamiliarity import Unfamiliarity


@dataclass(frozen=True, eq=False)
class MonitorView:
    """A monitor at one moment.

    Attributes:
        status: the alarm's present status.
        history: the scores of the last seconds.
        policy: the format of the policy's decisions; None while no bundle is loaded.
        verdict: the last verdict of this rollout; None before the first.
        decision: the decision of that verdict.
        chosen: the number of the sample that is executed.
        trusted: how many of its actions are trusted; None if unknown.
        unfamiliarity: where the picture is unfamiliar; None if unknown.
    """

    status: AlarmStatus
    history: ScoreHistory
    policy: PolicyFormat | None = None
    verdict: Verdict | None = None
    decision: Decision | None = None
    chosen: int = 0
    trusted: int | None = None
    unfamiliarity: Unfamiliarity | None = None
