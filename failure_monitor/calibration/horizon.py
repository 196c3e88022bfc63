# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Calibration of the trusted horizon: successful rollouts in, its section of a bundle out.

It is calibrated as the rule is. The usual dispersion comes from rollouts to fit on, or from the
folds that a rollout is not in; each rollout gives one number, its largest dispersion over time
and over the leading actions, and the limit of a task is an order statistic of its own rollouts.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from failure_monitor.bundle.description import SteeringSection
from failure_monitor.decision import PolicyFormat, Rollout
from failure_monitor.monitoring.response.trusted_horizon import Dispersion, calibrate_limit
from failure_monitor.scores.base.executed_actions import usual_actions
from failure_monitor.scores.base.score import ScoreUndefinedError


def leading_actions(policy: PolicyFormat, rollouts: Sequence[Rollout] = ()) -> int:
    """Return k: the executed actions, and the one at which the next decision takes over.

    Actions that are led to what is being executed do not scatter, so k is beyond these.
    """
    executed = usual_actions(policy, rollouts)
    if executed is None:
        return policy.horizon
    return min(max(executed, policy.guided_actions) + 1, policy.horizon)


def calibrate_horizon(
    rollouts: Sequence[Rollout],
    fit_rollouts: Sequence[Rollout],
    policy: PolicyFormat,
    *,
    folds: NDArray[np.int64],
    alpha: float,
) -> SteeringSection | None:
    """Calibrate the trusted horizon.

    Args:
        rollouts: successful ones, exchangeable with the successful ones to come.
        fit_rollouts: other successful ones, to learn from what is usual; may be none.
        policy: the format of their decisions.
        folds: (n,), the fold of every rollout, without rollouts to fit on.
        alpha: the chance that a successful rollout is ever trusted for fewer than k actions.

    Returns:
        None where samples cannot differ, so that it is unknown.

    Raises:
        CalibrationError: too few rollouts for alpha.
    """
    leading = leading_actions(policy, rollouts)
    try:
        dispersion = Dispersion.fit(fit_rollouts or rollouts, policy, leading)
        if fit_rollouts:
            largest = np.array([dispersion.largest(rollout) for rollout in rollouts])
        else:
            largest = _cross_fitted(rollouts, policy, leading, folds)
    except ScoreUndefinedError:
        return None
    tasks = np.array([rollout.task for rollout in rollouts])
    return SteeringSection(
        leading=leading,
        usual=tuple(dispersion.usual.tolist()),
        limits={
            str(task): calibrate_limit(largest[tasks == task].tolist(), alpha)
            for task in np.unique(tasks)
        },
    )


def _cross_fitted(
    rollouts: Sequence[Rollout], policy: PolicyFormat, leading: int, folds: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return c_i of each rollout, (n,), by what is usual in the other folds."""
    largest = np.empty(len(rollouts))
    for held_out in range(folds.max() + 1):
        dealt = list(zip(rollouts, folds, strict=True))
        others = [rollout for rollout, fold in dealt if fold != held_out]
        dispersion = Dispersion.fit(others, policy, leading)
        largest[folds == held_out] = [
            dispersion.largest(rollout) for rollout, fold in dealt if fold == held_out
        ]
    return largest
