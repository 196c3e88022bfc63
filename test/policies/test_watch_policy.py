# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Real policies of LeRobot, watched: they act as if nobody did."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from testbed.lerobot_policies import ACTIONS, act_policy, diffusion_policy

from failure_monitor.policies.watch_policy import watch_policy

pytestmark = pytest.mark.lerobot

POLICIES = {
    "act": act_policy,
    "act ensemble": lambda: act_policy(temporal_ensemble_coeff=0.01, n_action_steps=1),
    "diffusion": diffusion_policy,
    "diffusion ddim": lambda: diffusion_policy(noise_scheduler_type="DDIM"),
}


@pytest.fixture(params=POLICIES)
def run(request):
    return POLICIES[request.param]()


def test_actions_are_those_of_the_unwatched_policy(run):
    """Over many steps, to the last bit, and from the same random numbers."""
    unwatched = copy.deepcopy(run)
    decisions = []
    watch_policy(run.policy, run.postprocessor, action_names=ACTIONS, on_decision=decisions.append)
    torch.manual_seed(1)
    watched_actions = [run.act(seed) for seed in range(14)]
    after_watched = torch.rand(1)
    torch.manual_seed(1)
    actions = [unwatched.act(seed) for seed in range(14)]

    assert torch.equal(torch.cat(watched_actions), torch.cat(actions))
    assert after_watched == torch.rand(1)
    assert len(decisions) == (14 if run.policy.config.n_action_steps == 1 else 3)


def test_first_chunk_is_what_the_robot_executes(run):
    """In the units of the robot, from the first action on."""
    decisions = []
    watch_policy(run.policy, run.postprocessor, action_names=ACTIONS, on_decision=decisions.append)
    steps = run.policy.config.n_action_steps
    actions = torch.cat([run.act(seed) for seed in range(steps)])

    assert np.array_equal(decisions[0].chunks[0, :steps], actions.numpy())
