# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Alarm states and verdicts as diagnostic messages."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median
from types import MappingProxyType
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus

from failure_monitor.decision import Verdict
from failure_monitor.monitoring.alarm import AlarmState, AlarmStatus
from failure_monitor.ros.common.key_values import key_values
from failure_monitor.ros.monitor.scoring_worker import ScoringWorker
from failure_monitor.ros.monitor.watched_bundle import WatchedBundle

LEVELS = {
    AlarmState.NOMINAL: DiagnosticStatus.OK,
    AlarmState.CAUTION: DiagnosticStatus.WARN,
    AlarmState.ALARM: DiagnosticStatus.ERROR,
    AlarmState.STALE: DiagnosticStatus.STALE,
}

SKIPPED_SHARE = 0.05
"""Of the decisions: if more are skipped, that is worth a word."""


def alarm_message(
    status: AlarmStatus,
    verdict: Verdict | None,
    *,
    name: str,
    hardware_id: str,
    age: float | None,
    response: Mapping[str, str] = MappingProxyType({}),
) -> DiagnosticStatus:
    """The alarm: level and message are state and reason, the values what they rest on.

    Args:
        status: of the alarm.
        verdict: the last one, if there is any in this rollout.
        name: the node's name.
        hardware_id: the robot's or the policy's.
        age: seconds since the last judged decision was received.
        response: what was done about it, in words.
    """
    values = {
        "state": status.state.value,
        "permit": _yes(status.permit),
        "halted": _yes(status.halted),
        "response": status.reaction.value,
        **response,
    }
    if age is not None:
        values["decision_age"] = f"{age:.3f}"
    if verdict is not None:
        values |= _verdict_values(verdict)
    return DiagnosticStatus(
        level=LEVELS[status.state],
        name=f"{name}: alarm",
        message=status.reason,
        hardware_id=hardware_id,
        values=key_values(values),
    )


def scoring_message(
    watched: WatchedBundle,
    worker: ScoringWorker[Any],
    counts: Mapping[str, int],
    *,
    name: str,
    hardware_id: str,
) -> DiagnosticStatus:
    """What is scored, with which promise, how fast, and what was left out.

    Args:
        watched: the bundle.
        worker: scores with it.
        counts: of what else happened, by name.
        name: the node's name.
        hardware_id: the robot's or the policy's.
    """
    bundle, promise = watched.bundle, watched.promise
    values = {
        "bundle": watched.folder,
        "bundle_sha256": watched.sha256,
        "rule": bundle.rule,
        "alpha": f"{bundle.alpha:g}",
        "task": watched.task,
        "judged_decisions": str(worker.judged),
        "skipped_decisions": str(worker.skipped),
        **watched.models.values(),
        **{key: str(count) for key, count in counts.items()},
    }
    if promise is not None:
        values["calibration_rollouts"] = str(promise.rollouts)
    seconds = sorted(worker.seconds())
    if seconds:
        values["scoring_ms_median"] = f"{1e3 * median(seconds):.3f}"
        values["scoring_ms_max"] = f"{1e3 * seconds[-1]:.3f}"
    share = worker.skipped / max(worker.skipped + worker.judged, 1)
    is_slow = share > SKIPPED_SHARE
    return DiagnosticStatus(
        level=DiagnosticStatus.WARN if is_slow else DiagnosticStatus.OK,
        name=f"{name}: scoring",
        message=f"{share:.0%} of the decisions are skipped: too slow" if is_slow else "in time",
        hardware_id=hardware_id,
        values=key_values(values),
    )


def _verdict_values(verdict: Verdict) -> dict[str, str]:
    values = {
        "decision": str(verdict.index),
        "stamp": f"{verdict.stamp:.9f}",
        "rule": verdict.rule,
        "level": f"{verdict.level:.4f}",
    }
    for score in verdict.scores:
        values[score.name] = f"{score.windowed:.6g}" if score.is_defined else "undefined"
        values[f"{score.name}.threshold"] = f"{score.threshold:.6g}"
        if score.is_defined:
            values[f"{score.name}.ratio"] = f"{score.normalised:.4f}"
    return values


def _yes(value: bool) -> str:
    return "true" if value else "false"
