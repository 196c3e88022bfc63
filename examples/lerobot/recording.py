# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Records rollouts as a user does: the tap publishes, the record node writes a bag for each."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import rclpy
from rclpy.node import Node
from rclpy.time import Time
from std_msgs.msg import Bool, String

from examples.lerobot.environment import ACTION_NAMES, CONTROL_PERIOD, POSITION_NAMES, PickPlace
from examples.lerobot.plan import Plan
from examples.lerobot.rollout import Outcome, RobotPolicy, roll_out
from failure_monitor.demo.node_processes import NodeProcesses, private_domain
from failure_monitor.errors import FailureMonitorError
from failure_monitor.incidents.folder import UNFINISHED
from failure_monitor.ros.common.qos import LATCHED_QOS
from failure_monitor.ros.lerobot_tap import LeRobotTap

TOPICS = (
    "policy/embedding",
    "policy/action_chunks",
    "policy/format",
    "rollout/active",
    "rollout/success",
    "rollout/group",
)
"""What a bag holds."""

PATIENCE = 20.0
"""Seconds after which a node, or a bag, is given up."""

SETTLING = 1.0
"""Seconds that discovery has to finish."""

TAIL = 0.1
"""Seconds for which a bag goes on after its rollout."""

ON_ITS_WAY = 0.1
"""Seconds that a decision may take to the recorder."""

SECOND = 1_000_000_000


@contextmanager
def ros_node(name: str) -> Iterator[Node]:
    """Make a node on a ROS domain that nobody else uses."""
    os.environ.update(private_domain())
    rclpy.init()
    node = rclpy.create_node(name)
    try:
        yield node
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


@contextmanager
def tapped(node: Node, policy: RobotPolicy) -> Iterator[LeRobotTap]:
    """Watch a policy: these are the lines that a user adds to his program."""
    tap = LeRobotTap(
        node,
        policy.policy,
        policy.postprocessor,
        ACTION_NAMES,
        checkpoint=policy.checkpoint,
        control_period=CONTROL_PERIOD,
        action_kind="delta",
        position_names=POSITION_NAMES,
    )
    try:
        yield tap
    finally:
        tap.close()


def record(
    policy: RobotPolicy, plans: Iterable[Plan], folder: Path, log: Path
) -> Generator[Outcome, None, None]:
    """Record a bag of every rollout into a folder, and yield how each ended."""
    folder.mkdir(parents=True, exist_ok=True)
    with (
        log.open("w") as output,
        ros_node("example") as node,
        NodeProcesses({}, output) as nodes,
        tapped(node, policy) as tap,
    ):
        recorder = _Recorder(node, nodes, folder)
        environment = PickPlace()
        for plan in plans:
            before_action = stamping(tap, recorder.start(plan))
            yield recorder.end(roll_out(policy, environment, plan, before_action))


def stamping(tap: LeRobotTap, began: int) -> Callable[[float], None]:
    """Return what tells the tap when, by the simulation's clock, an observation was made."""

    def observed(seconds: float) -> None:
        tap.observed(Time(nanoseconds=began + round(seconds * SECOND)))

    return observed


class _Recorder:
    """The record node, and what tells it of rollouts."""

    def __init__(self, node: Node, nodes: NodeProcesses, folder: Path) -> None:
        self._node, self._nodes, self._folder = node, nodes, folder
        self._active = node.create_publisher(Bool, "rollout/active", LATCHED_QOS)
        self._success = node.create_publisher(Bool, "rollout/success", LATCHED_QOS)
        self._group = node.create_publisher(String, "rollout/group", LATCHED_QOS)
        parameters = {"topics": TOPICS, "output": folder, "tail": TAIL}
        nodes.start("ros.recording.record_node", parameters)
        nodes.wait_while(self._missing, PATIENCE)
        time.sleep(SETTLING)

    def start(self, plan: Plan) -> int:
        """Begin a bag, and return the time in nanoseconds."""
        self._active.publish(Bool(data=True))
        self._wait(self._is_recording, "begun")
        self._group.publish(String(data=plan.kind))
        return int(self._node.get_clock().now().nanoseconds)

    def end(self, outcome: Outcome) -> Outcome:
        """End the bag with the outcome."""
        before = self._finished()
        # The tap publishes in a thread of its own: the last decision may still be on its way.
        time.sleep(ON_ITS_WAY)
        self._success.publish(Bool(data=outcome.success))
        self._active.publish(Bool(data=False))
        self._wait(lambda: self._finished() != before, "finished")
        return outcome

    def _is_recording(self) -> bool:
        return any((self._folder / UNFINISHED).glob("*"))

    def _finished(self) -> set[Path]:
        return set(self._folder.glob("*/metadata.yaml"))

    def _wait(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            self._nodes.check()
            if time.monotonic() > deadline:
                raise FailureMonitorError(
                    f"the record node has not {what} a bag in {self._folder}: see its output"
                )
            time.sleep(0.01)

    def _missing(self) -> list[str]:
        return [
            f"the record node does not listen to {topic}"
            for topic in TOPICS
            if "record"
            not in {info.node_name for info in self._node.get_subscriptions_info_by_topic(topic)}
        ]
