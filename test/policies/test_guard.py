# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A LeRobot policy that is guarded in its own process holds the robot in an alarm."""

import copy
import logging
import pickle
import time
from dataclasses import replace

import pytest
import torch

from failure_monitor.errors import UsageError

pytestmark = pytest.mark.lerobot


@pytest.fixture
def tiny():
    from testbed.lerobot_policies import act_policy

    return act_policy()


@pytest.fixture(scope="module")
def bundles():
    from testbed.guarded_policy import bundle_of
    from testbed.lerobot_policies import act_policy

    return {kind: bundle_of(act_policy(), action_kind=kind) for kind in ("position", "delta")}


@pytest.fixture
def guard(tiny, bundles):
    from failure_monitor.policies.guard import guard_policy

    return guard_policy(tiny.policy, tiny.postprocessor, bundles["position"])


def strange(tiny):
    """Return an observation unlike those of calibration."""
    batch = tiny.batch()
    return {key: 50 + value if torch.is_tensor(value) else value for key, value in batch.items()}


def unguarded(seeds):
    from testbed.lerobot_policies import act_policy

    other = act_policy()
    return [other.act(seed) for seed in seeds]


def test_usual_actions_are_those_of_the_policy(tiny, guard):
    acted = [tiny.act(seed) for seed in range(12)]
    torch.testing.assert_close(acted, unguarded(range(12)), rtol=0, atol=1e-6)
    assert guard.status.permit
    assert guard.verdict.index == 2


def test_an_alarm_holds_the_last_action_until_the_policy_is_reset(tiny, guard):
    acted = [tiny.act(seed) for seed in range(5)]
    held = [tiny.postprocessor(tiny.policy.select_action(strange(tiny))) for _ in range(3)]
    assert all(torch.equal(one, acted[-1]) for one in held)
    assert torch.equal(tiny.act(1), acted[-1])
    assert guard.status.halted
    tiny.policy.reset()
    torch.testing.assert_close(tiny.act(0), acted[0], rtol=0, atol=1e-6)


def test_what_holds_stays_though_the_program_changes_it_in_place(tiny, guard):
    acted = [tiny.act(seed) for seed in range(5)]
    tiny.policy.select_action(strange(tiny)).zero_()
    assert torch.equal(tiny.act(1), acted[-1])


def test_deltas_are_held_by_zeros(tiny, bundles):
    from failure_monitor.policies.guard import guard_policy

    guard_policy(tiny.policy, tiny.postprocessor, bundles["delta"])
    held = tiny.postprocessor(tiny.policy.select_action(strange(tiny)))
    torch.testing.assert_close(held, torch.zeros(1, 3), rtol=0, atol=1e-4)


def test_an_alarm_before_any_action_ends_the_program(tiny, guard):
    from failure_monitor.policies.guard import PolicyHeldError

    for _ in range(2):
        with pytest.raises(PolicyHeldError, match="it has executed no action in this rollout"):
            tiny.policy.select_action(strange(tiny))


def test_in_an_alarm_the_program_may_be_ended(tiny, bundles):
    from failure_monitor.policies.guard import PolicyHeldError, guard_policy

    guard_policy(tiny.policy, tiny.postprocessor, bundles["position"], on_alarm="raise")
    for seed in range(5):
        tiny.act(seed)
    with pytest.raises(PolicyHeldError, match=r"not permitted to act: .*mahalanobis"):
        tiny.policy.select_action(strange(tiny))


def test_chunks_for_a_server_hold_where_the_robot_is_in_the_last_one(tiny, bundles, monkeypatch):
    from failure_monitor.policies.guard import guard_policy

    bundle = bundles["position"]
    stated = replace(bundle.description.stated_policy, execution="server", executed_actions=None)
    bundle = replace(bundle, description=replace(bundle.description, stated_policy=stated))
    guard_policy(tiny.policy, tiny.postprocessor, bundle, control_period=0.1, execution="server")
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    chunk = tiny.policy.predict_action_chunk(tiny.batch(0)).clone()
    monkeypatch.setattr(time, "monotonic", lambda: now + 0.35)
    held = tiny.policy.predict_action_chunk(strange(tiny))
    assert held.shape == chunk.shape
    assert torch.equal(held, chunk[:, 3:4].expand_as(chunk))
    monkeypatch.setattr(time, "monotonic", lambda: now + 0.95)
    assert torch.equal(tiny.policy.predict_action_chunk(tiny.batch(0)), held)


@pytest.mark.parametrize("fault", ["raises", "nan", "late"])
def test_it_fails_closed(tiny, guard, monkeypatch, fault):
    acted = [tiny.act(seed) for seed in range(5)]
    if fault == "raises":
        monkeypatch.setattr(guard._alarm._monitor, "update", lambda decision: 1 / 0)
    elif fault == "nan":
        monkeypatch.setattr(
            guard._watch._class, "embedding", lambda encoding: torch.full((32,), torch.nan)
        )
    else:
        now = time.monotonic()
        monkeypatch.setattr(time, "monotonic", lambda: now + 60)
    assert torch.equal(tiny.act(5), acted[-1])
    assert guard.status.halted


def test_a_decision_that_is_not_watched_holds(tiny, guard, monkeypatch):
    acted = [tiny.act(seed) for seed in range(5)]
    monkeypatch.setattr(guard._watch._class, "encode", lambda *arguments: 1 / 0)
    assert torch.equal(tiny.act(5), acted[-1])
    assert "could not be watched" in guard.status.reason


def test_a_batch_of_robots_is_not_guarded_and_does_not_act(tiny, guard):
    from failure_monitor.policies.guard import PolicyHeldError

    batch = tiny.batch()
    two = {
        key: torch.cat([value, value]) for key, value in batch.items() if torch.is_tensor(value)
    }
    with pytest.raises(PolicyHeldError, match="one robot is watched"):
        tiny.policy.select_action(two)


def test_another_policy_than_the_bundles_is_refused_and_is_as_it_was(tiny, bundles):
    from testbed.lerobot_policies import diffusion_policy

    from failure_monitor.policies.guard import guard_policy

    other = diffusion_policy()
    before = dict(vars(other.policy))
    with pytest.raises(
        UsageError, match=r"another policy than this one .*policy diffusion against act"
    ):
        guard_policy(other.policy, other.postprocessor, bundles["position"])
    assert vars(other.policy).keys() == before.keys()
    with pytest.raises(UsageError, match="the policy's actions are a, b, c"):
        guard_policy(
            tiny.policy, tiny.postprocessor, bundles["position"], action_names=["a", "b", "c"]
        )


def test_a_copy_does_not_act_unguarded(tiny, guard):
    from failure_monitor.policies.uncopied_shadow import CopiedPolicyError

    for other in (copy.deepcopy(tiny.policy), pickle.loads(pickle.dumps(tiny.policy))):
        with pytest.raises(CopiedPolicyError):
            other.select_action(tiny.batch())
    tiny.act(0)


def test_it_says_that_it_is_not_the_gate(tiny, bundles, caplog):
    from failure_monitor.policies.guard import guard_policy

    with caplog.at_level(logging.WARNING, "failure_monitor"):
        guard_policy(tiny.policy, tiny.postprocessor, bundles["position"])
    assert "which is not the gate" in caplog.text


def test_closed_it_leaves_the_policy_as_it_was(tiny, guard):
    guard.close()
    guard.close()
    assert not {"select_action", "predict_action_chunk", "reset"} & vars(tiny.policy).keys()
    tiny.policy.select_action(strange(tiny))
