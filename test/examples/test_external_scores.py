# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The examples of scores from outside, each with a stand-in for its model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from testbed.outside_models import DECISIONS, FAILS_AT, SCORES, rollout, scores_of
from testbed.synthetic import POLICY, synthetic_rollout

from examples.external_scores.confidence import confidence_score
from failure_monitor.calibration.calibrate import calibrate
from failure_monitor.calibration.settings import CalibrationSettings
from failure_monitor.evaluation.evaluate import evaluate
from failure_monitor.sources.rollout_set import RolloutSet


@pytest.mark.parametrize("kind", SCORES)
def test_each_score_rises_where_its_own_kind_of_failure_begins(kind):
    usual = [scores_of(seen)[SCORES[kind]] for seed in range(5) for seen in rollout(seed)]
    wrong = [scores_of(seen)[SCORES[kind]] for seed in range(5) for seen in rollout(seed, kind)]
    usual, wrong = (np.reshape(each, (-1, DECISIONS)) for each in (usual, wrong))
    assert (wrong[:, -1] > usual[:, -1].max()).all()
    np.testing.assert_array_equal(wrong[:, :FAILS_AT], usual[:, :FAILS_AT])


@pytest.mark.parametrize("kind", SCORES)
def test_each_score_alone_finds_its_own_kind_of_failure(kind):
    def scored(seed: int, fault: str = ""):
        values = [scores_of(seen)[SCORES[kind]] for seen in rollout(seed, fault)]
        made = synthetic_rollout(seed, decisions=DECISIONS, success=not fault)
        return replace(made, external={SCORES[kind]: np.array(values)})

    settings = CalibrationSettings(
        scores=(f"external:{SCORES[kind]}",), threshold="time-varying", window=2, jobs=1
    )
    bundle = calibrate([scored(seed) for seed in range(20000, 20020)], POLICY, settings)
    tested = [scored(seed) for seed in range(20100, 20120)]
    tested += [scored(seed, kind) for seed in range(20200, 20210)]
    found = evaluate(bundle, RolloutSet(POLICY, tuple(tested)))
    assert found.metrics.overall.tpr == 1.0
    assert found.metrics.overall.tnr >= 0.75


def test_surprise_is_the_cross_entropy_of_what_was_emitted():
    logits = np.log(np.array([[0.5, 0.25, 0.25], [0.1, 0.8, 0.1]], np.float32))
    found = confidence_score(logits + 700, np.array([0, 1]))["surprise"]
    assert found == pytest.approx(-(np.log(0.5) + np.log(0.8)) / 2, abs=1e-4)
