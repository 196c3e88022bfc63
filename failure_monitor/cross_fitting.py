# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Cross-fitting by rollout: every rollout is scored by what the others taught.

The rollouts are dealt into folds; scores that are fitted on all folds but one score that one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from failure_monitor.decision import PolicyFormat, Rollout
from failure_monitor.fitting.fit import fit_score
from failure_monitor.fitting.probe import ScoredRollout, fit_probe
from failure_monitor.monitor import windowed_scores
from failure_monitor.scores.probe import Probe
from failure_monitor.scores.score import Score
from failure_monitor.sources.worker_processes import worker_processes

Series = NDArray[np.float64]
"""Windowed scores of one rollout, (T, K); NaN where undefined."""


@dataclass(frozen=True)
class ProbeRecipe:
    """What the score `probe` is made of, and learns from besides successful rollouts.

    Attributes:
        scores: the names of the scores that it weighs.
        failures: failed rollouts.
        folds: into how many parts the successful rollouts are dealt, at most, so that it learns
            from scores that were fitted on others.
    """

    scores: tuple[str, ...]
    failures: tuple[Rollout, ...]
    folds: int


@dataclass(frozen=True)
class Recipe:
    """What is fitted, and how.

    Attributes:
        policy: the format of the rollouts' decisions.
        scores: the names of the K scores.
        window: over how many decisions a score is averaged.
        seed: of the training.
        probe: how to fit the score `probe`; None where there is nothing that it could learn from.
    """

    policy: PolicyFormat
    scores: tuple[str, ...]
    window: int
    seed: int
    probe: ProbeRecipe | None = None

    def fit(self, rollouts: Sequence[Rollout]) -> tuple[Score, ...]:
        """The scores, fitted on these rollouts, whatever their order.

        Raises:
            ScoreUndefinedError: a score means nothing for this policy or these rollouts.
            UsageError: a score does not exist.
        """
        ordered = [rollouts[place] for place in order_of_content(rollouts)]
        return tuple(self._fit(name, ordered) for name in self.scores)

    def _fit(self, name: str, rollouts: Sequence[Rollout]) -> Score:
        if name == Probe.name and self.probe is not None:
            return self._fit_probe(self.probe, rollouts)
        return fit_score(name, rollouts, self.policy, self.seed)

    def _fit_probe(self, probe: ProbeRecipe, rollouts: Sequence[Rollout]) -> Probe:
        """The probe: it learns from each rollout by scores that were fitted without it."""
        recipe = Recipe(self.policy, probe.scores, window=1, seed=self.seed)
        held_out = cross_fit(rollouts, recipe, folds=min(probe.folds, len(rollouts)))
        scores = recipe.fit(rollouts)
        return fit_probe(
            scores,
            successes=[
                ScoredRollout(series, rollout.embeddings)
                for series, rollout in zip(held_out.series, rollouts, strict=True)
            ],
            failures=[
                ScoredRollout(windowed_scores(scores, rollout, window=1), rollout.embeddings)
                for rollout in probe.failures
            ],
        )


@dataclass(frozen=True, eq=False)
class HeldOutScores:
    """What scores say of rollouts that they were not fitted on.

    Attributes:
        folds: int64 (n,), the fold of every rollout.
        series: the windowed scores of every rollout, n times (T, K).
    """

    folds: NDArray[np.int64]
    series: tuple[Series, ...]

    def of(self, fold: int) -> list[Series]:
        """Those of the fold's rollouts."""
        return [series for series, f in zip(self.series, self.folds, strict=True) if f == fold]

    def of_all_but(self, fold: int) -> list[Series]:
        """Those of all rollouts outside the fold."""
        return [series for series, f in zip(self.series, self.folds, strict=True) if f != fold]


def cross_fit(
    rollouts: Sequence[Rollout],
    recipe: Recipe,
    *,
    folds: int,
    jobs: int = 1,
    report: Callable[[str], None] = lambda step: None,
) -> HeldOutScores:
    """Every rollout's windowed scores, by scores fitted on the other folds.

    Args:
        rollouts: at least as many as folds.
        recipe: what is fitted.
        folds: into how many parts the rollouts are dealt, at least 2.
        jobs: how many processes fit at a time.
        report: told what is being done.
    """
    order = order_of_content(rollouts)
    dealt = np.empty(len(rollouts), dtype=np.int64)
    dealt[order] = deal([rollouts[place].task for place in order], folds, recipe.seed)
    parts = [
        (
            [rollout for rollout, fold in zip(rollouts, dealt, strict=True) if fold != held],
            [rollout for rollout, fold in zip(rollouts, dealt, strict=True) if fold == held],
        )
        for held in range(folds)
    ]
    held_out: list[Series] = [np.empty(0)] * len(rollouts)
    with _workers(jobs) as workers:
        run = map if workers is None else workers.map
        for fold, scored in enumerate(run(partial(_score_held_out, recipe=recipe), parts)):
            report(f"fold {fold + 1} of {folds} fitted and scored")
            for position, series in zip(np.flatnonzero(dealt == fold), scored, strict=True):
                held_out[position] = series
    return HeldOutScores(dealt, tuple(held_out))


def order_of_content(rollouts: Sequence[Rollout]) -> NDArray[np.int64]:
    """The places of the rollouts in an order of their own, however they came; (n,).

    Dealt and fitted in this order, the same rollouts give the same thresholds in any order.
    """
    digests = [
        hashlib.sha256(rollout.embeddings.tobytes() + rollout.chunks[:, 0].tobytes()).digest()
        for rollout in rollouts
    ]
    return np.array(sorted(range(len(rollouts)), key=digests.__getitem__), dtype=np.int64)


def deal(tasks: Sequence[str], folds: int, seed: int) -> NDArray[np.int64]:
    """The fold of every rollout, (n,), given their n tasks.

    The sizes of folds differ by one at most, in all and of each task.
    """
    shuffled = np.random.default_rng(seed).permutation(len(tasks))
    order = shuffled[np.argsort(np.array(tasks)[shuffled], kind="stable")]
    fold = np.empty(len(tasks), dtype=np.int64)
    fold[order] = np.arange(len(tasks)) % folds
    return fold


def _workers(jobs: int) -> AbstractContextManager[ProcessPoolExecutor | None]:
    if jobs < 2:
        return nullcontext()
    return worker_processes(jobs)


def _score_held_out(part: tuple[list[Rollout], list[Rollout]], recipe: Recipe) -> list[Series]:
    fitting, held_out = part
    scores = recipe.fit(fitting)
    return [windowed_scores(scores, rollout, recipe.window) for rollout in held_out]
