# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""One line in a policy node publishes a decision that the monitor can read."""

import numpy as np
import pytest
import rclpy
from builtin_interfaces.msg import Time
from sensor_msgs.msg import PointCloud2
from testbed.ros_graph import Observer

from failure_monitor.messages.point_cloud import read_action_chunks, read_embedding
from failure_monitor.parameters.topics import ACTION_CHUNKS_TOPIC, EMBEDDING_TOPIC
from failure_monitor.ros.tap import DecisionTap

pytestmark = pytest.mark.ros

EMBEDDING = np.arange(5, dtype=np.float32)
CHUNKS = np.arange(24, dtype=np.float32).reshape(3, 4, 2)


@pytest.fixture
def observer():
    rclpy.init()
    observer = Observer(action_names=["x", "y"])
    observer.listen(EMBEDDING_TOPIC, PointCloud2)
    observer.listen(ACTION_CHUNKS_TOPIC, PointCloud2)
    yield observer
    observer.node.destroy_node()
    rclpy.try_shutdown()


def test_a_decision_arrives_with_its_stamp_its_names_and_its_values(observer):
    tap = DecisionTap(observer.node, action_names=["x", "y"], frame_id="base")
    observer.spin(0.5)
    tap.publish(EMBEDDING, CHUNKS, Time(sec=3, nanosec=4))
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


def test_wrong_shapes_are_refused_where_they_are_made(observer):
    tap = DecisionTap(observer.node, action_names=["x", "y"])
    with pytest.raises(ValueError, match=r"an embedding has shape \(E,\), got \(1, 5\)"):
        tap.publish(EMBEDDING[np.newaxis], CHUNKS, Time())
    with pytest.raises(ValueError, match=r"shape \(B, H, 2\) .* got \(3, 4, 1\)"):
        tap.publish(EMBEDDING, CHUNKS[..., :1], Time())
