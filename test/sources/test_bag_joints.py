# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What bags give of joints, and that it survives being archived."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from testbed.bags import (
    BEGIN,
    CHUNKS,
    EMBEDDING,
    PERIOD,
    SECOND,
    STORAGES,
    BagBuilder,
    decision_arrays,
    write_bag,
)

from failure_monitor.decision import Rollout
from failure_monitor.errors import UsageError
from failure_monitor.joint_motion import JointMotion
from failure_monitor.sources.archive import write_archive
from failure_monitor.sources.rollouts import read_rollouts
from failure_monitor.sources.source import BlackBox, SourceError, Topics

JOINTS, GRIPPER, COMMAND = "/joint_states", "/gripper/joint_states", "/command"
MILLISECOND = SECOND // 1000
DECISIONS = 6
STEP = 10
"""Milliseconds between joint states."""
WAIT = 25
"""Milliseconds from an observation to its decision."""
ARM = ("shoulder", "elbow")


def arm_at(at: int) -> dict[str, list[float]]:
    """Positions, velocities and efforts of the arm at a time in milliseconds."""
    time = at / 1000
    return {
        "positions": [np.sin(time), np.cos(3 * time)],
        "velocities": [np.cos(time), -3 * np.sin(3 * time)],
        "efforts": [time**2, 1.0 + time],
    }


def write(
    path: Path, storage: str = "mcap", *, gripper: bool = False, commands: bool = False
) -> Path:
    """A rollout with joint states in between; all of them are received at once."""
    embeddings, chunks = decision_arrays(DECISIONS)
    events = [(WAIT + index * 100, index) for index in range(DECISIONS)]
    with BagBuilder(path, storage) as bag:
        for at in range(-50, DECISIONS * 100, STEP):
            while events and events[0][0] < at:
                complete, index = events.pop(0)
                stamp, received = BEGIN + index * PERIOD, BEGIN + complete * MILLISECOND
                bag.embedding(embeddings[index], stamp, received)
                bag.chunks(chunks[index], stamp, received)
            stamp = BEGIN + at * MILLISECOND
            arm = arm_at(at)
            bag.joint_state(JOINTS, ARM, arm.pop("positions"), stamp, **arm)
            if gripper and at % (3 * STEP) == 0:
                bag.joint_state(GRIPPER, ["finger"], [at / 1000], stamp + 1, stamp + 2)
            if commands:
                bag.floats(COMMAND, [at, 1.0], stamp)
    return path


def only(path: Path, **reading: object) -> Rollout:
    [rollout] = read_rollouts([path], **reading).rollouts  # type: ignore[arg-type]
    return rollout


def joints_of(path: Path, **reading: object) -> JointMotion:
    joints = only(path, **reading).joints
    assert joints is not None
    return joints


def expected(kind: str, joint: int, decision: int) -> tuple[float, float]:
    """The newest value at a decision, and the mean since the one before."""
    until = decision * 100
    values = [arm_at(at)[kind][joint] for at in range(until - 100 + STEP, until + 1, STEP)]
    return values[-1], float(np.mean(values))


@pytest.mark.parametrize("storage", STORAGES)
def test_every_bag_gives_means_and_newest_values(tmp_path: Path, storage: str) -> None:
    joints = joints_of(write(tmp_path / ("bag.bag" if "ros1" in storage else "bag"), storage))
    assert joints.names == (
        *("elbow/position", "shoulder/position"),
        *("elbow/velocity", "shoulder/velocity"),
        *("elbow/effort", "shoulder/effort"),
    )
    assert np.isnan(joints.means[0]).all()
    for column, name in enumerate(joints.names):
        joint, kind = name.split("/")
        plural = {"position": "positions", "velocity": "velocities", "effort": "efforts"}[kind]
        for decision in range(DECISIONS):
            state, mean = expected(plural, ARM.index(joint), decision)
            assert joints.states[decision, column] == state
            if decision:
                assert joints.means[decision, column] == pytest.approx(mean, rel=1e-12)


def test_a_gripper_may_be_on_another_topic(tmp_path: Path) -> None:
    path = write(tmp_path / "bag", gripper=True)
    assert "finger/position" not in joints_of(path).names
    topics = Topics(more_joints=(GRIPPER,))
    both = read_rollouts([path], topics=topics)
    assert both.joint_topics == (JOINTS, GRIPPER)
    joints = both.rollouts[0].joints
    assert joints is not None
    finger = joints.select(("finger/position",))
    # Its stamps are a nanosecond behind, so that at 300 ms it is of the next decision.
    assert finger.states[3, 0] == 0.27
    assert finger.means[3, 0] == pytest.approx(np.mean([0.21, 0.24, 0.27]))
    arm = joints.select(joints_of(path).names)
    np.testing.assert_array_equal(arm.means, joints_of(path).means)
    assert "no topic /gripper" in refusal(write_bag(tmp_path / "without"), topics=topics)


def refusal(path: Path, **reading: object) -> str:
    with pytest.raises(SourceError) as refused:
        only(path, **reading)
    return str(refused.value)


def test_bags_without_joint_states_are_read_as_ever(tmp_path: Path) -> None:
    path = write_bag(tmp_path / "bag")
    assert only(path).joints is None
    assert read_rollouts([path]).joint_topics == ()


def test_joint_states_need_not_be_read(tmp_path: Path) -> None:
    assert only(write(tmp_path / "bag"), black_box=BlackBox(joints="")).joints is None


def test_joint_states_may_be_measured_positions_too(tmp_path: Path) -> None:
    path = write(tmp_path / "bag")
    rollout = only(path, topics=Topics(positions=JOINTS), measured_names=(*ARM, "elbow"))
    assert rollout.positions is not None
    assert rollout.positions.shape == (DECISIONS, 3)
    assert rollout.joints is not None


def test_joints_of_bags_survive_being_archived(tmp_path: Path) -> None:
    known = read_rollouts(
        [write(tmp_path / "bag", gripper=True)], topics=Topics(more_joints=(GRIPPER,))
    )
    write_archive(tmp_path / "set.npz", known)
    assert read_rollouts([tmp_path / "set.npz"]).joint_topics == (JOINTS, GRIPPER)
    joints, archived = known.rollouts[0].joints, joints_of(tmp_path / "set.npz")
    assert joints is not None
    assert archived.names == joints.names
    np.testing.assert_array_equal(archived.means, joints.means)
    np.testing.assert_array_equal(archived.states, joints.states)


def test_commands_as_sent_are_read_where_their_topic_is_named(tmp_path: Path) -> None:
    topics = Topics(commands=COMMAND)
    path = write(tmp_path / "bag", commands=True)
    known = read_rollouts([path], topics=topics)
    assert known.commands_topic == COMMAND
    assert known.message_types == {COMMAND: "std_msgs/msg/Float64MultiArray"}
    joints = known.rollouts[0].joints
    assert joints is not None
    assert joints.commands is not None
    assert joints.command_names == ("1 of 2", "2 of 2")
    assert np.isnan(joints.commands[0]).all()
    # In steps of 10 ms, and by when they were received.
    means = [np.mean(np.arange(at - 90, at + 1, STEP)) for at in range(100, DECISIONS * 100, 100)]
    np.testing.assert_allclose(joints.commands[1:, 0], means)
    np.testing.assert_array_equal(joints.commands[1:, 1], np.ones(DECISIONS - 1))
    assert joints_of(path).commands is None

    write_archive(tmp_path / "set.npz", known)
    archived = read_rollouts([tmp_path / "set.npz"])
    assert archived.commands_topic == COMMAND
    assert archived.message_types == known.message_types
    np.testing.assert_array_equal(archived.rollouts[0].joints.commands, joints.commands)  # type: ignore[union-attr]

    assert "no topic /command" in refusal(write(tmp_path / "without"), topics=topics)
    no_joints = refusal(path, topics=topics, black_box=BlackBox(joints=""))
    assert "no joint states that answer to them" in no_joints


def test_the_first_decision_of_each_rollout_has_no_mean(tmp_path: Path) -> None:
    path = tmp_path / "bag"
    embeddings, chunks = decision_arrays(6)
    with BagBuilder(path) as bag:
        for index in range(6):
            start = BEGIN + (index // 3) * 5 * SECOND
            stamp = start + (index % 3) * PERIOD
            bag.joint_state(JOINTS, ["a"], [float(index)], stamp - MILLISECOND)
            if index % 3 == 0:
                bag.flag("/rollout/active", True, stamp)
            bag.embedding(embeddings[index], stamp, stamp + 2)
            bag.chunks(chunks[index], stamp, stamp + 2)
            if index % 3 == 2:
                bag.flag("/rollout/active", False, stamp + 3)
    first, second = read_rollouts([path]).rollouts
    for rollout, values in ((first, [0.0, 1.0, 2.0]), (second, [3.0, 4.0, 5.0])):
        assert rollout.joints is not None
        np.testing.assert_array_equal(rollout.joints.states[:, 0], values)
        np.testing.assert_array_equal(rollout.joints.means[:, 0], [np.nan, *values[1:]])


def test_velocities_and_efforts_may_come_in_messages_of_their_own(tmp_path: Path) -> None:
    """A layout is no other for having as many numbers in other places."""
    path = tmp_path / "bag"
    embeddings, chunks = decision_arrays(3)
    with BagBuilder(path) as bag:
        for index in range(3):
            stamp = BEGIN + index * PERIOD
            bag.joint_state(JOINTS, ["a"], [1.0 + index], stamp - 4)
            bag.joint_state(JOINTS, ["a"], [], stamp - 3, velocities=[2.0 + index])
            bag.joint_state(JOINTS, ["a"], [], stamp - 2, efforts=[3.0 + index])
            bag.joint_state(JOINTS, ["b"], [], stamp - 1, efforts=[4.0 + index])
            bag.embedding(embeddings[index], stamp)
            bag.chunks(chunks[index], stamp)
    joints = joints_of(path)
    assert joints.names == ("a/position", "a/velocity", "a/effort", "b/effort")
    np.testing.assert_array_equal(joints.states[1], [2, 3, 4, 5])
    np.testing.assert_array_equal(joints.means[1:], [[2, 3, 4, 5], [3, 4, 5, 6]])


def test_what_cannot_be_used_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "bag"
    embeddings, chunks = decision_arrays(2)
    with BagBuilder(path) as bag:
        for index in range(2):
            stamp = BEGIN + index * PERIOD
            bag.joint_state(JOINTS, ["a", "b"], [1.0, 2.0], stamp, efforts=[1.0])
            bag.joint_state(JOINTS, ["a"], [1.0], 0, stamp)
            bag.embedding(embeddings[index], stamp)
            bag.chunks(chunks[index], stamp)
            bag.joint_state(JOINTS, ["a", "b"], [1.0, 2.0], stamp - 5, stamp + 5)
    with caplog.at_level(logging.WARNING):
        assert joints_of(path).names == ("a/position", "b/position")
    told = caplog.text
    assert (
        f"{path}: on {JOINTS}, messages have 2 joints, and numbers for 1 as their effort" in told
    )
    assert "2 of 6 joint states have no stamp" in told
    assert "2 of 6 joint states came after the decision" in told


def test_a_topic_of_joints_has_no_other_meaning(tmp_path: Path) -> None:
    path = write_bag(tmp_path / "bag")
    for topic in (EMBEDDING, CHUNKS):
        with pytest.raises(UsageError, match="two meanings"):
            only(path, topics=Topics(more_joints=(topic,)))
