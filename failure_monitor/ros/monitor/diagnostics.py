# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The diagnostics of what is scored."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus

from failure_monitor.ros.common.key_values import key_values
from failure_monitor.ros.monitor.scoring_worker import ScoringWorker
from failure_monitor.ros.monitor.watched_bundle import WatchedBundle

SKIPPED_SHARE = 0.05
"""Of the decisions: if more are skipped, that is worth a word."""


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
        "judged_decisions": str(worker.scored),
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
    share = worker.skipped / max(worker.skipped + worker.scored, 1)
    is_slow = share > SKIPPED_SHARE
    return DiagnosticStatus(
        level=DiagnosticStatus.WARN if is_slow else DiagnosticStatus.OK,
        name=f"{name}: scoring",
        message=f"{share:.0%} of the decisions are skipped: too slow" if is_slow else "in time",
        hardware_id=hardware_id,
        values=key_values(values),
    )
