# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The monitor without ROS: a decision in, a verdict out."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from failure_monitor.decision import (
    Decision,
    InvalidDecisionError,
    PolicyFormat,
    Rollout,
    ScoreVerdict,
    Verdict,
)
from failure_monitor.scores.base.folded_score import FoldedScore
from failure_monitor.thresholds.conformal import mean_of_defined, windowed_mean
from failure_monitor.thresholds.paired_threshold import PairedThreshold
from failure_monitor.thresholds.value_limits import ValueLimits


class FailureMonitor:
    """A monitor that scores each decision of a policy against calibrated thresholds."""

    def __init__(
        self,
        policy: PolicyFormat,
        scores: Sequence[FoldedScore],
        *,
        window: int,
        threshold: PairedThreshold,
        limits: ValueLimits | None = None,
        caution: str = "",
    ) -> None:
        """Watch a policy.

        Args:
            policy: the format of its decisions.
            scores: the K scores of the rule, F models of each.
            window: the number of decisions over which each score is averaged.
            threshold: the calibrated rule for these scores.
            limits: beyond which decisions are invalid; None if unknown.
            caution: why less is promised than the alpha that was asked for; empty if it is not.
        """
        self._limits = limits or ValueLimits.unknown(policy)
        self._policy = policy
        self._scores = tuple(scores)
        self._texts = [(score.name, score.meaning) for score in scores]
        self._window = window
        self._caution = caution
        self._threshold = threshold
        self.start_rollout()

    @property
    def number(self) -> int:
        """The number of the next decision in its rollout, from 0."""
        return self._index

    def start_rollout(self) -> None:
        """Start a rollout: the next decision is its first."""
        self._index = 0
        self._largest = np.full((self._scores[0].folds, len(self._scores)), np.nan)
        self._recent: deque[NDArray[np.float64]] = deque(maxlen=self._window)
        for score in self._scores:
            score.start_rollout()

    def skip(self, decisions: int) -> None:
        """Skip decisions that could not be scored: they are counted and leave a gap in the
        windows.

        Time-varying thresholds and some scores depend on a decision's number in its rollout, so
        the number stays right. Scores that compare with the decision before are undefined after
        the gap, as they are at a rollout's first decision.
        """
        self._index += decisions
        undefined = np.full((self._scores[0].folds, len(self._scores)), np.nan)
        self._recent.extend([undefined] * min(decisions, self._window))
        for score in self._scores:
            score.resume(self._index)

    def resume(self) -> None:
        """Continue after the policy was stopped: what it decided before that counts no more.

        The windows start again with the next decision, and scores that compare it with the one
        before are undefined for it. Its number in the rollout stays right.
        """
        self._recent.clear()
        for score in self._scores:
            score.resume(self._index, stopped=True)

    def update(self, decision: Decision) -> Verdict:
        """Score the next decision.

        Raises:
            InvalidDecisionError: the decision is not of the policy's format or beyond the limits
                of its values and changes nothing, or a score is NaN or infinite where it is
                defined. `skip` such a decision.
        """
        self._policy.check_shapes(decision)
        self._limits.check(decision, self._policy)
        defined = [score.is_defined_for(decision) for score in self._scores]
        values = np.array([score.update(decision) for score in self._scores]).T
        self._check_scores(values, defined)
        self._recent.append(values)
        windowed = mean_of_defined(np.array(self._recent))
        threshold = self._threshold.at(self._index)
        compared = threshold.compare(windowed)
        self._largest = np.fmax(self._largest, windowed / threshold.positive_limits)
        verdict = Verdict(
            index=self._index,
            stamp=decision.stamp,
            scores=tuple(
                ScoreVerdict(name, value, mean, limit, meaning)
                for (name, meaning), value, mean, limit in zip(
                    self._texts,
                    values[compared.fold].tolist(),
                    windowed[compared.fold].tolist(),
                    compared.thresholds.tolist(),
                    strict=True,
                )
            ),
            rule=threshold.rule,
            level=compared.level,
            past_calibration=not self._threshold.scale.covers(self._index),
            rollouts=len(threshold.limits),
            rollouts_below=compared.below,
            caution=self._caution,
            largest_by_fold=self._largest,
        )
        self._index += 1
        return verdict

    def _check_scores(self, values: NDArray[np.float64], defined: Sequence[bool]) -> None:
        if np.count_nonzero(np.isfinite(values)) == values.size:
            return
        wrong = (np.isinf(values) | (np.isnan(values) & np.array(defined))).any(axis=0)
        names = [self._scores[place].name for place in np.flatnonzero(wrong)]
        if names:
            raise InvalidDecisionError(
                f"the score {', '.join(names)} is NaN or infinite: the decision is too far from "
                "all decisions of the calibration rollouts"
            )

    def score_rollout(self, rollout: Rollout) -> NDArray[np.float64]:
        """Return the combined normalised score at every decision of a whole rollout, (T,).

        This is the vectorised form of `update`, whose state does not change. A decision beyond
        the limits of its values halts the robot, so from it on the level is above 1.

        Raises:
            InvalidDecisionError: a score is NaN or infinite where it is defined.
        """
        return self.compare_rollout(rollout)[0]

    def compare_rollout(self, rollout: Rollout) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return `score_rollout`, and how many calibration rollouts lie below each decision, (T,).

        From a decision on that is beyond the limits of its values, all do.

        Raises:
            InvalidDecisionError: a score is NaN or infinite where it is defined.
        """
        valid = self._limits.valid_decisions(rollout)
        beyond = np.maximum.accumulate(self._limits.levels(rollout)[valid:])
        all_below = np.full(len(beyond), len(self._threshold.limits))
        if not valid:
            return beyond, all_below
        threshold = self._threshold.at(np.arange(valid))
        windowed = windowed_scores(self._scores, rollout.beginning(valid), self._window)
        levels, below = threshold.level_and_below(windowed)
        return np.concatenate([levels, beyond]), np.concatenate([below, all_below])


def windowed_scores(
    scores: Sequence[FoldedScore], rollout: Rollout, window: int
) -> NDArray[np.float64]:
    """Return the windowed scores at every decision of a rollout by every model, (T, F, K).

    NaN is undefined.

    Raises:
        InvalidDecisionError: a score is NaN or infinite where it is defined.
    """
    columns = []
    for score in scores:
        values = score.score_rollout(rollout)
        check_scores(values, score, rollout)
        columns.append(np.stack([windowed_mean(column, window) for column in values.T], axis=-1))
    return np.stack(columns, axis=-1)


def check_scores(values: NDArray[np.float64], score: FoldedScore, rollout: Rollout) -> None:
    """Reject a score of a rollout's decisions, (T, F), that is no number where it is defined.

    Raises:
        InvalidDecisionError: a score is NaN or infinite where it is defined.
    """
    defined = score.defined(rollout)[:, np.newaxis]
    wrong = (np.isinf(values) | (np.isnan(values) & defined)).any(axis=1)
    if wrong.any():
        raise InvalidDecisionError(
            f"{rollout.name}, decision {np.flatnonzero(wrong)[0]}: the score {score.name} is "
            "NaN or infinite: the decision is too far from all that the score was fitted on"
        )
