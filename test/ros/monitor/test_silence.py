# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Inputs that never come: the alarm says who publishes what, and why it does not arrive."""

import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import Float32MultiArray
from testbed.ros_graph import LATCHED, Observer, node_process, observing

pytestmark = pytest.mark.ros

MONITOR = "failure_monitor.ros.monitor.node"


class Listener(Observer):
    """Publishes no decisions."""

    def __init__(self, policy) -> None:
        super().__init__(policy.action_names)
        self.node.destroy_publisher(self.embeddings)
        self.node.destroy_publisher(self.chunks)
        self.listen("/failure_monitor/alarm", DiagnosticStatus, LATCHED)


@pytest.fixture
def listener(policy):
    with observing(Listener, policy) as listener:
        yield listener


def test_the_reason_names_every_input_that_is_missing_and_who_publishes_what(
    bundle_folder, listener
):
    node = listener.node
    with node_process(MONITOR, rollout_boundaries="none", bundle=bundle_folder) as process:
        listener.wait_for_reason(
            "no message on '/policy/embedding' so far: no node publishes there"
        )
        assert "no message on '/policy/action_chunks' so far: no node" in listener.reason()
        assert "no message on '/joint_states' so far: no node" in listener.reason()
        assert listener.state() == "STALE"

        other_type = node.create_publisher(Float32MultiArray, "policy/embedding", 10)
        listener.wait_for_reason(
            "/observer publishes std_msgs/msg/Float32MultiArray there, expected "
            "sensor_msgs/msg/PointCloud2"
        )
        node.destroy_publisher(other_type)

        node.create_publisher(PointCloud2, "policy/embedding", qos_profile_sensor_data)
        listener.wait_for_reason("/observer publishes there best effort: let it publish reliably")

        node.create_publisher(PointCloud2, "policy/action_chunks", 10)
        listener.wait_for_reason("/observer publishes there, and is silent or cannot be reached")
        assert listener.state() == "STALE"
        assert process.is_running


def test_a_simulated_clock_that_says_nothing_is_named(bundle_folder, listener):
    with node_process(MONITOR, rollout_boundaries="none", bundle=bundle_folder, use_sim_time=True):
        listener.wait_for_reason("use_sim_time is true, and no time has come on '/clock'")
        assert listener.state() == "STALE"
