# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What real policies of LeRobot give away as they decide: the bend of their way, and tokens."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from testbed.lerobot_policies import ACTIONS, act_policy, diffusion_policy, smolvla_policy

from failure_monitor.policies.path_bend import path_bend
from failure_monitor.policies.watch_policy import watch_policy

pytestmark = pytest.mark.lerobot


def decisions_of(run, steps=6, **options):
    """Watch some control steps; return the watch and its decisions."""
    decisions = []
    options |= {"action_names": ACTIONS, "on_decision": decisions.append}
    watch = watch_policy(run.policy, run.postprocessor, **options)
    torch.manual_seed(1)
    for seed in range(steps):
        run.act(seed)
    watch.close()
    return watch, decisions


def test_the_tokens_of_act_are_what_its_chunk_is_made_of():
    run = act_policy()
    _, (decision, *_) = decisions_of(run)
    head = run.policy.model.action_head
    with torch.no_grad():
        chunk = head(torch.from_numpy(decision.tokens))
    assert decision.tokens.shape == (run.policy.config.chunk_size, head.in_features)
    own = run.postprocessor(chunk[None])[0].numpy()
    np.testing.assert_allclose(own, decision.chunks[0], rtol=0, atol=1e-4)
    assert decision.extras == {}


def test_a_flow_has_a_bend_of_its_own_chunk_and_tokens_of_its_last_step():
    run = smolvla_policy()
    velocities = []
    step = run.policy.model.denoise_step

    def recorded(*args, **kwargs):
        velocities.append(step(*args, **kwargs))
        return velocities[-1]

    run.policy.model.denoise_step = recorded
    watch, (decision, *_) = decisions_of(run, samples=4)
    steps = run.policy.config.num_steps
    own = [velocity[0, :, : len(ACTIONS)] for velocity in velocities[:steps]]
    assert watch.description.extras == ("flow_bend",)
    assert decision.extras == {"flow_bend": pytest.approx(path_bend(own), abs=1e-6)}
    assert 0 < decision.extras["flow_bend"] < 1
    projection = run.policy.model.action_out_proj
    assert decision.tokens.shape == (run.policy.config.chunk_size, projection.in_features)
    with torch.no_grad():
        last = projection(torch.from_numpy(decision.tokens))
    torch.testing.assert_close(last, velocities[steps - 1][0], rtol=0, atol=1e-4)


def test_ddim_has_a_bend_and_ddpm_has_none():
    watch, decisions = decisions_of(diffusion_policy(noise_scheduler_type="DDIM"))
    assert watch.description.extras == ("denoising_bend",)
    assert all(0 < decision.extras["denoising_bend"] < 1 for decision in decisions)
    watch, decisions = decisions_of(diffusion_policy(noise_scheduler_type="DDPM"))
    assert watch.description.extras == ()
    assert all(decision.extras == {} and decision.tokens is None for decision in decisions)


def test_where_decisions_are_taken_between_none_has_what_only_some_would_have():
    watch, decisions = decisions_of(smolvla_policy(), every=2, samples=3)
    assert watch.description.extras == ()
    assert not all(decision.is_executed for decision in decisions)
    assert all(decision.extras == {} and decision.tokens is None for decision in decisions)


def test_the_same_observation_and_noise_give_the_same_signals():
    first, second = (decisions_of(smolvla_policy())[1] for _ in range(2))
    for one, other in zip(first, second, strict=True):
        assert one.extras == other.extras
        np.testing.assert_array_equal(one.tokens, other.tokens)
