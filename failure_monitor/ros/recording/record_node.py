# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Records one rosbag2 bag (mcap, zstd) per rollout, without the recorder of ROS.

Messages are written as the bytes that were received. A bag begins with the last messages of latched
topics, such as static transforms, which are published once; but for those about rollouts. A topic
that cannot be recorded is left out, which the log says when it is found and for every bag.
"""

from __future__ import annotations

import time
from pathlib import Path

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.serialization import deserialize_message
from rclpy.timer import Timer
from std_msgs.msg import Bool

from failure_monitor.errors import UsageError
from failure_monitor.incidents.folder import UNFINISHED
from failure_monitor.incidents.memory import IncidentMemory, RecordedMessage
from failure_monitor.parameters.record import RecordParameters
from failure_monitor.ros.common.parameters import load_parameters
from failure_monitor.ros.common.run import run_node
from failure_monitor.ros.common.time_guard import TimeGuard
from failure_monitor.ros.common.unknown_parameters import reject_unknown_parameters
from failure_monitor.ros.recording.bag_writer import BagWriter
from failure_monitor.ros.recording.raw_topics import RawTopics

DISCOVERY_PERIOD = 0.2
"""Seconds between two searches for new topics."""

LATCHED_BYTES = 256_000_000
"""Largest latched message that is kept, in bytes."""


BOOL_TYPE = "std_msgs/msg/Bool"


class RecordNode(Node):
    """Opens a bag when a rollout starts, and closes it shortly after the rollout ends."""

    def __init__(self) -> None:
        super().__init__("record")
        settings = load_parameters(self, RecordParameters)
        reject_unknown_parameters(self)
        self._folder, self._prefix = Path(settings.output), settings.prefix
        self._tail = settings.tail
        self._boundary_topic = self.resolve_topic_name(settings.boundary_topic)
        self._folder.mkdir(parents=True, exist_ok=True)
        self._bag: BagWriter | None = None
        self._end: Timer | None = None
        self._is_ending = False
        # Of no seconds but what is latched.
        self._latched = IncidentMemory(0.0, LATCHED_BYTES)
        self._problems: dict[str, str] = {}
        self._topics = RawTopics(
            self,
            [*settings.topics, settings.boundary_topic],
            self._on_message,
            period=DISCOVERY_PERIOD,
            on_latched=self._latched.latch,
            on_problem=self._on_problem,
        )
        TimeGuard(self)

    def end(self) -> None:
        """Complete the open bag, and open no other."""
        self._is_ending = True
        self._close_bag()

    def _on_problem(self, topic: str, problem: str) -> None:
        if self._problems.get(topic) != problem:
            self._problems[topic] = problem
            self.get_logger().error(problem)

    def _on_message(self, topic: str, message_type: str, data: bytes) -> None:
        if self._is_ending:
            return
        now = self.get_clock().now().nanoseconds
        message = RecordedMessage(topic, message_type, time.monotonic(), now, data)
        if topic == self._boundary_topic:
            self._on_boundary(deserialize_message(data, Bool).data, now)
        self._write(message)
        if not self._is_of_a_rollout(message):
            self._latched.add(message)

    def _write(self, message: RecordedMessage) -> None:
        if self._bag is None:
            return
        topic, kind, _, nanoseconds, data = message
        try:
            self._bag.write(topic, kind, nanoseconds, data)
        except UsageError as error:
            self._on_problem(topic, f"'{topic}' is left out: {error}")

    def _on_boundary(self, active: bool, now: int) -> None:
        if active:
            self._close_bag()
            self._bag = BagWriter(self._next_path(), self._topics.offered)
            self._write_latched(now)
        elif self._bag is not None and self._end is None:
            # Steady: a bag must end even if a simulated clock stands still.
            self._end = self.create_timer(
                self._tail, self._close_bag, clock=Clock(clock_type=ClockType.STEADY_TIME)
            )

    def _write_latched(self, now: int) -> None:
        """Start the bag with what a new subscriber would receive."""
        self._latched.forget()
        for message in self._latched.latched_before(now):
            self._write(message)

    def _is_of_a_rollout(self, message: RecordedMessage) -> bool:
        """Return whether a message may state something of the present rollout alone.

        Such as its outcome or its group, which would be wrong in the next bag.
        """
        namespace = self._boundary_topic.rpartition("/")[0]
        is_beside = bool(namespace) and message.topic.startswith(f"{namespace}/")
        return is_beside or message.message_type == BOOL_TYPE

    def _next_path(self) -> Path:
        # Incomplete bags of a recorder that was killed are kept too.
        bags = (*self._folder.iterdir(), *self._folder.glob(f"{UNFINISHED}/*"))
        taken = {path.name for path in bags}
        numbers = (number for number in range(len(taken) + 1))
        return next(
            self._folder / name
            for name in (f"{self._prefix}_{number:04d}" for number in numbers)
            if name not in taken
        )

    def _close_bag(self) -> None:
        if self._end is not None:
            self.destroy_timer(self._end)
            self._end = None
        if self._bag is not None:
            self._bag.close()
            self.get_logger().info(f"wrote {self._bag.path}")
            if self._problems:
                lacks = "; ".join(self._problems.values())
                self.get_logger().error(f"{self._bag.path.name} is not complete: {lacks}")
            self._bag = None

    def destroy_node(self) -> None:
        """Complete the open bag, then end."""
        self._close_bag()
        super().destroy_node()


def _complete_bag(recorder: Node) -> bool:
    assert isinstance(recorder, RecordNode)
    recorder.end()
    return False


def main() -> None:
    """Run the node; when a signal ends it, it completes the open bag first."""
    run_node(RecordNode, last_act=_complete_bag)


if __name__ == "__main__":
    main()
