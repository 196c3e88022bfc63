# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A decision that nobody could judge counts, and what depends on it is undefined, not wrong."""

import dataclasses
import math

import numpy as np
import pytest
from testbed.synthetic import POLICY, synthetic_rollout

from failure_monitor.calibration.calibrate import calibrate
from failure_monitor.calibration.fitting.fit import fit_score
from failure_monitor.calibration.settings import CalibrationSettings
from failure_monitor.decision import ScoreVerdict, Verdict
from failure_monitor.monitoring.alarm import Alarm, AlarmState
from failure_monitor.scores.base.score import TimedScore

OWN_NUMBER = ("elapsed_time", "lag", "chunk_lag", "phase_knn", "dispersion_profile")
OF_TWO_DECISIONS = ("one_step", "stac", "stac_single")
OF_ONE_DECISION = ("ace", "knn", "kinematics", "external:energy")


@pytest.fixture(scope="module")
def moving():
    """Rollouts whose embeddings follow from the commands, for every score to mean something."""
    policy = dataclasses.replace(POLICY, executed_actions=2)
    rollouts = []
    for seed in range(12):
        rollout = synthetic_rollout(seed)
        rng = np.random.default_rng(seed)
        chunks = rollout.chunks + rng.normal(size=(12, 1, 1, 3)).astype(np.float32)
        place = np.cumsum(chunks[:, 0, :2].sum(axis=1), axis=0) - chunks[:, 0, :2].sum(axis=1)
        embeddings = np.concatenate([place, place**2], axis=1)
        rollouts.append(
            dataclasses.replace(
                rollout,
                chunks=chunks,
                embeddings=embeddings.astype(np.float32),
                external={"energy": rng.random(12)},
            )
        )
    return rollouts, policy


def streamed_with_a_gap(score, rollout, *, first, last):
    """The scores, where the decisions from first to before last go by unseen."""
    score.start_rollout()
    values = []
    for number, decision in enumerate(rollout.decisions()):
        if number == last:
            score.resume(last)
        if first <= number < last:
            values.append(math.nan)
            continue
        is_defined = score.is_defined_for(decision)
        values.append(score.update(decision))
        assert is_defined == (not math.isnan(values[-1]))
    return np.array(values)


@pytest.mark.parametrize("name", [*OWN_NUMBER, *OF_ONE_DECISION])
def test_a_score_of_one_decision_is_the_same_after_a_gap(moving, name):
    rollouts, policy = moving
    score = fit_score(name, rollouts[1:], policy, seed=0)
    values = streamed_with_a_gap(score, rollouts[0], first=4, last=7)
    whole = score.score_rollout(rollouts[0])
    np.testing.assert_allclose(values[:4], whole[:4], rtol=1e-5)
    np.testing.assert_allclose(values[7:], whole[7:], rtol=1e-5)


@pytest.mark.parametrize("name", OF_TWO_DECISIONS)
def test_a_score_of_two_decisions_is_undefined_once_after_a_gap(moving, name):
    rollouts, policy = moving
    score = fit_score(name, rollouts[1:], policy, seed=0)
    values = streamed_with_a_gap(score, rollouts[0], first=4, last=7)
    whole = score.score_rollout(rollouts[0])
    assert math.isnan(values[7])
    np.testing.assert_allclose(values[8:], whole[8:], rtol=1e-4)


def test_the_effect_of_all_commands_is_undefined_after_a_stop_until_the_next_rollout(moving):
    rollouts, policy = moving
    score = fit_score("command_effect", rollouts[1:], policy, seed=0)
    first, second, *others = rollouts[0].decisions()
    score.update(first)
    score.update(second)
    score.resume(2, stopped=True)
    for decision in others:
        assert not score.is_defined_for(decision)
        assert math.isnan(score.update(decision))
    score.start_rollout()
    assert math.isfinite(score.update(first))


def test_scores_that_count_decisions_say_that_they_follow_the_rollout(moving):
    rollouts, policy = moving
    for name in (*OWN_NUMBER, "command_effect"):
        assert fit_score(name, rollouts, policy, seed=0).follows_rollout
    for name in (*OF_TWO_DECISIONS, *OF_ONE_DECISION):
        score = fit_score(name, rollouts, policy, seed=0)
        assert not score.follows_rollout
        assert not isinstance(score, TimedScore)


def test_a_decision_after_a_gap_has_the_threshold_of_its_number(time_varying_bundle, rollouts):
    decisions = list(rollouts[0].decisions())
    monitor = time_varying_bundle.monitor()
    seen = [monitor.update(decision) for decision in decisions]
    monitor.start_rollout()
    for decision in decisions[:5]:
        monitor.update(decision)
    monitor.skip(3)
    verdict = monitor.update(decisions[8])
    assert verdict.index == 8
    assert [s.threshold for s in verdict.scores] == [s.threshold for s in seen[8].scores]


def test_the_window_holds_nothing_from_before_a_gap_that_is_as_long(bundle, rollouts):
    decisions = list(rollouts[0].decisions())
    monitor = bundle.monitor()
    for decision in decisions[:5]:
        monitor.update(decision)
    monitor.skip(1)
    verdict = monitor.update(decisions[6])
    assert bundle.description.window == 2
    assert [score.windowed for score in verdict.scores] == [s.value for s in verdict.scores]


@pytest.mark.law(9)
def test_after_the_policy_was_stopped_the_window_holds_nothing_of_what_it_decided_before(
    bundle, rollouts
):
    monitor, fresh = bundle.monitor(), bundle.monitor()
    first, strange, *others = rollouts[0].decisions()
    monitor.update(first)
    far = dataclasses.replace(strange, embedding=strange.embedding + 5)
    assert monitor.update(far).calls_for_alarm
    monitor.resume()
    verdict = monitor.update(others[0])
    assert not verdict.calls_for_alarm
    assert verdict.index == 2
    fresh.skip(2)
    assert verdict.level == fresh.update(others[0]).level


def test_all_of_the_scores_cannot_say_nominal_while_one_of_them_is_undefined(moving):
    rollouts, policy = moving
    settings = CalibrationSettings(
        scores=("stac", "knn"), rule="all", alpha=0.2, window=2, folds=3, jobs=1
    )
    monitor = calibrate(rollouts, policy, settings).monitor()
    decisions = list(rollouts[0].decisions())
    assert monitor.update(decisions[0]).is_undefined
    assert not monitor.update(decisions[1]).is_undefined
    monitor.skip(2)
    assert monitor.update(decisions[4]).is_undefined


@pytest.mark.parametrize(("rule", "silent"), [("all", True), ("any", False), ("mean", False)])
def test_a_rule_is_silent_where_it_could_not_alarm(rule, silent):
    scores = (ScoreVerdict("stac", math.nan, math.nan, 1.0), ScoreVerdict("knn", 0.1, 0.1, 1.0))
    verdict = Verdict(0, 0, scores, rule, 0.0)
    assert verdict.is_undefined == silent
    alarm = Alarm(max_decision_age=1.0)
    alarm.start_rollout()
    alarm.update(verdict, received=0.0, now=0.0)
    assert alarm.status(0.0).state == (AlarmState.STALE if silent else AlarmState.NOMINAL)
