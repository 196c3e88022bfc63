# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What a watch does and refuses, with stand-ins that need no LeRobot."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from testbed.fake_policies import (
    ACTIONS,
    ACTPolicy,
    DiffusionPolicy,
    Queueing,
    configuration,
    observation,
    postprocessor,
)

from failure_monitor.policies.checkpoint import CheckpointError, checkpoint_hash
from failure_monitor.policies.policy_class import UnsupportedPolicyError
from failure_monitor.policies.registry import POLICY_CLASSES, add_policy_class
from failure_monitor.policies.watch_policy import watch_policy

CLASSES = [ACTPolicy, DiffusionPolicy]


def watched(policy, **options):
    """Watch a policy and return the watch and the list of its decisions."""
    decisions = []
    options = {"action_names": ACTIONS, "on_decision": decisions.append} | options
    return watch_policy(policy, options.pop("by", postprocessor), **options), decisions


def actions_of(policy, steps=8):
    """Return the actions of some control steps, from the same random numbers each time."""
    torch.manual_seed(1)
    return torch.cat([policy.select_action(observation(seed)) for seed in range(steps)])


def refused(policy, **options):
    """Return why a policy is not watched, and see that it is as it was."""
    before = {name: dict(vars(module)) for name, module in policy.named_modules()}
    with pytest.raises(UnsupportedPolicyError) as error:
        watched(policy, **options)
    assert {name: dict(vars(module)) for name, module in policy.named_modules()} == before
    return str(error.value)


@pytest.mark.parametrize("policy_class", CLASSES)
@pytest.mark.parametrize("every", [None, 2])
def test_actions_are_those_of_the_unwatched_policy(policy_class, every):
    policy = policy_class()
    unwatched = copy.deepcopy(policy)
    _, decisions = watched(policy, every=every)
    seen = actions_of(policy)
    assert torch.equal(seen, actions_of(unwatched))
    assert len(decisions) == (3 if every is None else 5)
    assert np.array_equal(decisions[0].chunks[0, :3], postprocessor(seen[:3]).numpy())


@pytest.mark.parametrize("policy_class", CLASSES)
def test_an_attribute_that_has_moved_is_named(policy_class):
    policy = policy_class()
    network = policy.model if policy_class is ACTPolicy else policy.diffusion
    path = "model.encoder" if policy_class is ACTPolicy else "diffusion.unet"
    delattr(network, path.split(".")[1])
    assert f"has no {path}" in refused(policy)
    assert "LeRobot 0.4.4 and 0.6.1" in refused(policy)


@pytest.mark.parametrize("name", ["output_features", "normalization_mapping", "n_action_steps"])
def test_a_configuration_that_has_moved_is_named(name):
    policy = ACTPolicy()
    delattr(policy.config, name)
    assert f"has no config.{name}" in refused(policy)


def test_a_checkpoint_of_another_kind_of_policy_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"type": "diffusion"}')
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    policy = ACTPolicy()
    policy.config.type = "act"
    assert "of the type diffusion, this one is of the type act" in refused(
        policy, checkpoint=tmp_path
    )


def test_another_class_is_refused_with_what_it_must_offer():
    class OtherPolicy(Queueing):
        pass

    reason = refused(OtherPolicy())
    assert "OtherPolicy cannot be watched" in reason
    assert "embedding" in reason
    assert "docs/lerobot.md" in reason


@pytest.mark.parametrize(
    ("by", "reason"),
    [
        (lambda actions: actions[..., :1], "makes \\[1, 1, 1\\]"),
        (lambda actions: actions + torch.zeros(3), "does not take chunks of 2 actions"),
        (lambda actions: {"action": actions}, "makes \\[\\]"),
        ("postprocessor", "is no postprocessor"),
    ],
)
def test_a_postprocessor_of_another_policy_is_refused(by, reason):
    with pytest.raises(UnsupportedPolicyError, match=reason):
        watched(ACTPolicy(), by=by)


class Counting:
    """A step that remembers."""

    def __init__(self):
        self.count = 0

    def __call__(self, actions):
        self.count += 1
        return actions + self.count


class Steps:
    """A postprocessor as LeRobot has it."""

    def __init__(self, **step) -> None:
        self.steps = [SimpleNamespace(**step)]

    def __call__(self, actions):
        return actions


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        ({"features": {"action": SimpleNamespace(shape=(7,))}}, "is for 7 actions"),
        ({"norm_map": {"ACTION": "MIN_MAX"}}, "a normalisation by MIN_MAX"),
    ],
)
def test_a_postprocessor_that_is_told_apart_by_its_steps_is_refused(step, reason):
    assert reason in refused(ACTPolicy(), by=Steps(**step))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"samples": 0}, "samples is 0"),
        ({"samples": 4}, "draws no noise"),
        ({"every": 0}, "every is 0"),
        ({"every": 2, "samples": 1}, "give 2"),
        ({"every": 2.5}, "every is 2.5"),
        ({"samples": "3"}, "samples is 3"),
        ({"control_period": 0}, "control_period: expected a number above 0"),
        ({"control_period": float("nan")}, "not finite"),
        ({"action_kind": "force"}, "action_kind: expected one of"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, reason):
    assert reason in refused(ACTPolicy(), **options)


def test_a_policy_that_samples_otherwise_is_no_longer_watched(caplog):
    """Its own action is what it would have been."""
    policy = DiffusionPolicy()
    sample = policy.diffusion.conditional_sample
    policy.diffusion.conditional_sample = lambda *args, **kwargs: 2 * sample(*args, **kwargs)
    unwatched = copy.deepcopy(policy)
    generate = policy.diffusion.generate_actions
    policy.diffusion.generate_actions = lambda *args, **kwargs: generate(*args, **kwargs) + 1
    unwatched.diffusion.generate_actions = policy.diffusion.generate_actions
    faults = []
    _, decisions = watched(policy, on_fault=faults.append)
    seen = actions_of(policy)
    assert not decisions
    assert len(faults) == 1
    assert "no longer watched" in caplog.text
    policy.reset()
    assert torch.equal(seen, actions_of(policy))


def test_an_action_that_is_changed_afterwards_ends_the_watch():
    """What is watched must be what the robot executes."""

    class DampedPolicy(ACTPolicy):
        def select_action(self, batch):
            return 0.5 * super().select_action(batch)

    faults = []
    policy = DampedPolicy()
    _, decisions = watched(policy, on_fault=faults.append)
    actions_of(policy)
    assert not decisions
    assert "not the first of its chunk" in faults[0]


def test_a_class_is_added_from_outside(monkeypatch):
    """Under its name, for its subclasses too."""
    monkeypatch.setattr("failure_monitor.policies.registry.POLICY_CLASSES", dict(POLICY_CLASSES))

    class MyPolicy(Queueing):
        def __init__(self):
            super().__init__()
            self.config = configuration()
            self.weights = torch.nn.Linear(4, 12)
            self.reset()

        def predict_action_chunk(self, batch):
            return self.weights(batch["observation.state"]).reshape(1, 6, 2)

    class MyWatched:
        kind = "mine"
        samples = 1
        has_noise = False
        decides = "predict_action_chunk"
        records = ()
        needs = ("weights",)

        def encode(self, policy, decided):
            return decided.arguments[0]["observation.state"]

        def embedding(self, encoding):
            return encoding[0]

        def chunk(self, policy, decided):
            return decided.result

        def plan(self, policy, decided, action):
            return decided.result

        def sample(self, policy, decided, encoding, rows, generator):
            return decided.result.expand(rows, -1, -1)

        def between(self, policy, batch):
            raise NotImplementedError

        def queued(self, policy):
            return list(policy._action_queue)

    add_policy_class("MyPolicy", MyWatched())
    policy = type("MyTrainedPolicy", (MyPolicy,), {})()
    watch, decisions = watched(policy)
    assert watch.description.policy == "mine"
    actions_of(policy, 1)
    assert decisions[0].chunks.shape == (1, 6, 2)


@pytest.mark.parametrize(
    ("names", "kind"),
    [(ACTIONS, "position"), (("x.vel", "y.vel"), None), (("a", "b"), None), ((), None)],
)
def test_the_kind_of_actions_is_what_the_names_tell(names, kind):
    watch, _ = watched(ACTPolicy(), action_names=names)
    assert watch.description.action_kind == kind
    assert watch.description.unit == "robot"
    assert watch.description.executed_actions == 3


def test_a_postprocessor_that_remembers_sees_nothing_of_the_watch():
    """The watch has steps of its own."""

    class Pipeline:
        def __init__(self):
            self.steps = [Counting()]
            self.before_step_hooks = []
            self.after_step_hooks = []

        def __call__(self, actions):
            for step in self.steps:
                actions = step(actions)
            return actions

    pipeline = Pipeline()
    policy = ACTPolicy()
    _, decisions = watched(policy, by=pipeline)
    policy.select_action(observation())
    assert decisions
    assert pipeline.steps[0].count == 0


def test_the_checkpoint_is_stated(tmp_path):
    """By its hash, and where it lies; a folder that is none is refused."""
    (tmp_path / "config.json").write_text('{"type": "act"}')
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    watch, _ = watched(ACTPolicy(pretrained_path=str(tmp_path)))
    given, _ = watched(ACTPolicy(), checkpoint=tmp_path)
    assert watch.description == given.description
    assert watch.description.checkpoint == checkpoint_hash(tmp_path)
    unknown, _ = watched(ACTPolicy(pretrained_path="somebody/policy"))
    assert unknown.description.checkpoint == ""
    with pytest.raises(CheckpointError, match="no folder"):
        watched(ACTPolicy(), checkpoint=tmp_path / "missing")
