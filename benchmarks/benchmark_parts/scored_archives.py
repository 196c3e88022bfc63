# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Every score of the rollouts of an archive, so that rules can be compared quickly.

Calibration rollouts are cross-fitted by rollout, as `failure-monitor calibrate` does it; the other
rollouts are scored by the models of every fold.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from failure_monitor import __version__
from failure_monitor.calibration.calibrate import largest_numbers, scales_of_other_folds
from failure_monitor.calibration.chosen_rollouts import choose
from failure_monitor.calibration.cross_fitting import HeldOutScores, Recipe, cross_fit
from failure_monitor.decision import Rollout
from failure_monitor.evaluation.metrics import Metrics, RolloutResult, measure
from failure_monitor.executors.process_executor import ProcessExecutor
from failure_monitor.monitoring.monitor import windowed_scores
from failure_monitor.scores.base.score import ScoreUndefinedError
from failure_monitor.sources.rollout_set import RolloutSet
from failure_monitor.sources.rollouts import read_rollouts
from failure_monitor.sources.source import Topics
from failure_monitor.thresholds.conformal import (
    Rule,
    Scale,
    finite_sample_quantile,
    windowed_mean,
)
from failure_monitor.thresholds.paired_threshold import paired_threshold

Series: TypeAlias = list[NDArray[np.float64]]
"""A value, or several, of every decision of every rollout."""


@dataclass(frozen=True)
class RuleOf:
    """A rule over scores: what `failure-monitor calibrate` is asked for."""

    scores: tuple[str, ...]
    rule: Rule = "mean"
    window: int = 3

    def __str__(self) -> str:
        return f"{self.rule} of {', '.join(self.scores)}; window {self.window}"


@dataclass(frozen=True, eq=False)
class ScoredArchive:
    """The scores of an archive's rollouts, decision by decision.

    Attributes:
        name: of the archive.
        folds: (n,), the fold of every calibration rollout.
        calibration: by score, the held-out values of every calibration rollout, n times (T,).
        tests: the other rollouts, m of them.
        test_scores: by score, their values, m times (T,).
        undefined: why a score means nothing here, by score.
        windowed: what was averaged over a window before, by score and window.
    """

    name: str
    folds: NDArray[np.int64]
    calibration: dict[str, list[NDArray[np.float64]]]
    tests: list[Rollout]
    test_scores: dict[str, list[NDArray[np.float64]]]
    undefined: dict[str, str]
    windowed: dict[tuple[str, int], tuple[Series, Series]] = field(default_factory=dict)

    def measure(self, of: RuleOf, alpha: float) -> tuple[Metrics, dict[str, Metrics]]:
        """Return the figures of a rule, over all tests and by their group."""
        return self.figures(self.results(of, alpha))

    def results(self, of: RuleOf, alpha: float) -> list[RolloutResult]:
        """Return what a rule says of every test."""
        calibration, tests = self._windowed(of)
        held_out = HeldOutScores(self.folds, tuple(calibration))
        scales = scales_of_other_folds(held_out, Scale)
        maxima = largest_numbers(held_out.series, scales, self.folds, of.rule)
        threshold = paired_threshold(of.rule, scales, maxima, self.folds, alpha)
        ends = np.cumsum([len(series) for series in tests])
        return self.at_levels(np.split(threshold.level(np.concatenate(tests)), ends[:-1]))

    def control(self, alpha: float) -> tuple[Metrics, dict[str, Metrics]]:
        """Return the figures of a stop-watch."""
        return self.figures(self.control_results(alpha))

    def control_results(self, alpha: float) -> list[RolloutResult]:
        """Return what a stop-watch says of every test."""
        lengths = np.array([float(n) for n in self._calibration_lengths()])
        limit = finite_sample_quantile(lengths, alpha)
        return self.at_levels([np.arange(1, len(test) + 1) / limit for test in self.tests])

    def at_levels(self, levels: Sequence[NDArray[np.float64]]) -> list[RolloutResult]:
        """Return what levels say of the tests: (T,) of each, above 1 an alarm."""
        early = float(np.median(self._calibration_lengths()))
        return [
            RolloutResult(test.name, bool(test.success), test.group, level, test.stamps, early)
            for test, level in zip(self.tests, levels, strict=True)
        ]

    @staticmethod
    def figures(results: Sequence[RolloutResult]) -> tuple[Metrics, dict[str, Metrics]]:
        """Return the figures of tests, of all and by their group."""
        longest = max(result.decisions for result in results)
        groups = sorted({result.group for result in results})
        return of_all(results), {
            group: measure([each for each in results if each.group == group], longest=longest)
            for group in groups
        }

    def _windowed(self, of: RuleOf) -> tuple[Series, Series]:
        """Return the windowed scores of calibration rollouts, (T, K), and of tests, (T, F, K)."""
        for name in of.scores:
            if (name, of.window) not in self.windowed:
                self.windowed[name, of.window] = (
                    _averaged(self.calibration[name], of.window),
                    _averaged(self.test_scores[name], of.window),
                )
        of_scores = [self.windowed[name, of.window] for name in of.scores]
        calibration, tests = zip(*of_scores, strict=True)
        return _side_by_side(calibration), _side_by_side(tests)

    def _calibration_lengths(self) -> list[int]:
        return [len(values) for values in next(iter(self.calibration.values()))]


def of_all(results: Sequence[RolloutResult]) -> Metrics:
    """Return the figures of tests."""
    return measure(results, longest=max(result.decisions for result in results))


def _averaged(scores: Series, window: int) -> Series:
    return [np.apply_along_axis(windowed_mean, 0, values, window) for values in scores]


def _side_by_side(columns: Sequence[Series]) -> Series:
    return [np.stack(of_rollout, axis=-1) for of_rollout in zip(*columns, strict=True)]


def score_archive(
    path: Path,
    scores: Sequence[str],
    *,
    seed: int,
    folds: int,
    jobs: int,
    cache: Path | None,
    report: Callable[[str], None],
) -> ScoredArchive:
    """Fit and apply the scores, or read from the cache what an earlier run found."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]

    def kept(name: str) -> Path | None:
        file = f"{digest}-{name}-{folds}-{seed}-{__version__}-folded.npz"
        return None if cache is None else cache / file

    return score_rollouts(
        path.stem,
        read_rollouts([path], Topics()),
        scores,
        seed=seed,
        folds=folds,
        jobs=jobs,
        report=report,
        kept=kept,
    )


def score_rollouts(
    title: str,
    rollout_set: RolloutSet,
    scores: Sequence[str],
    *,
    seed: int,
    folds: int,
    jobs: int,
    report: Callable[[str], None],
    kept: Callable[[str], Path | None] = lambda name: None,
) -> ScoredArchive:
    """Fit and apply the scores to rollouts of any source.

    Args:
        title: what reports call the rollouts.
        rollout_set: those to calibrate on and those to test on.
        scores: the names of the scores.
        seed: of the dealing into folds, and of the training.
        folds: how many.
        jobs: how many processes fit at a time.
        report: receives each step.
        kept: the file that keeps the values of a score; None for no file.
    """
    rollouts = choose(rollout_set.rollouts)[0]
    tests = [rollout for rollout in rollout_set.rollouts if rollout.calibration is False]
    scored = ScoredArchive(title, np.empty(0, np.int64), {}, tests, {}, {})
    for name in scores:
        file = kept(name)
        if file is None or not file.is_file():
            report(f"{title}, dealing {seed}: {name}")
            try:
                found = _score(name, rollout_set, rollouts, tests, seed, folds, jobs)
            except ScoreUndefinedError as error:
                scored.undefined[name] = str(error)
                continue
            if file is not None:
                file.parent.mkdir(parents=True, exist_ok=True)
                np.savez(file, **found)
        else:
            with np.load(file) as arrays:
                found = dict(arrays)
        scored.calibration[name] = _split(found["calibration"], rollouts)
        scored.test_scores[name] = _split(found["tests"], tests)
        object.__setattr__(scored, "folds", found["folds"])
    return scored


def _score(
    name: str,
    rollout_set: RolloutSet,
    rollouts: Sequence[Rollout],
    tests: Sequence[Rollout],
    seed: int,
    folds: int,
    jobs: int,
) -> dict[str, NDArray[np.generic]]:
    recipe = Recipe(rollout_set.policy, (name,), window=1, seed=seed)
    held_out = cross_fit(rollouts, recipe, folds=folds, executor=ProcessExecutor(jobs))
    return {
        "folds": held_out.folds,
        "calibration": np.concatenate(held_out.series)[:, 0],
        "tests": np.concatenate([windowed_scores(held_out.scores, test, 1) for test in tests])[
            ..., 0
        ],
    }


def _split(values: NDArray[np.float64], rollouts: Sequence[Rollout]) -> list[NDArray[np.float64]]:
    return np.split(values, np.cumsum([len(rollout) for rollout in rollouts])[:-1])
