# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What a test leaves behind does not reach the next."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import rclpy
from rclpy.node import Node
from std_msgs.msg import Bool
from testbed.left_over import leave_ros_domain, nodes_ended, processes_ended

pytestmark = pytest.mark.ros


class HalfMade(Node):
    def __init__(self) -> None:
        super().__init__("half_made")
        self.create_publisher(Bool, "contradiction", 10)
        raise ValueError("half-way")

    def destroy_node(self) -> None:
        self.parts.close()
        super().destroy_node()


def test_nodes_that_a_test_leaves_are_ended_and_those_before_it_are_not():
    rclpy.init()
    try:
        before = rclpy.create_node("before")
        with nodes_ended():
            left = rclpy.create_node("left")
            left.create_publisher(Bool, "contradiction", 10)
            with pytest.raises(ValueError, match="half-way") as _kept:
                HalfMade()
            assert before.count_publishers("contradiction") == 2
        assert before.count_publishers("contradiction") == 0
        assert before.get_node_names() == ["before"]
        before.destroy_node()
    finally:
        rclpy.try_shutdown()


def test_processes_that_a_file_leaves_are_ended_and_their_domain_is_left():
    domain = os.environ["ROS_DOMAIN_ID"]
    with processes_ended():
        process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        leave_ros_domain()
        assert os.environ["ROS_DOMAIN_ID"] == domain
    assert process.poll() is not None
    leave_ros_domain()
    assert os.environ["ROS_DOMAIN_ID"] != domain
