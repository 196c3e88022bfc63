# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Where rollouts lie among those of calibration, and what is said of the promise."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from failure_monitor.bundle.folder import load
from failure_monitor.decision import ScoreVerdict, Verdict
from failure_monitor.promise.finished_rollout import FinishedRollout, LargestValues
from failure_monitor.promise.martingale import Direction
from failure_monitor.promise.reference import Place, Reference, references
from failure_monitor.promise.watch import ALARMS, PromiseWatch, PromiseWord
from failure_monitor.thresholds.conformal import rank

HASH = "ab" * 32
ALPHA = 0.1
FOLDS = np.arange(20) % 2


def reference(levels, scores=(), values=None, *, task="") -> Reference:
    """Calibration rollouts of these levels, the limit at 1."""
    levels = np.sort(np.array(levels, dtype=float))
    k = rank(len(levels), ALPHA)
    levels = levels / levels[k - 1]
    values = np.zeros((len(levels), 0)) if values is None else np.array(values, dtype=float)
    lots = np.random.default_rng(0).random(len(levels))
    return Reference(
        task, k, levels, lots, tuple(scores), values[: k - 1], lots[: k - 1], FOLDS[: k - 1], 7
    )


def finished(level, task="", **scores) -> FinishedRollout:
    return FinishedRollout(task, level, None, scores)


def test_a_rollout_lies_above_those_of_calibration_that_are_below_it():
    ten = reference(range(1, 11))
    assert ten.place(finished(0.01), 0) == Place((0,))
    assert ten.place(finished(0.35), 0) == Place((3,))
    assert ten.place(finished(0.999), 0) == Place((9,))
    assert ten.place(finished(1.001), 0).is_above_threshold
    assert ten.place(finished(math.inf), 0).is_above_threshold


def test_the_bundles_count_goes_before_levels():
    ten = reference(range(1, 11))
    assert ten.place(replace(finished(0.35), rollouts_below=5), 0) == Place((5,))
    assert ten.place(replace(finished(0.35), rollouts_below=10), 0).is_above_threshold


def test_scores_are_compared_with_rollouts_below_the_threshold_alone():
    two = reference(range(1, 21), ("a", "b"), [[i, -i] for i in range(20)])
    assert two.place(finished(0.5, a=100.0, b=-7.5), 0).cells[1:] == (18, 10)
    assert two.place(finished(0.5, a=100.0), 0).cells[1:] == (18, 0)


def test_each_calibration_rollout_is_compared_by_the_models_of_its_own_fold():
    two = reference(range(1, 21), ("a", "b"), [[10.0, 10.0]] * 20)
    by_fold = np.array([[11.0, np.nan], [9.0, 11.0]])
    place = two.place(replace(finished(0.5, a=9.0), by_fold=by_fold), 0)
    # Of 18 rollouts below the threshold, nine are of each fold.
    assert place.cells[1:] == (9, 9)


def test_equal_values_are_put_in_order_by_lot_and_always_alike():
    same = reference([1.0] * 20)
    places = [same.place(finished(1.0), number) for number in range(400)]
    assert places == [same.place(finished(1.0), number) for number in range(400)]
    above = sum(place.is_above_threshold for place in places)
    assert 10 < above < 80
    cells = [place.cells[0] for place in places if place.cells]
    assert set(cells) == set(range(19)) or len(set(cells)) > 12


def test_all_values_equal_break_nothing():
    watch = PromiseWatch([reference([1.0] * 20, ("a", "b"), np.ones((20, 2)))])
    for _ in range(100):
        add(watch, finished(1.0, a=1.0, b=1.0))
    assert watch.state.word is PromiseWord.HOLDS


def add(watch: PromiseWatch, rollout: FinishedRollout):
    return watch.add(rollout.task, watch.place(rollout))


def test_it_holds_while_rollouts_are_like_calibration():
    random = np.random.default_rng(0)
    watch = PromiseWatch([reference(random.random(20))])
    assert "no rollout that counts has ended yet" in watch.state.text
    for level in random.random(100):
        add(watch, finished(level))
    assert watch.state.word is PromiseWord.HOLDS
    assert watch.state.text.startswith("holds; 100 rollouts, ")


@pytest.mark.parametrize(
    ("shift", "direction"), [(0.5, Direction.HIGHER), (-0.5, Direction.LOWER)]
)
def test_one_score_that_shifts_either_way_breaks_it_by_name(shift, direction):
    random = np.random.default_rng(1)
    watch = PromiseWatch([reference(range(20), ("calm", "shifted"), random.random((20, 2)))])
    words = []
    for _ in range(60):
        level, calm, shifted = random.random(3)
        words.append(add(watch, finished(0.9 * level, calm=calm, shifted=shifted + shift)).word)
    assert words[0] is PromiseWord.HOLDS
    assert PromiseWord.DOUBTFUL in words
    broke = words.index(PromiseWord.BROKEN)
    assert set(words[broke:]) == {PromiseWord.BROKEN}
    state = watch.state
    assert state.broken_since == broke + 1
    assert (state.mostly, state.direction) == ("shifted", direction)
    assert f"mostly by shifted, which is {direction.value} in calibration" in state.text


def test_a_frozen_camera_breaks_it():
    random = np.random.default_rng(2)
    watch = PromiseWatch([reference(range(20), ("a", "b"), random.random((20, 2)))])
    for _ in range(40):
        add(watch, finished(0.9 * random.random(), a=random.random(), b=0.5))
    assert (watch.state.word, watch.state.mostly) == (PromiseWord.BROKEN, "b")
    assert watch.state.direction is Direction.ALIKE


def test_too_many_alarms_break_it_though_no_more_is_known_of_them():
    watch = PromiseWatch([reference(range(1, 21))])
    random = np.random.default_rng(3)
    for number in range(80):
        add(watch, finished(2.0 if number % 2 else 0.95 * random.random()))
    assert (watch.state.word, watch.state.mostly) == (PromiseWord.BROKEN, ALARMS)
    assert "more rollouts exceed the threshold than promised" in watch.state.text


def test_broken_stays_broken():
    watch = PromiseWatch([reference(range(1, 21))])
    for _ in range(30):
        add(watch, finished(0.01))
    since = watch.state.broken_since
    for level in np.random.default_rng(4).random(300):
        add(watch, finished(level))
    assert watch.state.broken_since == since


def test_a_smaller_delta_asks_for_more():
    since = []
    for delta in (0.1, 0.01, 0.0001):
        watch = PromiseWatch([reference(range(1, 21))], delta)
        while watch.state.word is not PromiseWord.BROKEN:
            add(watch, finished(0.01))
        since.append(watch.rollouts)
    assert since == sorted(since)
    assert since[0] < since[-1]


def test_tasks_are_compared_with_their_own_rollouts():
    watch = PromiseWatch(
        [reference(range(1, 21), task="easy"), reference(range(1, 11), task="hard")]
    )
    while watch.state.word is not PromiseWord.BROKEN:
        add(watch, finished(0.5, "easy"))
        add(watch, finished(0.01, "hard"))
        assert watch.rollouts < 200
    assert watch.state.task in ("easy", "hard")
    assert f"in the task '{watch.state.task}'" in watch.state.text


def test_the_largest_values_of_a_rollout_are_kept():
    largest = LargestValues("t")
    assert largest.finished is None

    def verdict(level, below, a):
        scores = (ScoreVerdict("a", a, a, 2.0), ScoreVerdict("b", math.nan, math.nan, 1.0))
        return Verdict(0, 0, scores, "mean", level, rollouts=20, rollouts_below=below)

    for level, below, a in ((0.2, 3, 1.0), (0.9, 12, 3.0), (0.1, 1, -4.0)):
        largest.update(verdict(level, below, a))
    assert largest.finished == FinishedRollout("t", 0.9, 12, {"a": 1.5})
    largest.update(verdict(math.nan, 0, 0.0))
    assert largest.finished.level == math.inf


def test_a_bundle_gives_its_calibration_rollouts(bundle):
    (known,) = references(bundle.description, HASH)
    assert known.rollouts == len(bundle.calibration)
    assert known.rank == bundle.description.promises[0].rank
    assert (known.levels > 1 + 1e-6).sum() == known.rollouts - known.rank
    without = replace(
        bundle.description,
        calibration=tuple(replace(each, max_level=None) for each in bundle.calibration),
    )
    assert references(without, HASH) == ()


def test_a_bundle_of_version_1_is_not_watched():
    # Its calibration rollouts were scored by less than what scores new ones, which are lower.
    old = Path(__file__).parents[1] / "bundle" / "version_1" / "mean"
    assert references(load(old).description, HASH) == ()
