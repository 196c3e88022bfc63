# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A number that another program computes is scored, calibrated and judged like any other."""

import dataclasses
import math

import numpy as np
import pytest

from failure_monitor.bundle.folder import load, save
from failure_monitor.calibration.calibrate import calibrate
from failure_monitor.calibration.settings import CalibrationSettings
from failure_monitor.decision import InvalidDecisionError
from failure_monitor.errors import UsageError
from failure_monitor.scores.base.score import ScoreUndefinedError
from failure_monitor.scores.registry import score_named


def with_energy(rollout, seed):
    energy = np.abs(np.random.default_rng(seed).normal(size=len(rollout)))
    return dataclasses.replace(rollout, external={"energy": energy})


@pytest.fixture(scope="module")
def energetic(rollouts):
    return [with_energy(rollout, seed) for seed, rollout in enumerate(rollouts)]


@pytest.fixture(scope="module")
def energy_bundle(energetic, policy, tmp_path_factory):
    settings = CalibrationSettings(
        scores=("external:energy", "ace"), rule="any", window=2, folds=3, jobs=1
    )
    folder = tmp_path_factory.mktemp("bundles") / "energy"
    save(calibrate(energetic, policy, settings), folder)
    return load(folder)


def test_it_is_calibrated_and_judged_like_any_other(energy_bundle, energetic):
    monitor = energy_bundle.monitor()
    first, second, *_ = energetic[0].decisions()
    assert not monitor.update(first).calls_for_alarm
    verdict = monitor.update(dataclasses.replace(second, external={"energy": 100.0}))
    assert verdict.calls_for_alarm
    assert verdict.scores[0].name == "external:energy"
    assert verdict.scores[0].windowed == pytest.approx((first.external["energy"] + 100) / 2)


def test_streaming_and_vectorised_forms_agree(energy_bundle, energetic):
    monitor = energy_bundle.monitor()
    streamed = [monitor.update(decision).level for decision in energetic[3].decisions()]
    np.testing.assert_allclose(energy_bundle.levels(energetic[3]), streamed, rtol=1e-6)


@pytest.mark.parametrize(
    ("external", "reason"),
    [
        ({}, "has no value of the score external:energy"),
        ({"mood": 1.0}, "has no value of the score external:energy"),
        ({"energy": math.nan}, "external:energy is nan at decision 0"),
        ({"energy": math.inf}, "external:energy is inf at decision 0"),
    ],
)
def test_a_value_that_is_missing_or_not_finite_is_refused(
    energy_bundle, energetic, external, reason
):
    decision = dataclasses.replace(next(energetic[0].decisions()), external=external)
    with pytest.raises(InvalidDecisionError, match=reason):
        energy_bundle.monitor().update(decision)


def test_a_rollout_without_it_cannot_calibrate_it(energetic, rollouts, policy):
    settings = CalibrationSettings(scores=("external:energy",), folds=3, jobs=1)
    with pytest.raises(ScoreUndefinedError, match="rollout 5 has no values of it"):
        calibrate([*energetic[:5], rollouts[5], *energetic[6:]], policy, settings)


@pytest.mark.parametrize("name", ["external:", "external:2nd", "external:a/b", "external:a b"])
def test_a_name_that_cannot_be_part_of_a_topic_is_refused(name):
    with pytest.raises(UsageError, match="letters, digits and underscores"):
        score_named(name)
