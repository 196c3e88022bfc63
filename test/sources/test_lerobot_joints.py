# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What LeRobotDatasets give of joints, and that it survives being exported."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from testbed.exported_rollouts import rollout, rollout_set

from failure_monitor.joint_motion import JointMotion
from failure_monitor.sources.lerobot_export import write_lerobot_dataset
from failure_monitor.sources.lerobot_joints import measured_joints
from failure_monitor.sources.lerobot_metadata import Feature
from failure_monitor.sources.rollouts import read_rollouts

FEATURES = {
    "observation.state": Feature(
        "float32", (4,), ("elbow.pos", "elbow.vel", "elbow.torque", "gripper")
    ),
    "observation.velocity": Feature("float32", (2,), ("wrist", "gripper")),
    "observation.effort": Feature("float32", (1,), ("wrist",)),
    "observation.environment_state": Feature("float32", (1,), ("cup",)),
    "observation.unnamed.velocity": Feature("float32", (2,)),
}


def observed(frames: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    return {
        name: random.normal(size=(frames, *feature.shape)).astype(np.float32)
        for name, feature in FEATURES.items()
    }


def test_frames_after_the_decision_before_up_to_this_one_give_means() -> None:
    values, decided = observed(10), np.array([1, 4, 9])
    joints = measured_joints(FEATURES, values, decided)
    assert joints is not None
    assert joints.names == (
        *("elbow/position", "elbow/velocity", "elbow/effort", "gripper/position"),
        *("wrist/velocity", "gripper/velocity", "wrist/effort"),
    )
    of_all = np.concatenate(
        [values[f"observation.{name}"] for name in ("state", "velocity", "effort")], axis=1
    )
    np.testing.assert_array_equal(joints.states, of_all[decided])
    assert np.isnan(joints.means[0]).all()
    np.testing.assert_allclose(joints.means[1], of_all[2:5].mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(joints.means[2], of_all[5:10].mean(axis=0), rtol=1e-6)


def test_actions_from_the_decision_before_up_to_this_one_are_what_was_sent() -> None:
    actions = np.arange(20, dtype=np.float32).reshape(10, 2)
    joints = measured_joints(FEATURES, observed(10), np.array([1, 4, 9]), actions, ("x", "y"))
    assert joints is not None
    assert joints.command_names == ("x", "y")
    assert joints.commands is not None
    assert np.isnan(joints.commands[0]).all()
    np.testing.assert_array_equal(joints.commands[1], actions[1:4].mean(axis=0))
    np.testing.assert_array_equal(joints.commands[2], actions[4:9].mean(axis=0))


def test_a_state_without_names_is_of_no_joints() -> None:
    features = {"observation.state": Feature("float32", (4,))}
    values = {"observation.state": observed(5)["observation.state"]}
    assert measured_joints(features, values, np.array([0, 2])) is None


def test_joints_and_commands_survive_being_exported(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    one, two = rollout("one", positions=np.zeros((6, 2), np.float32)), rollout("two", seed=1)
    two = replace(two, positions=np.zeros((len(two), 2), np.float32))
    states, means, commands = (random.normal(size=(len(one), 2)) for _ in range(3))
    means[0] = commands[0] = np.nan
    means[2, 1] = np.nan
    joints = JointMotion(("a/position", "a/effort"), states, means, ("x", "y"), commands)
    write_lerobot_dataset(tmp_path / "set", rollout_set(replace(one, joints=joints), two))
    first, second = read_rollouts([tmp_path / "set"]).rollouts
    assert first.joints is not None
    assert first.joints.names == joints.names
    assert first.joints.command_names == joints.command_names
    for name in ("states", "means", "commands"):
        np.testing.assert_array_equal(getattr(first.joints, name), getattr(joints, name))
    # Its positions between decisions were not measured.
    assert second.positions is not None
    assert second.joints is None
