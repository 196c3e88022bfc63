# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Records one rosbag2 bag (mcap, zstd) per rollout, without the recorder of ROS.

Messages are written as the bytes that were received. A bag begins with the last messages of
latched topics, such as static transforms, which are published once; but for those about rollouts.
What the policy states about itself, how rollouts ended and labels are recorded in any case.
A topic that cannot be recorded is left out, which the log says when it is found and for every bag.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.timer import Timer

from failure_monitor.errors import UsageError
from failure_monitor.incidents.folder import UNFINISHED
from failure_monitor.incidents.memory import IncidentMemory, RecordedMessage
from failure_monitor.monitoring.rollout_reports import RolloutEnd, RolloutReports, RolloutStart
from failure_monitor.parameters.record import RecordParameters
from failure_monitor.ros.common.parameters import load_parameters
from failure_monitor.ros.common.run import run_node
from failure_monitor.ros.common.time_guard import TimeGuard
from failure_monitor.ros.common.topic_name import full_topic_name
from failure_monitor.ros.recording.bag_writer import BagWriter
from failure_monitor.ros.recording.raw_messages import UnreadableMessageError, read_boundary
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
        settings = load_parameters(self, RecordParameters, has_no_others=True)
        self._folder, self._prefix = _folder_for_bags(settings.output), settings.prefix
        self._tail = settings.tail
        self._boundary_topic = self.resolve_topic_name(settings.boundary_topic)
        self._format_topic = full_topic_name(
            self, "format_topic", settings.format_topic, is_optional=True
        )
        self._intervention_topic = full_topic_name(
            self, "intervention_topic", settings.intervention_topic, is_optional=True
        )
        self._label_topic = full_topic_name(
            self, "label_topic", settings.label_topic, is_optional=True
        )
        self._outcome_topic = full_topic_name(
            self, "outcome_topic", settings.outcome_topic, is_optional=True
        )
        self._bag: BagWriter | None = None
        self._end: Timer | None = None
        self._is_ending = False
        self._reports = RolloutReports()
        # Of no seconds but what is latched.
        self._latched = IncidentMemory(0.0, LATCHED_BYTES)
        self._problems: dict[str, str] = {}
        self._topics = RawTopics(
            self,
            [
                *settings.topics,
                settings.format_topic,
                settings.intervention_topic,
                settings.label_topic,
                settings.outcome_topic,
                settings.boundary_topic,
            ],
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
            try:
                self._on_report(read_boundary(topic, message_type, data), now)
            except UnreadableMessageError as error:
                self.get_logger().error(str(error), throttle_duration_sec=1.0)
                return
            except UsageError as error:
                self._on_problem(topic, str(error))
        self._write(message)
        if topic == self._intervention_topic and message_type == BOOL_TYPE:
            # A human who took over before the rollout may say so only once.
            self._latched.latch(topic, 1)
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
        except OSError as error:
            self._give_up(error)

    def _on_report(self, report: bool | str, now: int) -> None:
        change = self._reports.update(report, None)
        if isinstance(change, RolloutStart):
            self._close_bag()
            self._open_bag(now)
        elif isinstance(change, RolloutEnd) and self._bag is not None:
            # Steady: a bag must end even if a simulated clock stands still.
            self._end = self.create_timer(
                self._tail, self._close_bag, clock=Clock(clock_type=ClockType.STEADY_TIME)
            )

    def _open_bag(self, now: int) -> None:
        """Open a bag, and start it with what a new subscriber would receive."""
        try:
            self._bag = BagWriter(self._next_path(), self._topics.offered)
        except OSError as error:
            self._give_up(error)
        self._latched.forget()
        for message in self._latched.latched_before(now):
            if not self._is_of_another_policy(message):
                self._write(message)

    def _is_of_a_rollout(self, message: RecordedMessage) -> bool:
        """Return whether a message may state something of the present rollout alone.

        Such as its outcome or its group, which would be wrong in the next bag.
        """
        if message.topic in (self._format_topic, self._intervention_topic):
            return False
        if message.topic in (self._label_topic, self._outcome_topic):
            return True
        namespace = self._boundary_topic.rpartition("/")[0]
        is_beside = bool(namespace) and message.topic.startswith(f"{namespace}/")
        return (
            is_beside or message.topic == self._boundary_topic or message.message_type == BOOL_TYPE
        )

    def _is_of_another_policy(self, message: RecordedMessage) -> bool:
        """Return whether a message was stated by a policy that has left.

        Who decides in the next bag may be another one, which states nothing.
        """
        return message.topic == self._format_topic and not self.count_publishers(message.topic)

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
        self._stop_timer()
        if self._bag is None:
            return
        try:
            self._bag.close()
        except OSError as error:
            self._give_up(error)
            return
        self.get_logger().info(f"wrote {self._bag.path}")
        if self._problems:
            lacks = "; ".join(self._problems.values())
            self.get_logger().error(f"{self._bag.path.name} is not complete: {lacks}")
        self._bag = None

    def _give_up(self, error: OSError) -> None:
        """Leave the bag of this rollout as far as it was written; the next may succeed."""
        self._stop_timer()
        self._bag = None
        self.get_logger().error(
            f"the bag of this rollout is lost: '{error.filename or self._folder}' cannot be "
            f"written: {error.strerror or error}"
        )

    def _stop_timer(self) -> None:
        if self._end is not None:
            self.destroy_timer(self._end)
            self._end = None

    def destroy_node(self) -> None:
        """Complete the open bag, then end."""
        self._close_bag()
        super().destroy_node()


def _folder_for_bags(name: str) -> Path:
    """Return a folder, which is created if it does not exist.

    Raises:
        UsageError: no bag can be written there.
    """
    folder = Path(name).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"the parameter 'output' is '{name}', where no folder can be made: "
            f"{error.strerror or error}"
        ) from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(f"the parameter 'output' is '{name}', a folder that cannot be written")
    return folder


def _complete_bag(recorder: Node) -> bool:
    assert isinstance(recorder, RecordNode)
    recorder.end()
    return False


def main() -> None:
    """Run the node; when a signal ends it, it completes the open bag first."""
    run_node(RecordNode, last_act=_complete_bag)


if __name__ == "__main__":
    main()
