# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The promise over recorded rollouts: what counts, in which order, and what is said."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from testbed.moving_rollouts import MOVING, moving_rollout
from testbed.synthetic import POLICY, synthetic_rollout

from failure_monitor.bundle.bundle import Bundle
from failure_monitor.calibration.calibrate import calibrate
from failure_monitor.calibration.settings import CalibrationSettings
from failure_monitor.decision import InvalidDecisionError, Rollout
from failure_monitor.evaluation.watched_promise import (
    PromiseError,
    finished_rollout,
    promise_course,
)
from failure_monitor.promise.watch import PromiseWord

HASH = "ab" * 32
YEAR_2000 = 946_684_800.0


@pytest.fixture(scope="module")
def made() -> Bundle:
    settings = CalibrationSettings(scores=("ace", "knn"), rule="mean", folds=5, jobs=1)
    return calibrate([synthetic_rollout(seed) for seed in range(20)], POLICY, settings)


def later(seed: int, at: float | None = None, **changed: object) -> Rollout:
    rollout = synthetic_rollout(seed)
    stamps = rollout.stamps + (YEAR_2000 + 100.0 * seed if at is None else at)
    return replace(rollout, stamps=stamps, **changed)


def drifted(rollout: Rollout, by: float) -> Rollout:
    return replace(rollout, embeddings=rollout.embeddings + np.float32(by))


def test_rollouts_like_those_of_calibration_keep_it(made):
    course = promise_course(made, HASH, [later(seed) for seed in range(100, 140)])
    assert course.state.word is not PromiseWord.BROKEN
    assert len(course.names) == len(course.states) == course.state.rollouts == 40
    assert not course.left_out


def test_a_lens_that_gets_dirty_breaks_it_with_the_first_rollouts_after_that(made):
    rollouts = [later(seed) for seed in range(100, 115)]
    rollouts += [drifted(later(seed), 0.2) for seed in range(115, 160)]
    course = promise_course(made, HASH, rollouts[::-1])
    assert course.names[0] == "rollout 100"
    assert course.state.word is PromiseWord.BROKEN
    assert course.state.broken_since > 15
    assert course.to_json()["course"][0]["word"] == "holds"


def test_rollouts_without_dates_stay_in_the_order_in_which_they_are_given(made):
    rollouts = [later(100, at=5.0), later(101, at=0.0), later(102)]
    assert promise_course(made, HASH, rollouts).names == (
        "rollout 100",
        "rollout 101",
        "rollout 102",
    )


def test_a_frozen_camera_breaks_it_too(made):
    frozen = synthetic_rollout(100).embeddings
    course = promise_course(
        made, HASH, [replace(later(seed), embeddings=frozen) for seed in range(100, 150)]
    )
    assert course.state.word is PromiseWord.BROKEN
    assert course.state.mostly == "knn"


def test_what_says_nothing_of_the_promise_is_left_out_and_counted(made):
    human = np.zeros(12, dtype=bool)
    human[3] = True
    course = promise_course(
        made,
        HASH,
        [
            later(3),
            later(101, success=False),
            later(102, success=None),
            later(103, interventions=human),
            later(104, calibration=True),
            later(105),
        ],
    )
    assert course.names == ("rollout 105",)
    assert course.left_out == {
        "set the thresholds, or is set apart for that": 2,
        "failed": 1,
        "has no outcome": 1,
        "a human acted in it": 1,
    }


def test_a_decision_beyond_the_limits_of_its_values_is_above_the_threshold(made):
    wild = later(100)
    wild.chunks[5] += 1e6
    assert finished_rollout(made, wild).level == np.inf
    assert promise_course(made, HASH, [wild]).state.above_threshold == 1


def test_a_rollout_that_lacks_what_a_score_needs_is_refused_and_no_alarm():
    rollouts = [moving_rollout(seed) for seed in range(10)]
    settings = CalibrationSettings(scores=("joint_effect",), folds=2, jobs=1)
    made = calibrate(rollouts, MOVING, settings)
    without = replace(moving_rollout(11), joints=None)
    with pytest.raises(InvalidDecisionError, match=f"{without.name}: what the joints did is not"):
        promise_course(made, HASH, [without])


def test_a_bundle_without_the_values_of_its_rollouts_is_rejected(made):
    sections = tuple(replace(each, max_level=None) for each in made.calibration)
    old = replace(made, description=replace(made.description, calibration=sections))
    with pytest.raises(PromiseError, match="an older version made it: calibrate again"):
        promise_course(old, HASH, [later(100)])


def test_a_promise_across_tasks_is_not_watched(made):
    across = replace(made, description=replace(made.description, promise="across-tasks"))
    with pytest.raises(PromiseError, match="rollouts of one task are more alike"):
        promise_course(across, HASH, [later(100)])
