# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The demo's policy node obeys a monitor that steers it; the test plays the monitor."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import rclpy
from rclpy.node import Node
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import Float64, Float64MultiArray, Header, Int32

from failure_monitor.demo.node_processes import NodeProcesses
from failure_monitor.demo.robot_client import RobotClient
from failure_monitor.ros.common.messages import action_chunks_message
from failure_monitor.ros.common.qos import DECISION_QOS, LATCHED_QOS

TASK = "drawer-open-v3"
TIMEOUT = 60.0
ROLLOUT = {"task": TASK, "seed": 1, "perturbation": "none", "time_limit": 2.0}
CHOSEN = 0.125

pytestmark = pytest.mark.ros


class Monitor:
    """Steers as the test says, and counts what the policy does."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.robot = RobotClient(node)
        self.horizon: int | None = None
        self.choose = False
        self.too_late = False
        self.decisions = 0
        self.commands: list[list[float]] = []
        self.speed = node.create_publisher(Float64, "failure_monitor/speed_scale", LATCHED_QOS)
        self._horizons = node.create_publisher(
            Int32, "failure_monitor/trusted_horizon", DECISION_QOS
        )
        self._chunks = node.create_publisher(
            PointCloud2, "failure_monitor/chosen_chunk", DECISION_QOS
        )
        node.create_subscription(
            PointCloud2, "policy/action_chunks", self._on_chunks, DECISION_QOS
        )
        node.create_subscription(Float64MultiArray, "policy/command", self._on_command, 10)

    def _on_chunks(self, message: PointCloud2) -> None:
        self.decisions += 1
        if self.horizon is not None:
            self._horizons.publish(Int32(data=self.horizon))
        if self.choose:
            chunk = np.full((1, message.width, len(message.fields)), CHOSEN, np.float32)
            header = Header(stamp=message.header.stamp)
            header.stamp.nanosec ^= int(self.too_late)
            names = [field.name for field in message.fields]
            self._chunks.publish(action_chunks_message(chunk, names, header))

    def _on_command(self, message: Float64MultiArray) -> None:
        self.commands.append(list(message.data))

    def roll_out(self) -> None:
        self.decisions, self.commands = 0, []
        self.robot.begin(ROLLOUT, TIMEOUT)
        self.wait_for(lambda: self.robot.outcome is not None)

    def wait_for(self, condition: Callable[[], Any]) -> None:
        end = time.monotonic() + TIMEOUT
        while not condition():
            assert time.monotonic() < end
            rclpy.spin_once(self.node, timeout_sec=0.05)


@pytest.fixture(scope="module")
def monitor() -> Iterator[Monitor]:
    domain = {"ROS_DOMAIN_ID": os.environ["ROS_DOMAIN_ID"]}
    obey = {f"obey_{what}": True for what in ("speed_scale", "trusted_horizon", "chosen_chunk")}
    with NodeProcesses(domain, sys.stderr) as nodes:
        nodes.start("demo.robot_node", {"task": TASK}, {"command": "policy/command"})
        nodes.start("demo.policy_node", {"task": TASK, "executed_actions": 6, **obey})
        rclpy.init()
        monitor = Monitor(rclpy.create_node("failure_monitor"))
        monitor.robot.wait_for_robot(TIMEOUT)
        monitor.wait_for(lambda: monitor.speed.get_subscription_count())
        # Two processes may not have found each other although both are seen.
        end = time.monotonic() + 3.0
        monitor.wait_for(lambda: time.monotonic() > end)
        yield monitor
        monitor.node.destroy_node()
        rclpy.try_shutdown()


@pytest.fixture(autouse=True)
def unsteered(monitor: Monitor) -> Iterator[None]:
    yield
    monitor.horizon, monitor.choose, monitor.too_late = None, False, False


def motions(monitor: Monitor) -> np.ndarray:
    return np.array(monitor.commands)[:, :3]


# In this order: until a speed scale has come, the policy stands still.


def test_nothing_moves_before_the_monitor_has_said_how_fast(monitor: Monitor):
    monitor.roll_out()
    assert len(monitor.commands) > 10
    assert not motions(monitor).any()


def test_it_goes_as_fast_as_the_speed_scale_says(monitor: Monitor):
    monitor.choose = True
    for speed in (1.0, 0.5, float("nan")):
        monitor.speed.publish(Float64(data=speed))
        monitor.roll_out()
        expected = CHOSEN * (speed if speed == speed else 0.0)
        # Chosen chunks come after the decision; a busy machine may be late for some.
        assert np.mean(np.isclose(motions(monitor), expected).all(axis=1)) > 0.5
        grips = np.array(monitor.commands)[:, 3]
        assert np.mean(np.isclose(grips, CHOSEN)) > 0.5


def test_a_chunk_that_was_chosen_for_another_decision_is_not_executed(monitor: Monitor):
    monitor.speed.publish(Float64(data=1.0))
    monitor.choose = monitor.too_late = True
    monitor.roll_out()
    assert not np.isclose(motions(monitor), CHOSEN).all(axis=1).any()


def test_it_decides_anew_where_the_trusted_horizon_ends(monitor: Monitor):
    monitor.speed.publish(Float64(data=1.0))
    monitor.roll_out()
    trusting = len(monitor.commands) / monitor.decisions
    monitor.horizon = 1
    monitor.roll_out()
    doubting = len(monitor.commands) / monitor.decisions
    assert trusting > 4.0
    assert doubting < 2.0
