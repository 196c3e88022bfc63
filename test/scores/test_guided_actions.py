# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Real-time chunking: leading actions that are led to what is being executed do not scatter."""

import dataclasses

import numpy as np
import pytest
from testbed.moving_rollouts import MOVING, moving_rollout

from failure_monitor.calibration.horizon import calibrate_horizon, leading_actions
from failure_monitor.decision import InvalidDecisionError, Rollout
from failure_monitor.scores.base.score import ScoreUndefinedError
from failure_monitor.scores.registry import restore_score, score_named

GUIDED = 2
RTC = dataclasses.replace(MOVING, guided_actions=GUIDED)
OVER_SAMPLES = ("ace", "ace_per_dimension", "dispersion_profile", "stac", "stac_single")


def guided_rollout(seed: int) -> Rollout:
    """A rollout whose samples are the same over the first actions, as far as they are guided."""
    rollout = moving_rollout(seed)
    chunks = rollout.chunks.copy()
    chunks[:, :, :GUIDED] = chunks[:, :1, :GUIDED]
    return dataclasses.replace(rollout, chunks=chunks)


def guided_elsewhere(rollout: Rollout, seed: int = 0) -> Rollout:
    """The same plan beyond what is guided, which goes another way."""
    chunks = rollout.chunks.copy()
    shift = np.random.default_rng(seed).normal(size=(len(rollout), 1, GUIDED, 3))
    shift[:, :, -1] = -shift[:, :, :-1].sum(axis=2)
    chunks[:, :, :GUIDED] += shift.astype(np.float32)
    return dataclasses.replace(rollout, chunks=chunks)


@pytest.fixture(scope="module")
def rollouts():
    return [guided_rollout(seed) for seed in range(12)]


@pytest.mark.parametrize("name", OVER_SAMPLES)
def test_what_all_samples_are_led_to_does_not_count(rollouts, name):
    score = score_named(name).fit(rollouts[:-1], RTC)
    usual = score.score_rollout(rollouts[-1])
    np.testing.assert_allclose(
        score.score_rollout(guided_elsewhere(rollouts[-1])), usual, rtol=1e-4, atol=1e-5
    )
    if name == "dispersion_profile":
        return  # It leaves out what never varies in any case.
    over_all = score_named(name).fit(rollouts[:-1], MOVING)
    assert not np.allclose(over_all.score_rollout(rollouts[-1])[1:], usual[1:], rtol=1e-3)


@pytest.mark.parametrize("name", OVER_SAMPLES)
def test_a_stored_score_leaves_out_as_much(rollouts, name):
    score = score_named(name).fit(rollouts[:-1], RTC)
    np.testing.assert_array_equal(
        restore_score(name, score.state()).score_rollout(rollouts[-1]),
        score.score_rollout(rollouts[-1]),
    )


def test_a_tail_must_be_left():
    horizon = MOVING.horizon
    with pytest.raises(InvalidDecisionError, match=f"{horizon} leading actions .* cannot be led"):
        dataclasses.replace(MOVING, guided_actions=horizon)


@pytest.mark.parametrize("name", ["stac", "stac_single"])
def test_an_overlap_that_is_guided_throughout_is_refused(rollouts, name):
    whole = dataclasses.replace(RTC, guided_actions=3)
    with pytest.raises(ScoreUndefinedError, match=f"{name}: of 5 actions of a chunk 2 are exec"):
        score_named(name).fit(rollouts, whole)


@pytest.mark.parametrize("name", ["ace", "ace_per_dimension", "dispersion_profile", "stac"])
def test_samples_that_differ_where_they_are_guided_alone_are_refused(rollouts, name):
    chunks = [rollout.chunks.copy() for rollout in rollouts]
    for own in chunks:
        own[:, :, GUIDED:] = own[:, :1, GUIDED:]
        own[:, :, :GUIDED] += np.arange(own.shape[1])[np.newaxis, :, np.newaxis, np.newaxis]
    same = [dataclasses.replace(r, chunks=c) for r, c in zip(rollouts, chunks, strict=True)]
    with pytest.raises(ScoreUndefinedError, match=f"{name}: all sampled chunks .* are the same"):
        score_named(name).fit(same, RTC)


def test_the_trusted_horizon_is_measured_beyond_what_is_guided(rollouts):
    assert leading_actions(RTC) == 3
    assert leading_actions(dataclasses.replace(RTC, guided_actions=4)) == 5
    four = dataclasses.replace(MOVING, guided_actions=3)
    section = calibrate_horizon(rollouts, (), four, folds=np.arange(len(rollouts)) % 3, alpha=0.2)
    assert section is not None
    assert section.leading == 4
    assert min(section.usual) > 0


def test_the_trusted_horizon_has_as_many_leading_actions_as_the_stamps_tell(rollouts):
    # A decision every 0.1 s, which is three actions of these.
    stamped = dataclasses.replace(MOVING, executed_actions=None, control_period=0.1 / 3)
    assert leading_actions(stamped, rollouts) == 4
