# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What steers is calibrated with the rule and kept in the bundle."""

import dataclasses

import numpy as np
import pytest
import yaml
from testbed.synthetic import POLICY, synthetic_rollout

from failure_monitor.bundle.bundle import Bundle, UnknownTaskError
from failure_monitor.bundle.folder import BundleError, load, save
from failure_monitor.calibration.calibrate import calibrate
from failure_monitor.calibration.horizon import calibrate_horizon, leading_actions
from failure_monitor.calibration.settings import CalibrationSettings
from failure_monitor.decision import Rollout
from failure_monitor.errors import UsageError
from failure_monitor.monitoring.response.chosen_chunk import chosen_chunk
from failure_monitor.monitoring.response.trusted_horizon import Dispersion

SETTINGS = CalibrationSettings(scores=("mahalanobis",), rule="any", window=2, folds=3, jobs=1)
EXECUTING = dataclasses.replace(POLICY, executed_actions=2)


@pytest.fixture(scope="module")
def steering_bundle(rollouts: list[Rollout]) -> Bundle:
    settings = dataclasses.replace(SETTINGS, choosers=("pseudo_count", "retrieval"))
    return calibrate(rollouts, EXECUTING, settings)


def test_leading_actions_reach_to_where_the_next_decision_takes_over():
    assert leading_actions(EXECUTING) == 3
    assert leading_actions(POLICY) == POLICY.horizon
    assert leading_actions(dataclasses.replace(POLICY, executed_actions=5)) == 5


def test_the_limit_is_an_order_statistic_of_cross_fitted_dispersions(rollouts):
    folds = np.arange(len(rollouts)) % 3
    section = calibrate_horizon(rollouts, (), EXECUTING, folds=folds, alpha=0.25)
    largest = []
    for rollout, fold in zip(rollouts, folds, strict=True):
        others = [r for r, f in zip(rollouts, folds, strict=True) if f != fold]
        largest.append(Dispersion.fit(others, EXECUTING, 3).largest(rollout))
    # ⌈13 · 0.75⌉ = 10
    assert section.limits == {"": pytest.approx(sorted(largest)[9])}
    np.testing.assert_allclose(section.usual, Dispersion.fit(rollouts, EXECUTING, 3).usual)


def test_what_is_usual_comes_from_the_rollouts_to_fit_on(rollouts):
    others = [synthetic_rollout(seed) for seed in range(50, 56)]
    section = calibrate_horizon(rollouts, others, EXECUTING, folds=np.zeros(6, int), alpha=0.25)
    dispersion = Dispersion.fit(others, EXECUTING, 3)
    np.testing.assert_allclose(section.usual, dispersion.usual)
    largest = sorted(dispersion.largest(rollout) for rollout in rollouts)
    assert section.limits == {"": pytest.approx(largest[9])}


def test_every_task_has_a_limit_of_its_own(rollouts):
    of_tasks = [
        dataclasses.replace(rollout, task=task, chunks=rollout.chunks * factor, sha256="")
        for task, factor in (("calm", np.float32(1.0)), ("wild", np.float32(3.0)))
        for rollout in rollouts
    ]
    calibrated = calibrate(of_tasks, EXECUTING, SETTINGS)
    limits = {task: calibrated.trusted_horizon(task).limit for task in ("calm", "wild")}
    assert limits["wild"] > 2 * limits["calm"]
    with pytest.raises(UnknownTaskError):
        calibrated.trusted_horizon("other")


def test_a_policy_that_is_never_unsure_has_no_trusted_horizon(rollouts, tmp_path):
    sure = [
        dataclasses.replace(rollout, chunks=np.repeat(rollout.chunks[:, :1], 16, axis=1))
        for rollout in rollouts
    ]
    save(calibrate(sure, EXECUTING, SETTINGS), tmp_path / "bundle")
    assert load(tmp_path / "bundle").trusted_horizon() is None


def test_it_is_the_same_after_writing_and_reading(steering_bundle, rollouts, tmp_path):
    save(steering_bundle, tmp_path / "bundle")
    read = load(tmp_path / "bundle")
    assert set(read.sample_scores) == {"medoid", "pseudo_count", "retrieval"}
    before, after = steering_bundle.trusted_horizon(), read.trusted_horizon()
    for decision in rollouts[3].decisions():
        assert after(decision.chunks) == before(decision.chunks)
        for name, score in steering_bundle.sample_scores.items():
            chosen = chosen_chunk(read.sample_scores[name], decision)
            assert chosen == chosen_chunk(score, decision)


def test_a_score_of_the_rule_that_can_choose_is_not_fitted_twice(rollouts):
    settings = dataclasses.replace(SETTINGS, scores=("retrieval",), choosers=("retrieval",))
    calibrated = calibrate(rollouts, POLICY, settings)
    assert calibrated.choosers == ()
    assert set(calibrated.sample_scores) == {"medoid", "retrieval"}


def test_choosers_change_nothing_of_the_rule(steering_bundle, rollouts):
    plain = calibrate(rollouts, EXECUTING, SETTINGS)
    assert plain.promise() == steering_bundle.promise()
    assert set(plain.sample_scores) == {"medoid"}


def test_a_score_that_cannot_choose_is_refused_with_those_that_can(rollouts):
    settings = dataclasses.replace(SETTINGS, choosers=("ace",))
    with pytest.raises(
        UsageError, match=r"'ace'.*choose by pseudo_count, retrieval; medoid needs"
    ):
        calibrate(rollouts, POLICY, settings)


def test_a_bundle_that_lacks_the_limit_of_a_task_is_refused(steering_bundle, tmp_path):
    save(steering_bundle, tmp_path / "bundle")
    description = tmp_path / "bundle" / "bundle.yaml"
    content = yaml.safe_load(description.read_text())
    content["steering"]["limits"] = {"other": 1.0}
    description.write_text(yaml.safe_dump(content))
    with pytest.raises(BundleError, match="trusted horizon needs a limit for every task"):
        load(tmp_path / "bundle")
