# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Listens to a graph for some seconds, and says on standard output what it saw, as JSON.

For programs that shall not load ROS:

    python -m failure_monitor.ros.listening.graph_listener SECONDS NAMESPACE [TOPIC]...

NAMESPACE is that of the monitors and gates that matter, / for all; a TOPIC is heard besides what
monitors listen to.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.utilities import remove_ros_args
from std_msgs.msg import Bool

from failure_monitor.graph_check.snapshot import (
    GATE_DEFAULTS,
    GateSnapshot,
    GraphSnapshot,
    MonitorSnapshot,
    TopicSnapshot,
    absolute,
)
from failure_monitor.ros.commands import COMMAND_TYPES
from failure_monitor.ros.common.qos import DECISION_QOS, LATCHED_QOS
from failure_monitor.ros.common.run import run_node
from failure_monitor.ros.listening.node_probe import HeardGate, HeardMonitor
from failure_monitor.ros.listening.remote_parameters import AskedParameters
from failure_monitor.ros.listening.topic_endpoints import published_by, seen_topic, subscribed_by
from failure_monitor.ros.listening.topic_probe import HEARD_TYPES, HeardTopic

PERIOD = 0.2
"""Seconds between two looks at the graph."""

STATUS_TYPE, PERMIT_TYPE = "diagnostic_msgs/msg/DiagnosticStatus", "std_msgs/msg/Bool"
TOPIC_PARAMETERS = ("embedding_topic", "action_chunks_topic", "joint_states_topic")
MONITOR_PARAMETERS = (
    *TOPIC_PARAMETERS,
    "images_reliable",
    "observation_rate",
    "heartbeat_period",
    "max_decision_age",
    "max_joint_state_age",
    "max_stamp_lead",
    "rollout_boundaries",
    "rollout_topic",
    "rollout_topic_type",
    "use_sim_time",
)
GATE_PARAMETERS = ("permit_lease", "joint_states_topic", "inform_only")


class GraphListener(Node):
    """Finds monitors and gates, and hears them and what they need."""

    def __init__(self, seconds: float, namespace: str, topics: Sequence[str]) -> None:
        """Listen from now on.

        Args:
            seconds: for how long; then it says what it saw, and ends.
            namespace: of the monitors and gates that matter.
            topics: full names of what to hear besides what monitors listen to.
        """
        super().__init__("failure_monitor_check")
        self._seconds = seconds
        self._namespace = f"{namespace.rstrip('/')}/"
        self._wanted = tuple(topics)
        self._heard: dict[str, HeardTopic] = {}
        self._monitors: dict[str, HeardMonitor] = {}
        self._gates: dict[str, HeardGate] = {}
        self._asked = AskedParameters(self)
        self._end = time.monotonic() + seconds
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        # Steady: a simulated clock that stands still must not keep it from ending.
        self.create_timer(PERIOD, self._look, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def _look(self) -> None:
        for name, types in self.get_topic_names_and_types():
            if STATUS_TYPE in types and name.startswith(self._namespace):
                self._follow(name)
        self._asked.send()
        self._take_clock()
        for topic in self._topics_to_hear():
            self._hear(topic)
        if time.monotonic() > self._end:
            sys.stdout.write(self._snapshot().model_dump_json() + "\n")
            sys.stdout.flush()
            rclpy.try_shutdown()

    def _follow(self, status: str) -> None:
        """Hear a node that says its state on this topic, if it is a monitor or a gate."""
        if not self.count_publishers(status):
            return
        node, _, last = status.rpartition("/")
        # Volatile, as both speak again and again: what one said before it hung tells nothing.
        if last == "alarm" and node not in self._monitors:
            monitor = self._monitors[node] = HeardMonitor(node)
            self.create_subscription(DiagnosticStatus, status, monitor.on_alarm, DECISION_QOS)
            self._asked.ask(node, MONITOR_PARAMETERS)
        is_gate = last == "state" and self.count_publishers(f"{node}/open") > 0
        if is_gate and node not in self._gates:
            gate = self._gates[node] = HeardGate(node)
            self.create_subscription(DiagnosticStatus, status, gate.on_state, DECISION_QOS)
            self.create_subscription(Bool, f"{node}/open", gate.on_open, LATCHED_QOS)
            self._asked.ask(node, GATE_PARAMETERS)

    def _take_clock(self) -> None:
        """Measure the age of stamps by the clock of the monitors."""
        simulated = any(
            (self._asked.of(node) or {}).get("use_sim_time", False) for node in self._monitors
        )
        if simulated and not self.get_parameter("use_sim_time").value:
            self.set_parameters([Parameter("use_sim_time", value=True)])

    def _on_diagnostics(self, array: DiagnosticArray) -> None:
        for status in array.status:
            for monitor in self._monitors.values():
                monitor.on_status(status)

    def _topics_to_hear(self) -> Iterator[str]:
        yield from self._wanted
        for node, monitor in self._monitors.items():
            yield from monitor.inputs
            # Where it will listen, once it is active; a remap of these nobody tells before.
            answered = self._asked.of(node) or {}
            yield from (
                absolute(answered[one], node) for one in TOPIC_PARAMETERS if one in answered
            )

    def _hear(self, name: str) -> None:
        if name in self._heard:
            return
        publishers = [
            info
            for info in self.get_publishers_info_by_topic(name)
            if info.topic_type in HEARD_TYPES
        ]
        if publishers:
            self._heard[name] = HeardTopic(self, name, publishers)

    # What was seen

    def _snapshot(self) -> GraphSnapshot:
        monitors = [self._monitor(heard) for _, heard in sorted(self._monitors.items())]
        gates = [self._gate(heard) for _, heard in sorted(self._gates.items())]
        names = {*self._topics_to_hear(), *_topics_of(monitors, gates)}
        return GraphSnapshot(
            domain=os.environ.get("ROS_DOMAIN_ID", "0"),
            seconds=self._seconds,
            topics={name: self._topic(name) for name in sorted(names)},
            published={
                name: tuple(types)
                for name, types in self.get_topic_names_and_types()
                if self.count_publishers(name)
            },
            monitors=tuple(monitors),
            gates=tuple(gates),
        )

    def _monitor(self, heard: HeardMonitor) -> MonitorSnapshot:
        return heard.snapshot(subscribed_by(self, heard.node), self._asked.of(heard.node))

    def _gate(self, heard: HeardGate) -> GateSnapshot:
        parameters = self._asked.of(heard.node)
        joints = absolute(self._joints_of(parameters), heard.node)
        outputs = {
            topic: kind
            for topic, kind in published_by(self, heard.node).items()
            if kind in COMMAND_TYPES
        }
        subscribed = subscribed_by(self, heard.node)
        return heard.snapshot(
            [topic for topic, kind in subscribed.items() if kind == PERMIT_TYPE],
            [
                topic
                for topic, kind in subscribed.items()
                if kind in outputs.values() and topic != joints
            ],
            [*outputs],
            parameters,
        )

    @staticmethod
    def _joints_of(parameters: Any) -> str:
        name: str = (parameters or {}).get("joint_states_topic", GATE_DEFAULTS.joint_states_topic)
        return name

    def _topic(self, name: str) -> TopicSnapshot:
        seen = seen_topic(self, name)
        heard = self._heard.get(name)
        if heard is None:
            return seen
        return seen.model_copy(update={"messages": heard.messages(time.monotonic())})


def _topics_of(monitors: Sequence[MonitorSnapshot], gates: Sequence[GateSnapshot]) -> Iterator[str]:
    for monitor in monitors:
        yield from (monitor.alarm_topic, monitor.permit_topic)
        yield absolute(monitor.parameter("rollout_topic"), monitor.node)
    for gate in gates:
        yield from (*gate.permits, *gate.inputs, *gate.outputs)


def main() -> None:
    """Run the node."""
    seconds, namespace, *topics = remove_ros_args(sys.argv)[1:]
    try:
        run_node(lambda: GraphListener(float(seconds), namespace, topics))
    except BrokenPipeError:
        # Who reads has gone; nothing shall complain that nothing can be flushed.
        sys.stdout = None  # type: ignore[assignment]


if __name__ == "__main__":
    main()
