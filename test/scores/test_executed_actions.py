# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""How many actions of a chunk were executed, decision by decision, from stamps."""

import dataclasses
import math

import numpy as np
import pytest
from testbed.moving_rollouts import MOVING
from testbed.synthetic import POLICY, synthetic_rollout

from failure_monitor.bundle.folder import load, save
from failure_monitor.calibration.calibrate import calibrate
from failure_monitor.calibration.fitting.fit import fit_score
from failure_monitor.calibration.settings import CalibrationSettings
from failure_monitor.decision import InvalidDecisionError, Rollout
from failure_monitor.scores.base.commanded_places import CommandedPlaces
from failure_monitor.scores.base.executed_actions import ExecutedActions, usual_actions
from failure_monitor.scores.base.score import ScoreUndefinedError
from failure_monitor.scores.registry import restore_score
from failure_monitor.thresholds.conformal import CalibrationError

PERIOD = 0.05
STAMPED = dataclasses.replace(POLICY, action_kind="delta", control_period=PERIOD)
HORIZON = POLICY.horizon
SCORES = ("command_effect", "stac", "stac_single", "tracking")
EPOCH = 1.7e9
"""Seconds as clocks show them, whose last digits a float64 does not hold."""


def executing_rollout(seed: int, executed: list[int], *, start: float = 0.0) -> Rollout:
    """A robot that carries out so many actions of each chunk, and waits where a chunk ends."""
    random = np.random.default_rng(seed)
    decisions = len(executed) + 1
    rollout = synthetic_rollout(seed, decisions=decisions)
    chunks = rollout.chunks + 0.5 * random.normal(size=(decisions, 1, 1, 3)).astype(np.float32)
    moves = np.array([chunks[t, 0, :k].sum(axis=0) for t, k in enumerate(executed)])
    moves = moves.astype(np.float64).reshape(-1, 3)
    arm = np.concatenate([np.zeros((1, 3)), np.cumsum(moves, axis=0)])
    noise = 0.05 * random.normal(size=(decisions, 6))
    steps = np.concatenate([[0], np.cumsum(executed)])
    return dataclasses.replace(
        rollout,
        stamps=start + PERIOD * steps,
        chunks=chunks,
        embeddings=(np.concatenate([arm, arm**2 / 4], axis=1) + noise).astype(np.float32),
        positions=(0.9 * arm[:, :2] + noise[:, :2]).astype(np.float32),
    )


@pytest.mark.parametrize("most", [None, 3])
@pytest.mark.parametrize("period", [None, PERIOD])
def test_the_number_of_one_gap_is_that_of_many(period, most):
    executed = ExecutedActions(4, period, most)
    start = round(1e9 * EPOCH)
    random = np.random.default_rng(0)
    gaps = [*random.integers(-(10**9), 10**10, 500), *(25_000_000 * np.arange(9)), 10**17]
    for decisions in (1, 2):
        many = executed.counts(np.array(gaps, np.float64), decisions)
        one = [executed.between(start, start + int(gap), decisions) for gap in gaps]
        np.testing.assert_array_equal(one, many)


def irregular(seed: int, decisions: int = 20) -> list[int]:
    return np.random.default_rng(seed + 100).integers(1, HORIZON, size=decisions).tolist()


@pytest.fixture(scope="module")
def rollouts():
    return [executing_rollout(seed, irregular(seed), start=EPOCH) for seed in range(16)]


@pytest.fixture(scope="module")
def fitted(rollouts):
    return {name: fit_score(name, rollouts[:-1], STAMPED, seed=0) for name in SCORES}


def streamed(score, rollout):
    score.start_rollout()
    values = []
    for decision in rollout.decisions():
        is_defined = score.is_defined_for(decision)
        values.append(score.update(decision))
        assert is_defined == math.isfinite(values[-1])
    return np.array(values)


def counts(seconds, period=PERIOD):
    return ExecutedActions(2, period).counts(1e9 * np.array(seconds)).tolist()


def test_they_are_the_control_steps_between_two_stamps():
    assert counts([0.05, 0.1, 0.4, 5.0]) == [1, 2, 8, 100]
    # A camera's clock that jitters, and stamps in whole milliseconds.
    assert counts([0.031, 0.12, 0.383]) == [1, 2, 8]
    assert counts([0.067, 0.133, 0.167, 0.2], period=1 / 30) == [2, 4, 5, 6]


def test_a_repeated_decision_executes_nothing_and_a_clock_set_back_tells_nothing():
    assert counts([0.0, 0.02, -0.4]) == [0, 0, 2]


def test_half_a_step_counts_up_whatever_the_last_digit_of_a_stamp_is():
    assert counts([0.125, 0.125 - 3e-7, 0.125 + 3e-7]) == [3, 3, 3]


def test_without_a_control_period_the_number_is_the_constant():
    assert ExecutedActions(3).counts(1e9 * np.array([0.1, 7.0])).tolist() == [3, 3]


def test_a_robot_that_waits_for_its_policy_executes_no_more_than_its_queue_holds():
    queue = ExecutedActions(4, PERIOD, most=4)
    gaps = 1e9 * np.array([0.1, 0.2, 0.35, 0.9])
    assert queue.counts(gaps).tolist() == [2, 4, 4, 4]
    assert queue.counts(gaps, decisions=2).tolist() == [2, 4, 7, 8]
    assert ExecutedActions.from_parameters(queue.parameters()) == queue


@pytest.mark.parametrize("name", SCORES)
def test_how_long_the_policy_of_a_queue_decides_changes_nothing(rollouts, name):
    queue = dataclasses.replace(STAMPED, executed_actions=2, waits=True)
    score = fit_score(name, rollouts, queue, seed=0)
    rollout = executing_rollout(5, [2, 2, 2, 2, 2])
    slow = dataclasses.replace(rollout, stamps=rollout.stamps * 2.4)
    np.testing.assert_array_equal(score.score_rollout(slow), score.score_rollout(rollout))
    free = fit_score(name, rollouts, dataclasses.replace(queue, waits=False), seed=0)
    assert not np.array_equal(free.score_rollout(slow), free.score_rollout(rollout))


def test_the_usual_number_is_the_median_of_what_was_executed(rollouts):
    executed = [k for seed in range(16) for k in irregular(seed)]
    assert abs(usual_actions(STAMPED, rollouts) - np.median(executed)) <= 1
    still = [executing_rollout(0, [])]
    assert usual_actions(dataclasses.replace(STAMPED, executed_actions=3), still) == 3
    long = [executing_rollout(0, [HORIZON + 4, HORIZON + 4])]
    assert usual_actions(STAMPED, long) == HORIZON


@pytest.mark.parametrize("period", [0.0, -0.1, math.inf, math.nan])
def test_a_period_that_is_none_is_rejected(period):
    with pytest.raises(InvalidDecisionError, match=r"a control period of .* is invalid"):
        dataclasses.replace(POLICY, control_period=period)


@pytest.mark.parametrize("start", [0.0, EPOCH])
def test_commanded_places_are_exact_however_many_are_executed(start):
    executed = [2, 1, 4, HORIZON, 0, 3, HORIZON + 6, 2]
    rollout = executing_rollout(3, executed, start=start)
    places = CommandedPlaces(ExecutedActions(2, PERIOD), are_positions=False)
    found = np.concatenate(
        [places.add(d.stamp, d.chunks[0].astype(np.float64)) for d in rollout.decisions()]
    )
    moves = [rollout.chunks[t, 0, :k].astype(float).sum(axis=0) for t, k in enumerate(executed)]
    np.testing.assert_allclose(found[1:], np.cumsum(moves, axis=0), atol=1e-9)
    targets = CommandedPlaces(ExecutedActions(2, PERIOD), are_positions=True)
    found = np.concatenate(
        [targets.add(d.stamp, d.chunks[0].astype(np.float64)) for d in rollout.decisions()]
    )
    for t, k in enumerate(executed):
        expected = rollout.chunks[t, 0, min(k, HORIZON) - 1] if k else found[t]
        np.testing.assert_allclose(found[t + 1], expected)


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize("jitter", [0.0, 0.02])
def test_live_and_stored_decisions_have_the_same_score_to_the_bit(fitted, name, jitter):
    executed = [2, 1, 4, HORIZON, 3, 0, 2, 3 * HORIZON, 2, 2, 1]
    rollout = executing_rollout(50, executed, start=EPOCH)
    shifts = np.random.default_rng(0).uniform(0, jitter, size=len(rollout))
    shifted = dataclasses.replace(rollout, stamps=rollout.stamps + shifts)
    rounding = 1e-12 if name == "command_effect" else 0  # of a product of matrices
    np.testing.assert_allclose(
        fitted[name].score_rollout(shifted), streamed(fitted[name], shifted), rtol=rounding
    )


@pytest.mark.parametrize("name", SCORES)
def test_what_jitters_by_less_than_half_a_step_changes_nothing(fitted, rollouts, name):
    rollout = rollouts[-1]
    shifts = np.random.default_rng(0).uniform(-0.24, 0.24, size=len(rollout)) * PERIOD
    for stamps in (rollout.stamps + shifts, np.round(rollout.stamps, 3)):
        np.testing.assert_array_equal(
            fitted[name].score_rollout(dataclasses.replace(rollout, stamps=stamps)),
            fitted[name].score_rollout(rollout),
        )


@pytest.mark.parametrize(
    ("name", "undefined"),
    [
        ("command_effect", []),
        # Nothing overlaps after a chunk that was executed to its end.
        ("stac", [0, 4, 8]),
        ("stac_single", [0, 4, 8]),
        # Nothing was commanded before the sixth decision.
        ("tracking", [0, 6]),
    ],
)
def test_a_score_is_undefined_for_those_decisions_alone_that_it_means_nothing_for(
    fitted, name, undefined
):
    executed = [2, 1, 4, HORIZON, 3, 0, 2, 3 * HORIZON, 2, 2, 1]
    values = fitted[name].score_rollout(executing_rollout(50, executed))
    assert np.flatnonzero(np.isnan(values)).tolist() == undefined


@pytest.mark.parametrize("name", SCORES)
def test_a_robot_that_does_as_told_is_nominal_whatever_part_of_a_chunk_it_executes(
    fitted, rollouts, name
):
    usual = np.nanmax(fitted[name].score_rollout(rollouts[-1]))
    executed = [1, 4, 1, 4, 4, 1, HORIZON, 2, 2 * HORIZON, 3, 1, 2]
    values = fitted[name].score_rollout(executing_rollout(77, executed))
    assert np.nanmax(values) < 3 * usual


@pytest.mark.parametrize("name", ["command_effect", "tracking"])
def test_the_constant_cannot_say_that(rollouts, name):
    constant = dataclasses.replace(STAMPED, control_period=None, executed_actions=2)
    regular = [executing_rollout(seed, [2] * 20) for seed in range(15)]
    score = fit_score(name, regular, constant, seed=0)
    usual = np.nanmax(score.score_rollout(executing_rollout(99, [2] * 20)))
    whole = executing_rollout(77, [HORIZON, 1, HORIZON, 1, HORIZON, 1, HORIZON, HORIZON])
    assert np.nanmax(score.score_rollout(whole)) > 3 * usual


@pytest.mark.parametrize("name", SCORES)
def test_a_score_of_a_bundle_of_before_means_the_same(name):
    rollouts = [executing_rollout(seed, [2] * 20) for seed in range(12)]
    constant = dataclasses.replace(STAMPED, control_period=None, executed_actions=2)
    score = fit_score(name, rollouts[:-1], constant, seed=0)
    state = score.state()
    known = ("executed", "are_positions")
    before = dataclasses.replace(
        state, parameters={key: v for key, v in state.parameters.items() if key in known}
    )
    np.testing.assert_array_equal(
        restore_score(name, before).score_rollout(rollouts[-1]), score.score_rollout(rollouts[-1])
    )


def test_a_bundle_knows_the_period_and_the_monitor_says_what_calibration_says(rollouts, tmp_path):
    settings = CalibrationSettings(scores=SCORES, rule="mean", alpha=0.2, folds=2, jobs=1)
    save(calibrate(rollouts, STAMPED, settings), tmp_path / "bundle")
    bundle = load(tmp_path / "bundle")
    assert bundle.policy.control_period == PERIOD
    executed = [2, 1, 4, HORIZON, 3, 0, 2, 3 * HORIZON, 2, 2, 1]
    rollout = executing_rollout(50, executed, start=EPOCH)
    monitor = bundle.monitor()
    levels = [monitor.update(decision).level for decision in rollout.decisions()]
    np.testing.assert_allclose(bundle.levels(rollout), levels, rtol=1e-12)


@pytest.mark.parametrize("name", ["stac", "stac_single"])
def test_chunks_that_are_executed_whole_are_refused_by_the_stamps_too(name):
    whole = [executing_rollout(seed, [HORIZON] * 8) for seed in range(6)]
    with pytest.raises(ScoreUndefinedError, match=f"{name}: all {HORIZON} actions of a chunk"):
        fit_score(name, whole, STAMPED, seed=0)


@pytest.mark.parametrize("name", SCORES)
def test_one_of_the_two_must_be_known(rollouts, name):
    unknown = dataclasses.replace(MOVING, executed_actions=None)
    with pytest.raises(
        ScoreUndefinedError, match=f"{name}: .* --control-period SECONDS.*--executed-actions"
    ):
        fit_score(name, rollouts, unknown, seed=0)


def test_a_period_in_milliseconds_is_rejected_and_a_short_one_is_told(rollouts):
    settings = CalibrationSettings(scores=("ace",), alpha=0.2, folds=2, jobs=1)
    long = dataclasses.replace(STAMPED, control_period=50.0)
    with pytest.raises(CalibrationError, match=r"a decision comes every .* period is 50 s"):
        calibrate(rollouts, long, settings)
    told: list[str] = []
    short = dataclasses.replace(STAMPED, control_period=PERIOD / 20)
    calibrate(rollouts, short, settings, report=told.append)
    assert any("the robot waits for most of the time, or the control" in line for line in told)
    told.clear()
    calibrate(rollouts, STAMPED, settings, report=told.append)
    assert not any("control period" in line for line in told)


# Decisions that were not seen


def seen_after_a_gap(places, rollout, *, missing: range):
    """The commanded places at the decisions that are seen."""
    found = {}
    for number, decision in enumerate(rollout.decisions()):
        if number in missing:
            places.skip(1)
            continue
        is_known = places.is_known(decision.stamp)
        own = places.add(decision.stamp, decision.chunks[0].astype(np.float64))
        assert bool(own) == is_known
        if own:
            assert len(own) == 1 + (len(missing) if number == missing.stop else 0)
            found[number] = own[-1]
    return found


def planned_rollout(executed: int, decisions: int = 8) -> Rollout:
    """A policy that executes what it has planned."""
    plan = np.cumsum(np.random.default_rng(0).normal(size=(99, 3)), axis=0).astype(np.float32)
    starts = executed * np.arange(decisions)
    chunks = np.stack([plan[start : start + HORIZON] for start in starts])
    rollout = synthetic_rollout(0, decisions=decisions)
    return dataclasses.replace(
        rollout, stamps=PERIOD * starts, chunks=np.repeat(chunks[:, np.newaxis], 8, axis=1)
    )


@pytest.mark.parametrize("period", [PERIOD, None])
@pytest.mark.parametrize("are_positions", [False, True])
def test_what_was_planned_for_the_time_of_an_unseen_decision_counts_as_executed(
    period, are_positions
):
    rollout = planned_rollout(2)
    whole = CommandedPlaces(ExecutedActions(2, period), are_positions=are_positions)
    gap = CommandedPlaces(ExecutedActions(2, period), are_positions=are_positions)
    all_of_them = seen_after_a_gap(whole, rollout, missing=range(0))
    found = seen_after_a_gap(gap, rollout, missing=range(3, 4))
    assert list(found) == [0, 1, 2, 4, 5, 6, 7]
    for number, place in found.items():
        np.testing.assert_allclose(place, all_of_them[number], rtol=1e-9, err_msg=str(number))


@pytest.mark.parametrize("period", [PERIOD, None])
def test_beyond_the_plan_positions_are_known_again_with_the_next_decision(period):
    rollout = planned_rollout(2)
    found = seen_after_a_gap(
        CommandedPlaces(ExecutedActions(2, period), are_positions=True),
        rollout,
        missing=range(2, 5),
    )
    np.testing.assert_array_equal(found[5], rollout.chunks[5, 0, 0])
    np.testing.assert_array_equal(found[6], rollout.chunks[5, 0, 1])


@pytest.mark.parametrize("period", [PERIOD, None])
def test_beyond_the_plan_deltas_go_on_for_as_long_as_a_chunk_lasts_and_no_longer(period):
    rollout = planned_rollout(2, decisions=12)
    whole = seen_after_a_gap(
        CommandedPlaces(ExecutedActions(2, period), are_positions=False), rollout, missing=range(0)
    )
    bridged = seen_after_a_gap(
        CommandedPlaces(ExecutedActions(2, period), are_positions=False),
        rollout,
        missing=range(2, 5),
    )
    steps = np.abs(rollout.chunks[1:6, 0]).max()
    # Three actions are not planned, of eight in the gap.
    assert np.abs(bridged[5] - whole[5]).max() < 3 * steps
    np.testing.assert_allclose(bridged[11] - bridged[5], whole[11] - whole[5], rtol=1e-6)
    lost = seen_after_a_gap(
        CommandedPlaces(ExecutedActions(2, period), are_positions=False),
        rollout,
        missing=range(2, 8),
    )
    assert list(lost) == [0, 1]


@pytest.mark.parametrize("are_positions", [False, True])
def test_a_first_decision_that_was_not_seen_ends_nothing(are_positions):
    rollout = planned_rollout(2)
    places = CommandedPlaces(ExecutedActions(2, PERIOD), are_positions=are_positions)
    found = seen_after_a_gap(places, rollout, missing=range(1))
    assert list(found) == [1, 2, 3, 4, 5, 6, 7]
    start = rollout.chunks[1, 0, 0]
    np.testing.assert_allclose(found[1], start if are_positions else 2 * start, rtol=1e-6)


def test_after_a_stop_a_position_is_a_new_start_and_a_sum_is_unknown():
    rollout = planned_rollout(2)
    first, second, third, *_ = rollout.decisions()
    for are_positions in (False, True):
        places = CommandedPlaces(ExecutedActions(2, PERIOD), are_positions=are_positions)
        for decision in (first, second):
            places.add(decision.stamp, decision.chunks[0].astype(np.float64))
        places.stop()
        found = places.add(third.stamp, third.chunks[0].astype(np.float64))
        if are_positions:
            np.testing.assert_array_equal(found, third.chunks[:1, 0])
        else:
            assert found == []


def test_a_fault_is_still_seen_after_a_decision_that_was_lost(rollouts):
    """An arm that is stuck after a burst raises the score as it does without the gap."""
    score = fit_score("command_effect", rollouts[:-1], STAMPED, seed=0)
    rollout = rollouts[-1]
    stuck = rollout.embeddings.copy()
    stuck[8:] = stuck[8]
    rollout = dataclasses.replace(rollout, embeddings=stuck)
    score.start_rollout()
    values = []
    for number, decision in enumerate(rollout.decisions()):
        if number == 5:
            score.resume(6)
        else:
            values.append(score.update(decision))
    assert np.isfinite(values).all()
    usual = np.max(score.score_rollout(rollouts[-1]))
    assert np.median(values[-5:]) > 2 * usual
