# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Reports of small rollouts made by a formula."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from failure_monitor.bundle.bundle import Bundle
from failure_monitor.calibration.audit import audit
from failure_monitor.decision import Rollout
from failure_monitor.evaluation.evaluate import GroupKey, evaluate
from failure_monitor.report.calibration_report import calibration_report
from failure_monitor.report.evaluation_report import evaluation_report
from failure_monitor.report.page import Page
from failure_monitor.report.reproduction import Origin
from failure_monitor.report.scored_rollout import scored
from failure_monitor.sources.rollout_set import RolloutSet
from testbed.synthetic import POLICY, synthetic_rollout

ORIGIN = Origin("failure-monitor evaluate …", "my_bundle", "0123456789abcdef", "on a Monday")


def failed_rollout(seed: int, decisions: int = 30) -> Rollout:
    """Return a rollout that goes astray half-way through the usual time, and runs to its limit."""
    made = synthetic_rollout(seed, decisions=decisions, success=False)
    embeddings = made.embeddings.copy()
    embeddings[6:] += np.float32(4)
    return replace(made, embeddings=embeddings)


def evaluated_page(
    bundle: Bundle,
    rollouts: Sequence[Rollout],
    *,
    group_by: GroupKey = "group",
    with_audit: bool = False,
) -> Page:
    """Return the page of an evaluation, as the command makes it; an audit takes seconds."""
    policy = bundle.policy
    evaluation = evaluate(bundle, RolloutSet(policy, tuple(rollouts)), group_by=group_by)
    succeeded = [rollout for rollout in rollouts if rollout.success]
    found = audit(succeeded, [policy] * len(succeeded)) if succeeded and with_audit else None
    return evaluation_report(
        bundle, evaluation, scored(bundle, rollouts, evaluation.results), found, ORIGIN
    )


def calibration_page(bundle: Bundle, rollouts: Sequence[Rollout]) -> Page:
    """Return the page of a calibration, as the command makes it."""
    found = audit(rollouts, [POLICY] * len(rollouts))
    return calibration_report(bundle, rollouts, found, ORIGIN)
