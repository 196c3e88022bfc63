# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Evaluation counts false successes that the outcome check finds, and true ones that it doubts."""

from dataclasses import replace

import pytest
from testbed.synthetic import POLICY, synthetic_rollout

from failure_monitor.calibration.calibrate import calibrate
from failure_monitor.calibration.settings import CalibrationSettings
from failure_monitor.evaluation.evaluate import evaluate, text_tables
from failure_monitor.report.headline import evaluated
from failure_monitor.sources.rollout_set import RolloutSet

SETTINGS = CalibrationSettings(scores=("mahalanobis", "ace"), jobs=1)


def lasting(seed, **changed):
    return replace(synthetic_rollout(seed, decisions=10 + seed % 5), **changed)


def half_way(seed, **changed):
    return replace(lasting(seed).beginning(5), success=False, **changed)


@pytest.fixture(scope="module")
def bundle():
    return calibrate([lasting(seed) for seed in range(20)], POLICY, SETTINGS)


def evaluation(bundle, rollouts):
    return evaluate(bundle, RolloutSet(POLICY, tuple(rollouts)))


@pytest.fixture(scope="module")
def measured(bundle):
    return evaluation(
        bundle,
        [
            *(lasting(seed, claim=True, outcome_by="labels") for seed in range(100, 110)),
            *(lasting(seed) for seed in range(110, 120)),
            *(half_way(seed, claim=True, outcome_by="operator") for seed in range(120, 125)),
            half_way(126, claim=False),
            half_way(127),
            lasting(130, claim=True).beginning(2),
        ],
    )


def test_what_claims_success_is_counted_by_its_true_outcome(measured):
    found = measured.outcome
    false, true = found.false_successes, found.true_successes
    assert (false.rollouts, false.judged, false.doubted) == (5, 5, 5)
    assert (true.rollouts, true.judged, true.not_judged) == (21, 20, 1)
    assert true.doubted <= 6
    assert false.interval[1] == 1.0


def test_the_json_states_every_outcome_and_who_stated_the_true_one(measured):
    content = measured.to_json()["outcome_check"]
    assert content["alpha"] == 0.1
    assert content["false_successes"]["share"] == 1.0
    assert list(content["not_judged"].values()) == [1]
    by_name = {each["id"]: each for each in content["rollouts"]}
    assert len(by_name) == 26
    assert by_name["rollout 120"]["outcome"] == "doubtful"
    assert by_name["rollout 120"]["outcome_by"] == "operator"
    assert by_name["rollout 130"]["outcome"] == "not judged"


def test_the_table_states_what_is_promised_and_what_is_not(bundle, measured):
    (table,) = (t for t in text_tables(measured) if t.title.startswith("The outcome check"))
    assert table.rows[1][:4] == ("false successes", "5", "5", "5")
    assert "at most 0.1 of true successes" in table.caption
    assert "is not promised" in table.caption
    assert "Not judged, 1: it ended after 2 decisions" in table.caption
    assert any(
        "5 rollouts that claimed success and failed" in s for s in evaluated(bundle, measured)
    )


def test_a_bundle_without_a_check_has_no_such_table(bundle):
    without = replace(bundle, outcome_check=None)
    found = evaluation(without, [lasting(seed) for seed in range(100, 103)])
    assert found.to_json()["outcome_check"] is None
    assert not any(t.title.startswith("The outcome check") for t in text_tables(found))
