# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""One rollout as it went beside a robot: a line of the rollout log."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Annotated, Literal

from failure_monitor.schema import at_least

VERSION = 1

Count = Annotated[int, at_least(0)]
Outcome = Literal["success", "failure"]
CheckWord = Literal["confirmed", "doubtful", "not judged"]


@dataclass(frozen=True, kw_only=True)
class RolloutRecord:
    """What is known of a rollout that has ended.

    A record with the same `rollout` further down in the log replaces one before it: a label or a
    judge's number came later.

    Attributes:
        rollout: its name, which no other rollout of this robot has: when it started, in UTC, and
            its number within that process, such as `20261129T034512.120Z-3`.
        robot: the monitor's parameter `hardware_id`.
        monitor: the full name of the monitor node.
        bundle: the SHA-256 of the bundle.
        alpha: the false-alarm rate that the bundle promises.
        started: when it started, seconds since 1970 by the wall clock.
        ended: likewise, when it ended.
        task: its task; empty if the bundle needs no name.
        decisions: how many were scored.
        unscored: how many were not.
        level: the largest level of the rule; None without a scored decision.
        rollouts_below: how many calibration rollouts lie below it; None if unknown.
        score: the score that was largest above, or nearest to, its threshold; empty if none.
        alarm: seconds from its start to the first alarm; None without one.
        alarms: how many times the state became an alarm.
        stopped: whether the monitor halted the robot.
        intervention: whether a human acted in it.
        claim: whether success was claimed at its end; None if nobody said.
        check: what the outcome check said; None without one.
        check_reason: the reason for that.
        judges: the outside judges' numbers, by name.
        judge_words: what these mean, by name; none for a judge that is not calibrated.
        label: what an operator said of it afterwards; None if nobody did.
        why_ended: why it ended, where that was no claim.
    """

    version: int = VERSION
    rollout: str
    robot: str
    monitor: str
    bundle: str
    alpha: float
    started: float
    ended: float
    task: str = ""
    decisions: Count
    unscored: Count = 0
    level: float | None = None
    rollouts_below: Count | None = None
    score: str = ""
    alarm: float | None = None
    alarms: Count = 0
    stopped: bool = False
    intervention: bool = False
    claim: Outcome | None = None
    check: CheckWord | None = None
    check_reason: str = ""
    judges: Mapping[str, float] = field(default_factory=dict)
    judge_words: Mapping[str, Literal["accepted", "doubtful", "ask a human"]] = field(
        default_factory=dict
    )
    label: Outcome | None = None
    why_ended: str = ""

    @property
    def outcome(self) -> Outcome | None:
        """The best that is known of its outcome: the operator's word, else the claim."""
        return self.label or self.claim


def rollout_name(started: float, number: int) -> str:
    """Return the name of a rollout.

    Args:
        started: when it started, in seconds since 1970.
        number: its number within its process.
    """
    seconds, milliseconds = divmod(round(1000 * started), 1000)
    date = time.strftime("%Y%m%dT%H%M%S", time.gmtime(seconds))
    return f"{date}.{milliseconds:03d}Z-{number}"


def start_of(name: str) -> float | None:
    """Return when a rollout started, in seconds since 1970; None if it is no name of one."""
    try:
        started = datetime.strptime(name.partition("Z-")[0], "%Y%m%dT%H%M%S.%f")
    except ValueError:
        return None
    return started.replace(tzinfo=timezone.utc).timestamp()
