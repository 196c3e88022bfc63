# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Where a new rollout lies among those of calibration.

A rollout that exceeds the threshold is stopped, so that no more is known of it. Those that do not
are compared with the calibration rollouts that do not either, all but the one that sets the
threshold: of n rollouts, k of which set it, k − 1. Given that a rollout does not exceed the
threshold, it is exchangeable with these, in the rule and in every score, whatever becomes of the
others.
Equal values are put in order by lot, drawn from the bundle's hash: the same for the same rollouts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from failure_monitor.bundle.description import BundleDescription, PromiseSection, RolloutSection
from failure_monitor.promise.finished_rollout import FinishedRollout

SAME = 1e-9
"""Difference of values up to which they are equal: bundles round so far."""


@dataclass(frozen=True)
class Place:
    """Where a rollout lies.

    Attributes:
        cells: the number of calibration rollouts below it, for the rule and for each score; empty
            if it exceeds the threshold.
    """

    cells: tuple[int, ...] = ()

    @property
    def is_above_threshold(self) -> bool:
        """Whether it exceeds the threshold."""
        return not self.cells


@dataclass(frozen=True, eq=False)
class Reference:
    """The calibration rollouts of one task.

    Attributes:
        task: its name; may be empty.
        rank: k, the number of the rollout that sets the threshold, smallest first.
        levels: the largest level of each rollout, (n,).
        lots: what puts equal values in order, (n,).
        scores: the names of the scores.
        below: the largest normalised scores of the k − 1 rollouts below the threshold,
            (k − 1, K); −∞ where a score was never defined.
        below_lots: their lots, (k − 1,).
        below_folds: the fold of each, int64 (k − 1,), whose models are those of its scores.
        seed: of the lots of new rollouts.
    """

    task: str
    rank: int
    levels: NDArray[np.float64]
    lots: NDArray[np.float64]
    scores: tuple[str, ...]
    below: NDArray[np.float64]
    below_lots: NDArray[np.float64]
    below_folds: NDArray[np.int64]
    seed: int

    @property
    def rollouts(self) -> int:
        """The number of calibration rollouts."""
        return len(self.levels)

    @property
    def series(self) -> tuple[str, ...]:
        """The rule, and the scores if there are several, in the order of a place's cells."""
        return (RULE, *self.scores)

    def place(self, finished: FinishedRollout, number: int) -> Place:
        """Return where a rollout lies.

        Args:
            finished: the rollout.
            number: its number among the new ones, from which its lot is drawn.
        """
        lot = float(np.random.default_rng([self.seed, number]).random())
        tied = self._equal(self.levels, finished.level)
        below = finished.rollouts_below
        if below is None:
            below = int(((self.levels < finished.level) & ~tied).sum())
        below += int((tied & (self.lots < lot)).sum())
        if finished.level > 1 + SAME or below >= self.rank:
            return Place()
        return Place((below, *self._scores_below(self._scores_of(finished), lot)))

    def _scores_of(self, finished: FinishedRollout) -> NDArray[np.float64]:
        """Return a rollout's scores as each calibration rollout is compared with them.

        They are by the models of its own fold, which learned from neither: (k − 1, K), or (K,).
        """
        if finished.by_fold is not None and self.scores:
            return np.nan_to_num(finished.by_fold[self.below_folds], nan=-np.inf)
        return np.array([finished.scores.get(score, -math.inf) for score in self.scores])

    def _scores_below(self, values: NDArray[np.float64], lot: float) -> list[int]:
        if not self.scores:
            return []
        tied = self._equal(self.below, values)
        lower = (self.below < values) & ~tied | tied & (self.below_lots[:, None] < lot)
        return [int(number) for number in lower.sum(axis=0)]

    @staticmethod
    def _equal(
        values: NDArray[np.float64], other: float | NDArray[np.float64]
    ) -> NDArray[np.bool_]:
        size = np.maximum(np.abs(np.where(np.isfinite(values), values, 0.0)), 1.0)
        with np.errstate(invalid="ignore"):
            near = np.abs(values - other) <= SAME * size
        return np.asarray(near | (values == other))


RULE = "rule"
"""The name of the rule among the series."""


def references(description: BundleDescription, sha256: str) -> tuple[Reference, ...]:
    """Return the calibration rollouts of each task; none if they cannot be compared with.

    They cannot if the bundle does not hold their values; if it is of version 1, whose models had
    not learned from all rollouts where they scored those of calibration, but have where they score
    new ones; or if they do not all weigh the same: rollouts of one task are more alike than those
    of several, and groups that shifted are no longer exchangeable.

    Args:
        description: what the bundle states of itself.
        sha256: its hash.
    """
    if not description.weighs_alike or description.schema_version == 1:
        return ()
    found = []
    for promise in description.promises:
        sections = [each for each in description.calibration if each.task == promise.task]
        if len(sections) != promise.rollouts or any(each.max_level is None for each in sections):
            return ()
        found.append(_reference(description, promise, sections, int(sha256[:15], 16)))
    return tuple(found)


def _reference(
    description: BundleDescription,
    promise: PromiseSection,
    sections: Sequence[RolloutSection],
    seed: int,
) -> Reference:
    scores = tuple(score.name for score in description.scores)
    scores = scores if len(scores) > 1 else ()
    levels = np.array([section.max_level for section in sections], dtype=np.float64)
    lots = np.random.default_rng(seed).random(len(levels))
    values = np.array(
        [
            [section.max_normalised_scores.get(score, -np.inf) for score in scores]
            for section in sections
        ],
        dtype=np.float64,
    ).reshape(len(sections), len(scores))
    lowest = np.lexsort((lots, levels))[: promise.rank - 1]
    return Reference(
        task=promise.task,
        rank=promise.rank,
        levels=levels,
        lots=lots,
        scores=scores,
        below=values[lowest],
        below_lots=lots[lowest],
        below_folds=np.array([sections[i].fold or 0 for i in lowest], dtype=np.int64),
        seed=seed,
    )
