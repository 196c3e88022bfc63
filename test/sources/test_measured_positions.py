# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Measured positions and external scores, as they were known when a decision was complete."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from testbed.bags import (
    ACTION_NAMES,
    BEGIN,
    CHUNKS,
    PERIOD,
    SECOND,
    STORE,
    BagBuilder,
    decision_arrays,
    header,
    write_bag,
)

from failure_monitor.errors import UsageError
from failure_monitor.messages.measured_positions import MeasurementError, PositionsTopic
from failure_monitor.policy_description import PolicyDescription
from failure_monitor.sources.archive import write_archive
from failure_monitor.sources.reading_options import ReadingOptions
from failure_monitor.sources.rollouts import read_rollouts
from failure_monitor.sources.source import SourceError, Topics

JOINTS = "/joint_states"
MILLISECOND = SECOND // 1000
LATENCY = 30 * MILLISECOND
"""From an observation to its decision."""


def write_decision(bag: BagBuilder, index: int) -> None:
    embeddings, chunks = decision_arrays(index + 1)
    stamp = BEGIN + index * PERIOD
    bag.embedding(embeddings[index], stamp, received=stamp + LATENCY)
    bag.chunks(chunks[index], stamp, received=stamp + LATENCY + 1)


def read_one(path: Path, topics: Topics, **options):
    (rollout,) = read_rollouts([path], topics, **options).rollouts
    return rollout


@pytest.mark.parametrize("storage", ["mcap", "sqlite3", "ros1"])
def test_positions_are_those_of_the_nearest_stamp_that_had_come(
    tmp_path: Path, storage: str
) -> None:
    path = tmp_path / "run.bag"
    with BagBuilder(path, storage) as bag:
        for index in range(5):
            stamp = BEGIN + index * PERIOD
            for offset in range(-20, 30, 4):  # milliseconds around the observation
                value = index + offset / 1000
                bag.joint_state(
                    JOINTS,
                    ACTION_NAMES,
                    [value, 2 * value, -1],
                    stamp + (offset + 1) * MILLISECOND,
                )
            write_decision(bag, index)
            # Nearer, but not there yet when the decision was complete.
            bag.joint_state(JOINTS, ACTION_NAMES, [9, 9, 9], stamp, received=stamp + 2 * LATENCY)
    rollout = read_one(path, Topics(positions=JOINTS))
    assert rollout.positions.dtype == np.float32
    nearest = np.arange(5)  # of an offset of 0, stamped a millisecond late
    expected = np.stack([nearest, 2 * nearest, np.full(5, -1)], axis=1)
    np.testing.assert_allclose(rollout.positions, expected, atol=1e-6)


def test_joints_are_picked_by_name_from_whoever_publishes_them(tmp_path: Path) -> None:
    with BagBuilder(tmp_path / "bag") as bag:
        for index in range(3):
            stamp = BEGIN + index * PERIOD
            bag.joint_state(JOINTS, ["wheel", "dy", "dx"], [8, 20 + index, 10 + index], stamp)
            bag.joint_state(JOINTS, ["gripper"], [7], stamp + 1)
            bag.joint_state(JOINTS, [], [], stamp + 2)
            write_decision(bag, index)
    topics = Topics(positions=JOINTS)
    rollout = read_one(tmp_path / "bag", topics, position_names=("dx", "dy"))
    np.testing.assert_array_equal(rollout.positions, [[10, 20], [11, 21], [12, 22]])
    rollout = read_one(
        tmp_path / "bag", topics, position_names=("dx", "dy"), measured_names=("dy", "wheel")
    )
    np.testing.assert_array_equal(rollout.positions, [[20, 8], [21, 8], [22, 8]])


def test_it_is_known_what_measured_the_positions(tmp_path: Path) -> None:
    for name, joints in (("one", ACTION_NAMES), ("other", ["a", "b", "c"])):
        with BagBuilder(tmp_path / name) as bag:
            bag.joint_state(JOINTS, joints, [1, 2, 3], BEGIN)
            write_decision(bag, 0)
    read = read_rollouts([tmp_path / "one"], Topics(positions=JOINTS), position_names=("dx", "dy"))
    message_type = "sensor_msgs/msg/JointState"
    assert read.positions_topic == PositionsTopic(JOINTS, message_type, ("dx", "dy"))
    read = read_rollouts([tmp_path / "other"], Topics(positions=JOINTS), measured_names=("a", "c"))
    assert read.positions_topic == PositionsTopic(JOINTS, message_type, ("a", "c"))
    assert read_rollouts([tmp_path / "one"]).positions_topic is None


def test_poses_and_points_have_three_axes(tmp_path: Path) -> None:
    types = STORE.types
    point = types["geometry_msgs/msg/Point"](x=1.0, y=2.0, z=3.0)
    turned = types["geometry_msgs/msg/Quaternion"](x=0.0, y=0.0, z=0.0, w=1.0)
    pose = types["geometry_msgs/msg/Pose"](position=point, orientation=turned)
    messages = {
        "point": types["geometry_msgs/msg/PointStamped"](header=header(BEGIN), point=point),
        "pose": types["geometry_msgs/msg/PoseStamped"](header=header(BEGIN), pose=pose),
    }
    for name, message in messages.items():
        with BagBuilder(tmp_path / name) as bag:
            bag.write("/tool", message, BEGIN)
            write_decision(bag, 0)
        read = read_rollouts([tmp_path / name], Topics(positions="/tool"))
        assert read.positions_topic is not None
        assert read.positions_topic.joints == ()
        (rollout,) = read.rollouts
        np.testing.assert_array_equal(rollout.positions, [[1, 2, 3]])


@pytest.mark.parametrize(
    ("names", "positions", "offset", "topic", "sentence"),
    [
        (["a", "dy"], [1, 2], 0, CHUNKS, "has no joint dx, gripper, only a, dy: name the joints"),
        (ACTION_NAMES, [1, 2, 3], -PERIOD - 1, CHUNKS, "within 0.1 s of the observation's"),
        (ACTION_NAMES, [1, 2], 0, JOINTS, "a joint state has 3 joints and 2 positions"),
    ],
)
def test_positions_that_are_not_there_are_refused(
    tmp_path: Path,
    names: list[str],
    positions: list[float],
    offset: int,
    topic: str,
    sentence: str,
) -> None:
    with BagBuilder(tmp_path / "bag") as bag:
        bag.joint_state(JOINTS, names, positions, BEGIN + offset)
        write_decision(bag, 0)
    with pytest.raises(MeasurementError) as refused:
        read_rollouts([tmp_path / "bag"], Topics(positions=JOINTS))
    assert sentence in str(refused.value)
    assert f"{tmp_path / 'bag'}, {topic}, message 0: " in str(refused.value)


def test_a_topic_that_is_missing_or_of_another_type_is_named(tmp_path: Path) -> None:
    with BagBuilder(tmp_path / "bag") as bag:
        bag.flag("/flag", True, BEGIN)
        write_decision(bag, 0)
    for topics in (Topics(positions="/tool"), Topics(external={"energy": "/tool"})):
        with pytest.raises(SourceError, match="no topic /tool, only /flag"):
            read_rollouts([tmp_path / "bag"], topics)
    for topics in (Topics(positions="/flag"), Topics(external={"energy": "/flag"})):
        with pytest.raises(SourceError, match="/flag is a std_msgs/msg/Bool, expected a "):
            read_rollouts([tmp_path / "bag"], topics)


def test_nothing_is_measured_where_nobody_asks(tmp_path: Path) -> None:
    rollout = read_one(write_bag(tmp_path / "bag"), Topics())
    assert rollout.positions is None
    assert rollout.external == {}


def test_external_scores_are_the_newest_values_when_a_decision_is_complete(tmp_path: Path) -> None:
    with BagBuilder(tmp_path / "bag") as bag:
        for index in range(3):
            complete = BEGIN + index * PERIOD + LATENCY + 1
            if index:
                bag.number("/energy", 10.0 * index, complete - 2)
                bag.number("/energy", 10.0 * index + 1, complete - 1)
            write_decision(bag, index)
            bag.number("/energy", -1.0, complete + 1)
            if index == 0:
                message = STORE.types["std_msgs/msg/Float32"](data=0.5)
                bag.write("/doubt", message, complete + 1)
    topics = Topics(external={"energy": "/energy", "doubt": "/doubt"})
    rollout = read_one(tmp_path / "bag", topics)
    np.testing.assert_array_equal(rollout.external["energy"], [np.nan, 11, 21])
    np.testing.assert_array_equal(rollout.external["doubt"], [np.nan, 0.5, 0.5])
    assert rollout.external["energy"].dtype == np.float64


def test_an_extra_is_of_the_decision_that_it_was_published_with(tmp_path: Path) -> None:
    """One that came late leaves a decision out; none gets the value of another."""
    topic = "/external_scores/bend"
    with BagBuilder(tmp_path / "bag") as bag:
        bag.text("/policy/format", PolicyDescription(extras=("bend",)).to_json(), BEGIN)
        for index in range(4):
            complete = BEGIN + index * PERIOD + LATENCY + 1
            if index != 2:
                bag.number(topic, float(index), complete - 1)
            write_decision(bag, index)
            if index == 2:
                bag.number(topic, float(index), complete + 1)
    rollout = read_one(tmp_path / "bag", Topics(external={"bend": topic}))
    np.testing.assert_array_equal(rollout.external["bend"], [0, 1, 3])
    assert len(read_one(tmp_path / "bag", Topics())) == 4


def test_tokens_and_extras_survive_a_bag_and_an_archive(tmp_path: Path) -> None:
    """A decision of which the policy published no tokens is none, where they are read."""
    tokens = np.random.default_rng(0).normal(size=(4, 3, 2)).astype(np.float32)
    with BagBuilder(tmp_path / "bag") as bag:
        for index in range(4):
            if index != 1:
                bag.tokens(tokens[index], BEGIN + index * PERIOD)
            bag.number("/external_scores/bend", float(index), BEGIN + index * PERIOD)
            write_decision(bag, index)
    topics = Topics(external={"bend": "/external_scores/bend"}, tokens="/policy/tokens")
    read = read_rollouts([tmp_path / "bag"], topics)
    write_archive(tmp_path / "archive.npz", read)
    for source in ("bag", "archive.npz"):
        rollout = read_one(tmp_path / source, topics)
        np.testing.assert_array_equal(rollout.tokens, tokens[[0, 2, 3]])
        np.testing.assert_array_equal(rollout.external["bend"], [0, 2, 3])
        assert rollout.external["bend"].dtype == np.float64
        assert read_one(tmp_path / source, Topics()).tokens is None
    assert len(read_one(tmp_path / "bag", Topics())) == 4


def test_options_read_what_the_scores_need_besides_decisions() -> None:
    topics = ReadingOptions().for_scores(("token_distance", "external:bend", "knn")).topics
    assert topics == Topics(external={"bend": "/external_scores/bend"}, tokens="/policy/tokens")
    named = ReadingOptions(topics=Topics(external={"bend": "/b"}, tokens="/t"))
    assert named.for_scores(("token_distance", "external:bend")).topics == named.topics
    assert ReadingOptions().for_scores(("knn",)).topics == Topics()


def test_a_topic_cannot_mean_two_things(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag")
    for topics in (
        Topics(success="/rollout/active"),
        Topics(external={"a": "/x", "b": "/x"}),
        Topics(positions="/x", external={"a": "/x"}),
    ):
        with pytest.raises(UsageError, match="two meanings"):
            read_rollouts([bag], topics)


def test_the_delay_of_decisions_behind_their_stamps_is_known(tmp_path: Path) -> None:
    with BagBuilder(tmp_path / "bag") as bag:
        for index in range(4):
            write_decision(bag, index)
    rollouts = read_rollouts([tmp_path / "bag"])
    reception = rollouts.receptions[rollouts.rollouts[0].sha256]
    np.testing.assert_allclose(reception.delays, 0.03, atol=1e-6)
    assert (reception.unpaired, reception.repeated, reception.left_out) == (0, 0, 0)
