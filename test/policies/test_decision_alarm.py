# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The monitor in the policy's process fails closed, with the sentences of the monitor node."""

import re
from dataclasses import replace

import numpy as np
import pytest
from testbed.synthetic import synthetic_rollout

from failure_monitor.bundle.additions import with_stated_policy
from failure_monitor.calibration.calibrate import calibrate
from failure_monitor.calibration.settings import CalibrationSettings
from failure_monitor.errors import UsageError
from failure_monitor.monitoring.alarm import AlarmState
from failure_monitor.policies.decision_alarm import DecisionAlarm
from failure_monitor.policies.watched_decision import WatchedDecision
from failure_monitor.policy_description import PolicyDescription


def decisions():
    return [
        WatchedDecision(decision.embedding, decision.chunks)
        for decision in synthetic_rollout(3).decisions()
    ]


@pytest.fixture
def alarm(bundle):
    return DecisionAlarm(bundle, "")


def decide(alarm, decision, now=1.0):
    alarm.decide(decision, round(1e9 * now), now)
    return alarm.status(now)


def test_a_usual_rollout_is_permitted_once_it_has_begun(alarm):
    assert not alarm.status(0.0).permit
    for index, decision in enumerate(decisions()):
        assert decide(alarm, decision, 0.1 * index).permit
    assert alarm.verdict.index == index


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"embedding": np.full(6, np.nan, np.float32)}, "values are NaN"),
        ({"embedding": np.zeros(5, np.float32)}, r"shape \(5,\), expected \(6,\)"),
        ({"chunks": np.zeros((1, 5, 3), np.float32)}, r"shape \(1, 5, 3\)"),
        ({"chunks": None}, "the scoring failed: AttributeError"),
    ],
)
def test_a_decision_that_cannot_be_scored_halts_until_a_reset(alarm, change, why):
    first = decisions()[0]
    assert decide(alarm, first).permit
    status = decide(alarm, replace(first, **change))
    assert (status.permit, status.halted, status.state) == (False, True, AlarmState.ALARM)
    assert re.search(why, status.reason)
    assert not decide(alarm, first).permit
    alarm.start_rollout(2.0)
    assert not alarm.status(2.0).halted
    assert decide(alarm, first, 2.0).permit


def test_a_late_decision_halts_even_if_it_comes(alarm, bundle):
    assert decide(alarm, decisions()[0], 1.0).permit
    late = 1.0 + bundle.description.max_decision_age + 0.01
    assert not decide(alarm, decisions()[1], late).permit


def test_a_policy_s_own_extras_and_tokens_are_scored(rollouts, policy):
    random = np.random.default_rng(0)
    published = [
        replace(
            rollout,
            external={"flow_bend": random.uniform(0, 1, len(rollout))},
            tokens=random.normal(size=(len(rollout), 3, 4)).astype(np.float32),
        )
        for rollout in rollouts
    ]
    settings = CalibrationSettings(
        scores=("external:flow_bend", "token_distance"), rule="any", window=1, folds=3, jobs=1
    )
    bundle = calibrate(published, policy, settings)
    with pytest.raises(
        UsageError, match="external:flow_bend need more than the policy's"
    ) as error:
        DecisionAlarm(bundle, "")
    assert "calibrate with --scores token_distance, or run" in str(error.value)
    alarm = DecisionAlarm(with_stated_policy(bundle, PolicyDescription(extras=("flow_bend",))), "")
    usual = replace(decisions()[0], extras={"flow_bend": 0.5}, tokens=published[0].tokens[0])
    assert decide(alarm, usual).permit
    for change, why in (
        ({"extras": {"flow_bend": 50.0}}, "external:flow_bend"),
        ({"tokens": usual.tokens + 9}, "token_distance"),
        ({"extras": {}}, "has no value of the score external:flow_bend"),
        ({"tokens": None}, "has no tokens"),
        ({"tokens": usual.tokens * np.nan}, "tokens' values of the decision are NaN"),
    ):
        alarm.start_rollout(2.0)
        status = decide(alarm, replace(usual, **change), 2.0)
        assert not status.permit
        assert why in status.reason


def test_what_ros_alone_carries_is_rejected(bundle):
    description = replace(bundle.description, black_box=object())
    with pytest.raises(UsageError, match="decisions of exported models"):
        DecisionAlarm(replace(bundle, description=description), "")
