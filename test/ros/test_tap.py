# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""One line in a policy node publishes a decision that the monitor can read."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from builtin_interfaces.msg import Time
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import Float64, String
from testbed.ros_graph import Observer, observing

from failure_monitor.messages.point_cloud import read_action_chunks, read_embedding
from failure_monitor.parameters.topics import (
    ACTION_CHUNKS_TOPIC,
    EMBEDDING_TOPIC,
    POLICY_FORMAT_TOPIC,
)
from failure_monitor.policy_description import PolicyDescription
from failure_monitor.ros.common.qos import LATCHED_QOS
from failure_monitor.ros.tap import DecisionTap

pytestmark = pytest.mark.ros

EMBEDDING = np.arange(5, dtype=np.float32)
CHUNKS = np.arange(24, dtype=np.float32).reshape(3, 4, 2)


@pytest.fixture
def observer():
    with observing(Observer, action_names=["x", "y"]) as observer:
        observer.listen(EMBEDDING_TOPIC, PointCloud2)
        observer.listen(ACTION_CHUNKS_TOPIC, PointCloud2)
        yield observer


def of_a_policy(values: np.ndarray) -> torch.Tensor:
    """Values as a policy in half precision has them while it is trained."""
    return torch.tensor(values, dtype=torch.bfloat16, requires_grad=True)


@pytest.mark.parametrize("given", [np.asarray, torch.from_numpy, of_a_policy])
def test_a_decision_arrives_with_its_stamp_its_names_and_its_values(observer, given):
    tap = DecisionTap(observer.node, action_names=["x", "y"], frame_id="base")
    observer.spin(0.5)
    tap.publish(given(EMBEDDING), given(CHUNKS), Time(sec=3, nanosec=4))
    observer.wait_for(
        lambda: observer.received[EMBEDDING_TOPIC] and observer.received[ACTION_CHUNKS_TOPIC],
        "the decision",
    )
    embedding, chunks = (
        observer.received[EMBEDDING_TOPIC][0],
        observer.received[ACTION_CHUNKS_TOPIC][0],
    )
    assert embedding.header == chunks.header
    assert (chunks.header.stamp, chunks.header.frame_id) == (Time(sec=3, nanosec=4), "base")
    np.testing.assert_array_equal(read_embedding(embedding), EMBEDDING)
    names, values = read_action_chunks(chunks)
    assert names == ("x", "y")
    np.testing.assert_array_equal(values, CHUNKS)


@pytest.mark.parametrize(
    ("embedding", "chunks", "why"),
    [
        (EMBEDDING[np.newaxis], CHUNKS, r"shape \(E,\), got \(1, 5\); .* pass embedding\[0\]$"),
        (EMBEDDING, CHUNKS[..., :1], r"shape \(B, H, 2\) .* got \(3, 4, 1\)$"),
        (EMBEDDING, CHUNKS[0], r"got \(4, 2\); pass a single sample as chunks\[None\]$"),
        (EMBEDDING, CHUNKS[np.newaxis], r"got \(1, 3, 4, 2\); .* pass chunks\[0\]$"),
        (EMBEDDING, CHUNKS[:0], r"got \(0, 4, 2\): there must be a sample"),
        (EMBEDDING, CHUNKS[:, :0], r"got \(3, 0, 2\): there must be a sample"),
    ],
)
def test_wrong_shapes_are_refused_before_anything_is_sent(observer, embedding, chunks, why):
    tap = DecisionTap(observer.node, action_names=["x", "y"])
    observer.spin(0.3)
    for given in (np.asarray, torch.from_numpy):
        with pytest.raises(ValueError, match=why):
            tap.publish(given(embedding), given(chunks), Time())
    observer.spin(0.2)
    assert not observer.received[EMBEDDING_TOPIC]


@pytest.mark.parametrize("none", [None, EMBEDDING[:0]])
def test_a_policy_without_an_embedding_publishes_its_chunks_alone(observer, none):
    tap = DecisionTap(observer.node, action_names=["x", "y"])
    observer.spin(0.3)
    tap.publish(none, CHUNKS, Time(sec=1))
    observer.wait_for(lambda: observer.received[ACTION_CHUNKS_TOPIC], "the chunks")
    # The observer itself publishes embeddings, too; the tap has none to publish.
    assert not observer.received[EMBEDDING_TOPIC]
    assert observer.node.count_publishers(EMBEDDING_TOPIC) == 1
    with pytest.raises(ValueError, match="has an embedding, and those before had none"):
        tap.publish(EMBEDDING, CHUNKS, Time(sec=2))
    tap.close()


def test_a_policy_with_an_embedding_may_not_leave_it_out(observer):
    tap = DecisionTap(observer.node, action_names=["x", "y"])
    tap.publish(EMBEDDING, CHUNKS, Time(sec=1))
    with pytest.raises(ValueError, match="has no embedding, and those before had one"):
        tap.publish(None, CHUNKS, Time(sec=2))


@pytest.mark.parametrize(
    ("tokens", "why"),
    [
        (np.ones(3), r"tokens have shape \(N, F\), got \(3,\)$"),
        (np.ones((1, 2, 3)), r"got \(1, 2, 3\); of a batch of one observation pass tokens\[0\]$"),
        (np.ones((0, 3)), r"got \(0, 3\)$"),
    ],
)
def test_wrong_tokens_are_refused_before_anything_is_sent(observer, tokens, why):
    tap = DecisionTap(observer.node, action_names=["x", "y"])
    with pytest.raises(ValueError, match=why):
        tap.publish(None, CHUNKS, Time(sec=1), tokens=tokens)
    observer.spin(0.2)
    assert not observer.received[ACTION_CHUNKS_TOPIC]
    # What was refused settles nothing, such as that there are no embeddings.
    tap.publish(EMBEDDING, CHUNKS, Time(sec=2))


def test_a_time_of_the_clock_is_a_stamp_and_anything_else_is_none(observer):
    tap = DecisionTap(observer.node, action_names=["x", "y"])
    observer.spin(0.3)
    with pytest.raises(TypeError, match=r"the stamp is a float, expected builtin_interfaces"):
        tap.publish(EMBEDDING, CHUNKS, 3.5)
    tap.publish(EMBEDDING, CHUNKS, observer.node.get_clock().now())
    observer.wait_for(lambda: observer.received[ACTION_CHUNKS_TOPIC], "the decision")
    assert len(observer.received[EMBEDDING_TOPIC]) == 1


def test_what_the_policy_states_reaches_who_subscribes_later(observer):
    stated = PolicyDescription(action_kind="delta", executed_actions=8)
    tap = DecisionTap(observer.node, action_names=["x", "y"], description=stated)
    observer.spin(0.2)
    observer.listen(POLICY_FORMAT_TOPIC, String, LATCHED_QOS)
    observer.wait_for(lambda: observer.received[POLICY_FORMAT_TOPIC], "the description")
    tap.describe(replace(stated, checkpoint="c" * 64))
    observer.wait_for(lambda: len(observer.received[POLICY_FORMAT_TOPIC]) == 2, "the change")
    first, second = (
        PolicyDescription.from_json(message.data)
        for message in observer.received[POLICY_FORMAT_TOPIC]
    )
    assert first == replace(stated, action_names=("x", "y"))
    assert second == replace(first, checkpoint="c" * 64)


def test_a_tap_without_a_description_states_nothing(observer):
    DecisionTap(observer.node, action_names=["x", "y"])
    assert observer.node.count_publishers(POLICY_FORMAT_TOPIC) == 0


def test_a_description_of_other_actions_is_refused_before_anything_is_sent(observer):
    with pytest.raises(ValueError, match=r"names the actions \['y', 'x'\], the tap \['x', 'y'\]"):
        DecisionTap(
            observer.node,
            action_names=["x", "y"],
            description=PolicyDescription(action_names=("y", "x")),
        )
    tap = DecisionTap(observer.node, action_names=["x", "y"])
    with pytest.raises(ValueError, match=r"\['z'\] are not among the action_names"):
        tap.describe(PolicyDescription(position_names=("z",)))
    assert observer.node.count_publishers(POLICY_FORMAT_TOPIC) == 0


def test_extras_are_published_before_the_chunks_and_stated(observer):
    order = []
    tap = DecisionTap(
        observer.node, action_names=["x", "y"], description=PolicyDescription(extras=("bend",))
    )
    for topic, kind in (("external_scores/bend", Float64), (ACTION_CHUNKS_TOPIC, PointCloud2)):
        observer.node.create_subscription(kind, topic, order.append, 10)
    observer.listen(POLICY_FORMAT_TOPIC, String, LATCHED_QOS)
    observer.spin(0.3)
    values = {"bend": torch.tensor(0.5, dtype=torch.bfloat16), "energy": np.int64(3)}
    tap.publish(EMBEDDING, CHUNKS, Time(sec=1), extras=values)
    observer.wait_for(lambda: len(order) >= 2, "the extra and the chunks")
    assert order[0] == Float64(data=0.5)
    observer.wait_for(lambda: len(observer.received[POLICY_FORMAT_TOPIC]) == 2, "the statement")
    stated = PolicyDescription.from_json(observer.received[POLICY_FORMAT_TOPIC][-1].data)
    assert stated.extras == ("bend", "energy")
    tap.close()
    assert observer.node.count_publishers("external_scores/bend") == 0


@pytest.mark.parametrize(
    ("extras", "kind", "why"),
    [
        ({"my energy": 1.0}, ValueError, "'my energy' cannot name an extra"),
        ({"": 1.0}, ValueError, "'' cannot name an extra"),
        ({"a" * 101: 1.0}, ValueError, "cannot name an extra"),
        ({3: 1.0}, TypeError, "the extra 3 has no text as its name"),
        ({"energy": math.nan}, ValueError, "the extra 'energy' is nan, expected a finite"),
        ({"energy": 10**400}, ValueError, "the extra 'energy' is inf"),
        ({"energy": "high"}, TypeError, "the extra 'energy', a builtins.str, of .* are no real"),
        ({"energy": None}, TypeError, "no real numbers"),
        ({"energy": 1j}, TypeError, "no real numbers"),
        ({"energy": True}, TypeError, "expected one real number"),
        ({"energy": [1.0]}, TypeError, r"of shape \(1,\) and type list, expected one real"),
        ([0.5], TypeError, "the extras are a list, expected numbers by their names"),
    ],
)
def test_wrong_extras_are_refused_before_anything_is_sent(extras, kind, why):
    class Recorded:
        """Stands for the node: nothing may be published on it."""

        def create_publisher(self, *_):
            return self

        def publish(self, message):
            raise AssertionError(f"{message} was published")

    tap = DecisionTap(Recorded(), action_names=["x", "y"])
    both = {"good": 1.0, **extras} if isinstance(extras, dict) else extras
    with pytest.raises(kind, match=why):
        tap.publish(EMBEDDING, CHUNKS, Time(), extras=both)
