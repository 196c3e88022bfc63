# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The monitor without ROS: a decision in, a verdict out."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from failure_monitor.conformal import JointThreshold, windowed_mean
from failure_monitor.decision import (
    Decision,
    InvalidDecisionError,
    PolicyFormat,
    Rollout,
    ScoreVerdict,
    Verdict,
)
from failure_monitor.scores.score import Score


class FailureMonitor:
    """Scores each decision of a policy and compares with calibrated thresholds."""

    def __init__(
        self,
        policy: PolicyFormat,
        scores: Sequence[Score],
        *,
        window: int,
        threshold: JointThreshold,
    ) -> None:
        """Watch a policy.

        Args:
            policy: what its decisions look like.
            scores: the fitted scores of the rule, K of them.
            window: over how many decisions each score is averaged.
            threshold: the calibrated rule over these scores.
        """
        self._policy = policy
        self._scores = tuple(scores)
        self._window = window
        self._threshold = threshold
        self.start_rollout()

    def start_rollout(self) -> None:
        """Forget the past: the next decision is a rollout's first."""
        self._index = 0
        self._recent: deque[NDArray[np.float64]] = deque(maxlen=self._window)
        for score in self._scores:
            score.start_rollout()

    def update(self, decision: Decision) -> Verdict:
        """Judge the next decision.

        Raises:
            InvalidDecisionError: it is not of the policy's format, or a score came out as NaN or
                infinite; the past stays as it was, and there is no verdict.
        """
        self._policy.check(decision)
        values = np.array([score.update(decision) for score in self._scores])
        self._check_scores(values)
        self._recent.append(values)
        windowed = np.mean(self._recent, axis=0)
        verdict = Verdict(
            index=self._index,
            stamp=decision.stamp,
            scores=tuple(
                ScoreVerdict(score.name, float(value), float(mean), float(threshold))
                for score, value, mean, threshold in zip(
                    self._scores, values, windowed, self._threshold.thresholds, strict=True
                )
            ),
            rule=self._threshold.rule,
            level=float(self._threshold.level(windowed)),
        )
        self._index += 1
        return verdict

    def _check_scores(self, values: NDArray[np.float64]) -> None:
        if not np.isfinite(values).all():
            names = [
                score.name
                for score, value in zip(self._scores, values, strict=True)
                if not np.isfinite(value)
            ]
            raise InvalidDecisionError(
                f"the score {', '.join(names)} came out as NaN or infinite: the decision lies too "
                "far from all that was calibrated on"
            )

    def over_rollout(self, rollout: Rollout) -> NDArray[np.float64]:
        """The combined normalised score at every decision of a whole rollout, (T,).

        The vectorised form of `update`; the past of `update` is left alone.
        """
        windowed = np.stack(
            [windowed_mean(score.over_rollout(rollout), self._window) for score in self._scores],
            axis=-1,
        )
        return self._threshold.level(windowed)
