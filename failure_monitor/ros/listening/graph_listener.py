# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Inspects a ROS graph for some seconds and writes what it found to standard output, as JSON.

For programs that do not load ROS:

    python -m failure_monitor.ros.listening.graph_listener SECONDS NAMESPACE [TOPIC]...

NAMESPACE is that of the monitors and gates to inspect, / for all; a TOPIC is measured in addition
to those that monitors subscribe to.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.utilities import remove_ros_args
from std_msgs.msg import Bool

from failure_monitor.graph_check.snapshot import (
    GateSnapshot,
    GraphSnapshot,
    MonitorSnapshot,
    TopicSnapshot,
    absolute,
)
from failure_monitor.ros.commands import COMMAND_TYPES
from failure_monitor.ros.common.qos import DECISION_QOS, LATCHED_QOS
from failure_monitor.ros.common.run import spin_node
from failure_monitor.ros.listening.graph_actions import actions_of
from failure_monitor.ros.listening.node_probe import GateProbe, MonitorProbe
from failure_monitor.ros.listening.remote_parameters import RemoteParameters
from failure_monitor.ros.listening.topic_endpoints import (
    published_by,
    subscribed_by,
    topic_snapshot,
)
from failure_monitor.ros.listening.topic_probe import PROBED_TYPES, TopicProbe
from failure_monitor.schema import plain

PERIOD = 0.2
"""Seconds between two inspections of the graph."""

STATUS_TYPE, PERMIT_TYPE = "diagnostic_msgs/msg/DiagnosticStatus", "std_msgs/msg/Bool"
TOPIC_PARAMETERS = (
    "embedding_topic",
    "action_chunks_topic",
    "tokens_topic",
    "format_topic",
    "joint_states_topic",
)
MONITOR_PARAMETERS = (
    *TOPIC_PARAMETERS,
    "more_joint_states_topics",
    "commands_topic",
    "images_reliable",
    "observation_rate",
    "heartbeat_period",
    "max_decision_age",
    "max_joint_state_age",
    "max_stamp_lead",
    "response.nominal",
    "response.caution",
    "response.alarm",
    "rollout_boundaries",
    "rollout_topic",
    "rollout_topic_type",
    "success_topic",
    "label_topic",
    "intervention_topic",
    "use_sim_time",
)
GATE_PARAMETERS = (
    "permit_lease",
    "joint_states_topic",
    "intervention_topic",
    "inform_only",
    "commands",
    "stop_timeout",
)


class GraphListener(Node):
    """Finds monitors and gates, and receives what they publish and need."""

    def __init__(self, seconds: float, namespace: str, topics: Sequence[str]) -> None:
        """Start to listen.

        Args:
            seconds: for how long; then the node writes what it found, and ends.
            namespace: of the monitors and gates to inspect.
            topics: full names of topics to measure in addition to those that monitors need.
        """
        super().__init__("failure_monitor_check")
        self._seconds = seconds
        self._namespace = f"{namespace.rstrip('/')}/"
        self._wanted = tuple(topics)
        self._topic_probes: dict[str, TopicProbe] = {}
        self._monitors: dict[str, MonitorProbe] = {}
        self._gates: dict[str, GateProbe] = {}
        self._remote_parameters = RemoteParameters(self)
        self._end = time.monotonic() + seconds
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        # Steady: a simulated clock that stands still must not keep it from ending.
        self.create_timer(
            PERIOD, self._inspect_graph, clock=Clock(clock_type=ClockType.STEADY_TIME)
        )

    def _inspect_graph(self) -> None:
        for name, types in self.get_topic_names_and_types():
            if STATUS_TYPE in types and name.startswith(self._namespace):
                self._follow(name)
        self._remote_parameters.send()
        self._adopt_clock()
        for topic in self._topics_to_probe():
            self._probe_topic(topic)
        if time.monotonic() > self._end:
            sys.stdout.write(json.dumps(plain(self._snapshot())) + "\n")
            sys.stdout.flush()
            rclpy.try_shutdown()

    def _follow(self, status: str) -> None:
        """Subscribe to the node that publishes its state here, if it is a monitor or a gate."""
        if not self.count_publishers(status):
            return
        node, _, last = status.rpartition("/")
        # Volatile: both publish regularly, and what one published before it hung proves nothing.
        if last == "alarm" and node not in self._monitors:
            monitor = self._monitors[node] = MonitorProbe(node)
            self.create_subscription(DiagnosticStatus, status, monitor.on_alarm, DECISION_QOS)
            self._remote_parameters.request(node, MONITOR_PARAMETERS)
        is_gate = last == "state" and self.count_publishers(f"{node}/open") > 0
        if is_gate and node not in self._gates:
            gate = self._gates[node] = GateProbe(node)
            self.create_subscription(DiagnosticStatus, status, gate.on_state, DECISION_QOS)
            self.create_subscription(Bool, f"{node}/open", gate.on_open, LATCHED_QOS)
            self._remote_parameters.request(node, GATE_PARAMETERS, _of_commands)

    def _adopt_clock(self) -> None:
        """Measure the age of stamps by the clock of the monitors."""
        simulated = any(
            (self._remote_parameters.of(node) or {}).get("use_sim_time", False)
            for node in self._monitors
        )
        if simulated and not self.get_parameter("use_sim_time").value:
            self.set_parameters([Parameter("use_sim_time", value=True)])

    def _on_diagnostics(self, array: DiagnosticArray) -> None:
        for status in array.status:
            for monitor in self._monitors.values():
                monitor.on_status(status)

    def _topics_to_probe(self) -> Iterator[str]:
        yield from self._wanted
        for node, monitor in self._monitors.items():
            yield from monitor.inputs
            # Where it will subscribe once it is active. Remappings of these are not known before.
            answered = self._remote_parameters.of(node) or {}
            yield from (
                absolute(answered[one], node) for one in TOPIC_PARAMETERS if one in answered
            )

    def _probe_topic(self, name: str) -> None:
        if name in self._topic_probes:
            return
        publishers = [
            info
            for info in self.get_publishers_info_by_topic(name)
            if info.topic_type in PROBED_TYPES
        ]
        if publishers:
            self._topic_probes[name] = TopicProbe(self, name, publishers)

    # What was found

    def _snapshot(self) -> GraphSnapshot:
        monitors = [self._monitor(probe) for _, probe in sorted(self._monitors.items())]
        gates = [self._gate(probe) for _, probe in sorted(self._gates.items())]
        names = {*self._topics_to_probe(), *_topics_of(monitors, gates)}
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
            actions=actions_of(self),
        )

    def _monitor(self, probe: MonitorProbe) -> MonitorSnapshot:
        return probe.snapshot(
            subscribed_by(self, probe.node), self._remote_parameters.of(probe.node)
        )

    def _gate(self, probe: GateProbe) -> GateSnapshot:
        parameters = self._remote_parameters.of(probe.node)
        others = _inputs_beside_commands(parameters, probe.node)
        outputs = {
            topic: kind
            for topic, kind in published_by(self, probe.node).items()
            if kind in COMMAND_TYPES
        }
        subscribed = subscribed_by(self, probe.node)
        return probe.snapshot(
            [
                topic
                for topic, kind in subscribed.items()
                if kind == PERMIT_TYPE and topic not in others
            ],
            [
                topic
                for topic, kind in subscribed.items()
                if kind in outputs.values() and topic not in others
            ],
            [*outputs],
            parameters,
        )

    def _topic(self, name: str) -> TopicSnapshot:
        snapshot = topic_snapshot(self, name)
        probe = self._topic_probes.get(name)
        if probe is None:
            return snapshot
        return replace(snapshot, messages=probe.messages(time.monotonic()))


def _inputs_beside_commands(parameters: Mapping[str, Any] | None, node: str) -> tuple[str, ...]:
    """Return the topics that a gate subscribes to besides commands and permits."""
    gate = GateSnapshot(node, parameters=parameters)
    return absolute(gate.parameter("joint_states_topic"), node), gate.intervention_topic


def _topics_of(
    monitors: Sequence[MonitorSnapshot], gates: Sequence[GateSnapshot]
) -> Iterator[str]:
    for monitor in monitors:
        yield from (monitor.alarm_topic, monitor.permit_topic, monitor.speed_scale_topic)
        for name in ("rollout_topic", "success_topic", "label_topic"):
            if topic := monitor.parameter(name):
                yield absolute(topic, monitor.node)
    for gate in gates:
        yield from (*gate.permits, *gate.inputs, *gate.outputs)


def _of_commands(parameters: Mapping[str, Any]) -> list[str]:
    """Return the names of the parameters of each topic of commands."""
    return [
        f"{command}.{name}"
        for command in parameters.get("commands", ())
        for name in ("safe_command", "scaled")
    ]


def main() -> None:
    """Run the node."""
    seconds, namespace, *topics = remove_ros_args(sys.argv)[1:]
    try:
        spin_node(lambda: GraphListener(float(seconds), namespace, topics))
    except BrokenPipeError:
        # The reader is gone; Python must not report at exit that it cannot flush.
        sys.stdout = None  # type: ignore[assignment]


if __name__ == "__main__":
    main()
