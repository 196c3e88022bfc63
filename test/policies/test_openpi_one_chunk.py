# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A policy server that knows nothing of us is calibrated and watched by its one chunk."""

from __future__ import annotations

from dataclasses import replace

import pytest
from testbed.policy_server import STATE, policy_server
from testbed.reaching_robot import FORMAT, ReachingPolicy, reach

from failure_monitor.calibration.calibrate import calibrate
from failure_monitor.calibration.rule_choice import choose_rule
from failure_monitor.calibration.settings import CalibrationSettings
from failure_monitor.policies.openpi.client import TappedClient

pytestmark = [pytest.mark.lerobot, pytest.mark.slow]

HELD_FROM = 5


@pytest.fixture(scope="module", params=[STATE, ()], ids=["state", "no embedding"])
def client(request):
    with policy_server(ReachingPolicy()) as server:
        client = TappedClient("127.0.0.1", server.port, embedding_from=request.param)
        yield client
        client.close()


@pytest.fixture(scope="module")
def bundle(client):
    rollouts = [reach(client, seed) for seed in range(16)]
    policy = replace(FORMAT, embedding_size=rollouts[0].embeddings.shape[1])
    scores = choose_rule(rollouts, policy).scores
    return calibrate(rollouts, policy, CalibrationSettings(scores=scores))


def alarms(bundle, rollout) -> list[int]:
    monitor = bundle.monitor()
    monitor.start_rollout()
    verdicts = [monitor.update(decision) for decision in rollout.decisions()]
    return [verdict.index for verdict in verdicts if verdict.calls_for_alarm]


def test_successes_pass_and_a_robot_that_is_held_raises_an_alarm(client, bundle):
    nominal = [alarms(bundle, reach(client, seed)) for seed in range(100, 110)]
    assert sum(map(bool, nominal)) <= 4
    for seed in range(200, 204):
        indices = alarms(bundle, reach(client, seed, held_from=HELD_FROM))
        assert indices
        assert min(indices) > HELD_FROM
