# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The scores of a bundle at every decision of an evaluated rollout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from failure_monitor.bundle.bundle import Bundle
from failure_monitor.decision import Rollout
from failure_monitor.evaluation.metrics import IN_DISTRIBUTION_GROUPS, RolloutResult
from failure_monitor.executors.executor import Executor, SerialExecutor
from failure_monitor.monitoring.monitor import windowed_scores


@dataclass(frozen=True, eq=False)
class ScoredRollout:
    """An evaluated rollout with its scores.

    Attributes:
        rollout: the rollout as it was read.
        result: the result of the rule.
        normalised: float64 (T, K), windowed scores over their thresholds; NaN where undefined.
    """

    rollout: Rollout
    result: RolloutResult
    normalised: NDArray[np.float64]

    @property
    def is_missed(self) -> bool:
        """Whether it failed without an alarm."""
        return not self.result.success and not self.result.alarms

    @property
    def is_false_alarm(self) -> bool:
        """Whether it succeeded, undisturbed, and there was an alarm: what the promise is about."""
        return self.result.success and self.result.alarms and self.is_undisturbed

    @property
    def is_recovery(self) -> bool:
        """Whether it was disturbed, raised an alarm and still succeeded."""
        return self.result.success and self.result.alarms and not self.is_undisturbed

    @property
    def is_quiet_success(self) -> bool:
        """Whether it succeeded without an alarm."""
        return self.result.success and not self.result.alarms

    @property
    def is_undisturbed(self) -> bool:
        """Whether its group is that of undisturbed rollouts."""
        return self.result.group in IN_DISTRIBUTION_GROUPS

    @property
    def is_detected(self) -> bool:
        """Whether it failed, and there was an alarm."""
        return not self.result.success and self.result.alarms

    @property
    def max_normalised(self) -> NDArray[np.float64]:
        """The largest normalised score of each kind, (K,); −∞ where it is nowhere defined."""
        defined = np.where(np.isnan(self.normalised), -np.inf, self.normalised)
        return np.asarray(defined.max(axis=0))


def scored(
    bundle: Bundle,
    rollouts: Sequence[Rollout],
    results: Sequence[RolloutResult],
    executor: Executor | None = None,
) -> tuple[ScoredRollout, ...]:
    """Score rollouts that were evaluated.

    Args:
        bundle: what was evaluated.
        rollouts: on which.
        results: one for each of these.
        executor: what scores them; None for this process.
    """
    sizes = [len(rollout) for rollout in rollouts]
    normalised = (executor or SerialExecutor()).map(_normalised, bundle, rollouts, sizes=sizes)
    return tuple(
        ScoredRollout(rollout, result, each)
        for rollout, result, each in zip(rollouts, results, normalised, strict=True)
    )


def _normalised(bundle: Bundle, rollout: Rollout) -> NDArray[np.float64]:
    """Return the normalised scores, (T, K); NaN from a decision on that is beyond the limits."""
    normalised = np.full((len(rollout), len(bundle.scores)), np.nan)
    valid = bundle.limits.valid_decisions(rollout)
    if valid:
        threshold = bundle.threshold(rollout.task)
        beginning = rollout.beginning(valid)
        windowed = windowed_scores(bundle.scores, beginning, bundle.description.window)
        for decision, of_folds in enumerate(windowed):
            deciding = threshold.at(decision).compare(of_folds)
            normalised[decision] = of_folds[deciding.fold] / deciding.thresholds
    return normalised
