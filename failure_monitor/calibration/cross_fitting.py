# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Cross-fitting by rollout: every rollout is scored by what the others taught.

The rollouts are dealt into folds; scores that are fitted on all folds but one score that one.
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from tempfile import NamedTemporaryFile

import numpy as np
from numpy.typing import NDArray

from failure_monitor.calibration.fitting.fit import fit_score
from failure_monitor.calibration.fitting.probe import ProbeExample, fit_probe
from failure_monitor.decision import PolicyFormat, Rollout
from failure_monitor.monitoring.monitor import windowed_scores
from failure_monitor.scores.base.score import Score
from failure_monitor.scores.probe import Probe
from failure_monitor.thresholds.conformal import CalibrationError
from failure_monitor.worker_processes import worker_processes

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
        """Fit the scores on these rollouts, whatever their order.

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
        """Fit the probe: it learns from each rollout by scores that were fitted without it."""
        recipe = Recipe(self.policy, probe.scores, window=1, seed=self.seed)
        held_out = cross_fit(rollouts, recipe, folds=min(probe.folds, len(rollouts)))
        scores = recipe.fit(rollouts)
        return fit_probe(
            scores,
            successes=[
                ProbeExample(series, rollout.embeddings)
                for series, rollout in zip(held_out.series, rollouts, strict=True)
            ],
            failures=[
                ProbeExample(windowed_scores(scores, rollout, window=1), rollout.embeddings)
                for rollout in probe.failures
            ],
        )


@dataclass(frozen=True, eq=False)
class HeldOutScores:
    """Scores of rollouts that they were not fitted on.

    Attributes:
        folds: int64 (n,), the fold of every rollout.
        series: the windowed scores of every rollout, n times (T, K).
    """

    folds: NDArray[np.int64]
    series: tuple[Series, ...]

    def of(self, fold: int) -> list[Series]:
        """Return those of the fold's rollouts."""
        return [series for series, f in zip(self.series, self.folds, strict=True) if f == fold]

    def of_all_but(self, fold: int) -> list[Series]:
        """Return those of all rollouts outside the fold."""
        return [series for series, f in zip(self.series, self.folds, strict=True) if f != fold]


def cross_fit(
    rollouts: Sequence[Rollout],
    recipe: Recipe,
    *,
    folds: int,
    jobs: int = 1,
    report: Callable[[str], None] = lambda step: None,
) -> HeldOutScores:
    """Score every rollout by scores fitted on the other folds.

    Args:
        rollouts: at least as many as folds.
        recipe: what is fitted.
        folds: into how many parts the rollouts are dealt, at least 2.
        jobs: how many processes fit at a time.
        report: receives each step, a sentence.
    """
    order = order_of_content(rollouts)
    dealt = np.empty(len(rollouts), dtype=np.int64)
    dealt[order] = deal([rollouts[place].task for place in order], folds, recipe.seed)
    dealing = _Dealing(tuple(rollouts), dealt, recipe)
    held_out: list[Series] = [np.empty(0)] * len(rollouts)
    with _workers(jobs, dealing) as workers:
        scores = (
            map(dealing.score, range(folds))
            if workers is None
            else workers.map(_score_fold, range(folds))
        )
        for fold, scored in enumerate(scores):
            report(f"fold {fold + 1} of {folds} fitted and scored")
            for position, series in zip(np.flatnonzero(dealt == fold), scored, strict=True):
                held_out[position] = series
    return HeldOutScores(dealt, tuple(held_out))


def order_of_content(rollouts: Sequence[Rollout]) -> NDArray[np.int64]:
    """Return the order of the rollouts by their content, however they came; (n,).

    Dealt and fitted in this order, the same rollouts give the same thresholds in any order.
    """
    digests = [
        hashlib.sha256(rollout.embeddings.tobytes() + rollout.chunks[:, 0].tobytes()).digest()
        for rollout in rollouts
    ]
    return np.array(sorted(range(len(rollouts)), key=digests.__getitem__), dtype=np.int64)


def deal(tasks: Sequence[str], folds: int, seed: int) -> NDArray[np.int64]:
    """Deal rollouts into folds: return the fold of each, (n,), given their n tasks.

    The sizes of folds differ by one at most, in all and of each task.
    """
    shuffled = np.random.default_rng(seed).permutation(len(tasks))
    order = shuffled[np.argsort(np.array(tasks)[shuffled], kind="stable")]
    fold = np.empty(len(tasks), dtype=np.int64)
    fold[order] = np.arange(len(tasks)) % folds
    return fold


@dataclass(frozen=True, eq=False)
class _Dealing:
    """Rollouts and their folds, and what is fitted on them.

    Attributes:
        rollouts: n of them.
        dealt: (n,), the fold of every rollout.
        recipe: what is fitted.
    """

    rollouts: tuple[Rollout, ...]
    dealt: NDArray[np.int64]
    recipe: Recipe

    def score(self, fold: int) -> list[Series]:
        """Score a fold's rollouts by scores fitted on the others."""
        pairs = [*zip(self.rollouts, self.dealt, strict=True)]
        fitting = [rollout for rollout, own in pairs if own != fold]
        held_out = [rollout for rollout, own in pairs if own == fold]
        return _score_held_out((fitting, held_out), recipe=self.recipe)


@contextmanager
def _workers(jobs: int, dealing: _Dealing) -> Iterator[ProcessPoolExecutor | None]:
    """Start processes that have the dealing once, not again for every fold; None for one job."""
    if jobs < 2:
        yield None
        return
    # In a file: if a process died while it starts, this one would wait for ever to hand it over.
    with NamedTemporaryFile(suffix=".pickle") as file:
        pickle.dump(dealing, file, protocol=pickle.HIGHEST_PROTOCOL)
        file.flush()
        try:
            with worker_processes(jobs, _take, file.name) as workers:
                yield workers
        except BrokenProcessPool:
            raise CalibrationError(
                "a process that fits scores ended by itself: a script must call this below "
                "`if __name__ == '__main__':`, since processes import it; else memory may have "
                "run out; with one job ('--jobs 1') no process is started"
            ) from None


_taken: _Dealing | None = None
"""What this process works on, if it is a worker."""


def _take(path: str) -> None:
    global _taken
    with open(path, "rb") as file:
        _taken = pickle.load(file)


def _score_fold(fold: int) -> list[Series]:
    assert _taken is not None, "a worker begins with _take"
    return _taken.score(fold)


def _score_held_out(part: tuple[list[Rollout], list[Rollout]], recipe: Recipe) -> list[Series]:
    fitting, held_out = part
    scores = recipe.fit(fitting)
    return [windowed_scores(scores, rollout, recipe.window) for rollout in held_out]
