# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The diagnostic status of the scoring."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median

from diagnostic_msgs.msg import DiagnosticStatus

from failure_monitor.ros.common.key_values import key_values
from failure_monitor.ros.monitor.configuration import Configuration

MAX_SKIPPED_SHARE = 0.05
"""Share of skipped decisions above which the status is a warning."""


def scoring_message(
    configuration: Configuration,
    counts: Mapping[str, int],
    *,
    warning: str,
    name: str,
    hardware_id: str,
) -> DiagnosticStatus:
    """Return what is scored, with which promise and how fast, and what was left out.

    Args:
        configuration: the bundle and the worker that scores with it.
        counts: further counts, by name.
        warning: what may be wrong with the decisions; empty if nothing.
        name: the node's name.
        hardware_id: the robot's or the policy's.
    """
    monitored, worker = configuration.bundle, configuration.worker
    bundle, promise = monitored.bundle, monitored.promise
    values = {
        "bundle": monitored.folder,
        "bundle_sha256": monitored.sha256,
        "rule": bundle.rule,
        "alpha": f"{bundle.alpha:g}",
        "task": monitored.task,
        "judged_decisions": str(worker.scored),
        "skipped_decisions": str(worker.skipped),
        **monitored.models.values(),
        **{key: str(count) for key, count in counts.items()},
    }
    if bundle.description.stated_policy is not None:
        values["checkpoint"] = bundle.description.stated_policy.checkpoint
    if promise is not None:
        values["calibration_rollouts"] = str(promise.rollouts)
    seconds = sorted(worker.seconds())
    if seconds:
        values["scoring_ms_median"] = f"{1e3 * median(seconds):.3f}"
        values["scoring_ms_max"] = f"{1e3 * seconds[-1]:.3f}"
    share = worker.skipped / max(worker.skipped + worker.scored, 1)
    if share > MAX_SKIPPED_SHARE:
        warning = f"{share:.0%} of the decisions are skipped: too slow"
    return DiagnosticStatus(
        level=DiagnosticStatus.WARN if warning else DiagnosticStatus.OK,
        name=f"{name}: scoring",
        message=warning or "in time",
        hardware_id=hardware_id,
        values=key_values(values),
    )
