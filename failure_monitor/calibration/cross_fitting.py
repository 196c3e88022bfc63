# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Cross-fitting by rollout: every rollout is scored by what the others taught.

The rollouts are dealt into folds; of every score there is a model for each fold, fitted on the
rollouts outside it, which scores those inside.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from failure_monitor.calibration.fitting.fit import fit_score
from failure_monitor.calibration.fitting.probe import ProbeExample, fit_probe
from failure_monitor.decision import PolicyFormat, Rollout
from failure_monitor.executors.executor import Executor, SerialExecutor
from failure_monitor.monitoring.monitor import check_scores, windowed_scores
from failure_monitor.scores.base.folded_score import FoldedScore, outside
from failure_monitor.scores.base.score import Score, ScoreState
from failure_monitor.scores.probe import Probe
from failure_monitor.scores.registry import restore_folded_score, score_named
from failure_monitor.thresholds.conformal import CalibrationError, windowed_mean

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
        return tuple(self.fit_one(name, ordered) for name in self.scores)

    def fit_one(self, name: str, rollouts: Sequence[Rollout]) -> Score:
        """Fit one score on these rollouts, in order of their content."""
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
                ProbeExample(_by_one_model(scores, rollout), rollout.embeddings)
                for rollout in probe.failures
            ],
        )


@dataclass(frozen=True, eq=False)
class HeldOutScores:
    """Scores of rollouts that they were not fitted on.

    Attributes:
        folds: int64 (n,), the fold of every rollout.
        series: the windowed scores of every rollout, n times (T, K).
        scores: the K scores, each with the models of all folds.
    """

    folds: NDArray[np.int64]
    series: tuple[Series, ...]
    scores: tuple[FoldedScore, ...] = ()

    def of(self, fold: int) -> list[Series]:
        """Return those of the fold's rollouts."""
        return [series for series, f in zip(self.series, self.folds, strict=True) if f == fold]

    def of_all_but(self, fold: int) -> list[Series]:
        """Return those of all rollouts outside the fold."""
        return [series for series, f in zip(self.series, self.folds, strict=True) if f != fold]


@dataclass(frozen=True, eq=False)
class FittedScores:
    """Scores that learn no more, in a form that can be handed to another process.

    Attributes:
        scores: the K scores.
        window: over how many decisions each is averaged.
    """

    scores: tuple[FoldedScore, ...]
    window: int

    def of_rollout(self, rollout: Rollout) -> Series:
        """Return the windowed scores of a rollout by the models of the first fold."""
        return windowed_scores(self.scores, rollout, self.window)[:, 0]

    def __reduce__(self) -> tuple[Any, ...]:
        """Return what the scores are made of, as what runs a network cannot be handed over."""
        return _restored, ([(score.name, score.state()) for score in self.scores], self.window)


def _restored(scores: Sequence[tuple[str, ScoreState]], window: int) -> FittedScores:
    return FittedScores(tuple(restore_folded_score(*each) for each in scores), window)


def cross_fit(
    rollouts: Sequence[Rollout],
    recipe: Recipe,
    *,
    folds: int,
    executor: Executor | None = None,
    whole_tasks: bool = False,
    report: Callable[[str], None] = lambda step: None,
) -> HeldOutScores:
    """Score every rollout by scores fitted on the other folds.

    Args:
        rollouts: at least as many as folds.
        recipe: what is fitted.
        folds: into how many parts the rollouts are dealt, at least 2.
        executor: what fits them; None for this process.
        whole_tasks: whether rollouts of one task are of one fold; at least as many tasks as folds.
        report: receives each step, a sentence.
    """
    order = order_of_content(rollouts)
    tasks = [rollouts[place].task for place in order]
    dealt = (deal_tasks if whole_tasks else deal)(tasks, folds, recipe.seed)
    dealing = _Dealing(tuple(rollouts[place] for place in order), dealt, recipe)
    parts = dealing.parts()
    fitted = 0

    def finished(place: int) -> None:
        nonlocal fitted
        fitted += 1
        part = parts[place]
        of_folds = "" if part.fold is None else f", fold {part.fold + 1} of {folds}"
        report(f"{part.name} fitted{of_folds} ({fitted} of {len(parts)})")

    done = (executor or SerialExecutor()).map(
        _Dealing.fit, dealing, parts, finished=finished, lost=_unfitted
    )
    columns = np.empty((len(rollouts), len(recipe.scores)), dtype=object)
    scores = []
    for column, name in enumerate(recipe.scores):
        own = [each for part, each in zip(parts, done, strict=True) if part.name == name]
        for each in own:
            for place, values in each.held_out.items():
                columns[order[place], column] = values
        scores.append(_folded(name, own))
    folds_of_rollouts = np.empty(len(rollouts), dtype=np.int64)
    folds_of_rollouts[order] = dealt
    series = tuple(np.stack(list(of_rollout), axis=-1) for of_rollout in columns)
    return HeldOutScores(folds_of_rollouts, series, tuple(scores))


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


def deal_tasks(tasks: Sequence[str], folds: int, seed: int) -> NDArray[np.int64]:
    """Deal whole tasks into folds: return the fold of each rollout, (n,), given their n tasks."""
    names, task = np.unique(np.array(tasks), return_inverse=True)
    return np.asarray(deal([""] * len(names), folds, seed)[task])


@dataclass(frozen=True)
class _Part:
    """What is fitted at a time: a score for one fold, or for all that share its work.

    Attributes:
        name: of the score.
        fold: the fold; None for all.
    """

    name: str
    fold: int | None = None


@dataclass(frozen=True, eq=False)
class _Fitted:
    """A part after it was fitted.

    Attributes:
        held_out: the windowed score of the rollouts that it did not learn from, (T,) each, by
            their places in the dealing.
        score: the fitted score, or its state where it comes from another process.
    """

    held_out: dict[int, NDArray[np.float64]]
    score: FoldedScore | ScoreState

    def __getstate__(self) -> dict[str, Any]:
        """Return what can be handed to another process, as what runs a network cannot."""
        score = self.score
        return {**vars(self), "score": score.state() if isinstance(score, FoldedScore) else score}


@dataclass(frozen=True, eq=False)
class _Dealing:
    """Rollouts and their folds, and what is fitted on them.

    Attributes:
        rollouts: n of them, in order of their content.
        dealt: (n,), the fold of every rollout.
        recipe: what is fitted.
    """

    rollouts: tuple[Rollout, ...]
    dealt: NDArray[np.int64]
    recipe: Recipe

    def parts(self) -> list[_Part]:
        """Return all that is to be fitted."""
        parts = []
        for name in self.recipe.scores:
            if _shares_work(name):
                parts.append(_Part(name))
            else:
                parts += [_Part(name, fold) for fold in range(int(self.dealt.max()) + 1)]
        return parts

    def fit(self, part: _Part) -> _Fitted:
        """Fit a part, and score the rollouts that it did not learn from."""
        recipe, rollouts = self.recipe, self.rollouts
        if part.fold is None:
            kind = score_named(part.name)
            score = kind.fit_folds(rollouts, self.dealt, recipe.policy, recipe.seed)
        else:
            teachers = outside(part.fold, rollouts, self.dealt)
            score = FoldedScore([recipe.fit_one(part.name, teachers)])
        held_out = {}
        for place, (rollout, fold) in enumerate(zip(rollouts, self.dealt, strict=True)):
            if part.fold in (None, fold):
                values = score.held_out(rollout, 0 if part.fold is not None else int(fold))
                check_scores(values[:, np.newaxis], score, rollout)
                held_out[place] = windowed_mean(values, recipe.window)
        return _Fitted(held_out, score)


def _shares_work(name: str) -> bool:
    """Return whether a score fits the models of all folds together."""
    return score_named(name).fit_folds.__func__ is not Score.fit_folds.__func__  # type: ignore[attr-defined]


def _folded(name: str, fitted: Sequence[_Fitted]) -> FoldedScore:
    """Return a score with the models of all folds, from its parts in order of the folds."""
    scores = [
        restore_folded_score(name, each.score)
        if isinstance(each.score, ScoreState)
        else each.score
        for each in fitted
    ]
    if len(scores) == 1:
        return scores[0]
    return FoldedScore([model for score in scores for model in score.models])


def _unfitted(part: _Part, why: str) -> _Fitted:
    """Reject rollouts that no worker can fit a score on."""
    raise CalibrationError(
        f"to fit the score {part.name} {why}: give workers more memory, or have fewer at a time "
        "(--jobs)"
    )


def _by_one_model(scores: Sequence[Score], rollout: Rollout) -> Series:
    """Return the scores of a rollout by scores of one model, (T, K)."""
    return windowed_scores([FoldedScore([score]) for score in scores], rollout, window=1)[:, 0]
