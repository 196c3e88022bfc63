# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What to calibrate, and how."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from failure_monitor.scores.probe import Probe
from failure_monitor.scores.registry import DEFAULT_SCORES
from failure_monitor.thresholds.conformal import (
    PromiseKind,
    Rule,
    ThresholdKind,
)

USUAL_FOLDS = 10
"""With five, scores learn from a fifth fewer rollouts than the bundle's do, and the false-alarm
rate falls well below what is promised: docs/detection_appendix.md."""

OUTCOME_ALPHA = 0.1
"""The usual chance that the outcome check doubts a true success."""


@dataclass(frozen=True)
class CalibrationSettings:
    """What to calibrate, and how.

    Attributes:
        scores: the names of the rule's scores.
        rule: how they combine.
        alpha: the promised false-alarm rate.
        window: over how many decisions a score is averaged.
        threshold: constant, or time-varying with the decision's number in its rollout.
        folds: into how many parts the rollouts that scores are fitted on are dealt for
            cross-fitting; None means 10, or as many as there are rollouts.
        seed: of the dealing and of the training.
        jobs: how many processes fit at a time.
        probed_scores: the names of the scores that the score `probe` weighs; none means the
            rule's other scores.
        choosers: the names of scores to choose among sampled chunks by, whether or not they are
            part of the rule.
        promise: for rollouts of each task, or across tasks for those of any task, also of one
            that was never seen.
        future: the shares of groups among successful rollouts to come, where these are not as
            here; calibration rollouts are weighed for them then.
        outcome_alpha: the chance that the outcome check doubts a true success; 0 for no check.
    """

    scores: tuple[str, ...] = DEFAULT_SCORES
    rule: Rule = "mean"
    alpha: float = 0.1
    window: int = 3
    threshold: ThresholdKind = "constant"
    folds: int | None = None
    seed: int = 0
    jobs: int = 2
    probed_scores: tuple[str, ...] = ()
    choosers: tuple[str, ...] = ()
    promise: PromiseKind = "per-task"
    future: Mapping[str, float] = field(default_factory=dict)
    outcome_alpha: float = OUTCOME_ALPHA

    def folds_of(self, rollouts: int) -> int:
        """Return into how many parts so many rollouts are dealt."""
        return max(2, min(USUAL_FOLDS, rollouts)) if self.folds is None else self.folds

    @property
    def has_probe(self) -> bool:
        """Whether the score `probe` is part of the rule."""
        return Probe.name in self.scores

    @property
    def probed(self) -> tuple[str, ...]:
        """The names of the scores that the score `probe` weighs."""
        others = tuple(name for name in self.scores if name != Probe.name)
        return self.probed_scores or others
