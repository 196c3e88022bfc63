# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The source of a node's time stays what it was, and impossible times change nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import rclpy
from builtin_interfaces.msg import Time
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rosgraph_msgs.msg import Clock

from failure_monitor.ros.common.time_guard import TimeGuard

pytestmark = [pytest.mark.ros, pytest.mark.law(7)]


@pytest.fixture(params=[False, True])
def simulated(request) -> Iterator[bool]:
    rclpy.init(args=["--ros-args", "-p", f"use_sim_time:={str(request.param).lower()}"])
    yield request.param
    rclpy.try_shutdown()


def test_another_source_of_time_is_rejected_while_a_node_runs(simulated):
    node = Node("guarded")
    guard = TimeGuard(node)
    same, other = (Parameter("use_sim_time", value=value) for value in (simulated, not simulated))
    assert node.set_parameters([same])[0].successful
    result = node.set_parameters_atomically([same, other])
    assert not result.successful
    assert "start it again" in result.reason
    assert guard.is_simulated is simulated
    assert node.get_parameter("use_sim_time").value is simulated
    assert node.get_clock().ros_time_is_active is simulated


def test_a_time_below_zero_is_dropped_and_reported_until_a_possible_one_comes():
    rclpy.init(args=["--ros-args", "-p", "use_sim_time:=true"])
    try:
        node, source = Node("guarded"), Node("source")
        guard = TimeGuard(node)
        clock = source.create_publisher(Clock, "/clock", 10)
        executor = SingleThreadedExecutor()
        executor.add_node(node)

        def send(seconds: int) -> None:
            for _ in range(200):
                clock.publish(Clock(clock=Time(sec=seconds)))
                executor.spin_once(timeout_sec=0.05)
                if clock.get_subscription_count() > 1 and now() in (seconds, 7):
                    return

        def now() -> float:
            return 1e-9 * node.get_clock().now().nanoseconds

        send(7)
        assert now() == 7
        for _ in range(5):
            send(-1)
        assert now() == 7
        assert guard.problem == "the time on '/clock' is below zero: -1 s"
        send(8)
        for _ in range(20):
            executor.spin_once(timeout_sec=0.05)
        assert now() == 8
        assert guard.problem == ""
    finally:
        rclpy.try_shutdown()
