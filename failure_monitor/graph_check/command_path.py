# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Whether every command goes through a gate, and what opens it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from failure_monitor.graph_check.finding import Finding, Level, look, ok, wrong
from failure_monitor.graph_check.snapshot import (
    Endpoint,
    GateSnapshot,
    GraphSnapshot,
    node_names,
)

PERMIT_LEASE, HEARTBEAT_PERIOD = 0.2, 0.05
"""Parameters of gate and monitor at their defaults, in seconds."""

BEATS_IN_LEASE = 3
"""Permits that a lease should span, so that a late one does not close the gate."""

ERROR = 2
"""DiagnosticStatus.ERROR."""

RECORDERS = ("recorder", "rosbag2_recorder", "incident_recorder", "record_node")
"""Names of nodes that listen to commands and move nothing."""


def judge_command_path(seen: GraphSnapshot) -> Iterator[Finding]:
    """Findings on every gate, and one if there is none."""
    if not seen.gates:
        yield wrong(
            "gate",
            f"no gate is found in ROS domain {seen.domain}, so that nothing is between policy and "
            "robot: launch it (monitor.launch.xml)",
        )
    for gate in seen.gates:
        yield from _judge_gate(seen, gate)
        for topic in gate.permits:
            yield from _judge_permit(seen, gate, topic)
        for topic in gate.inputs:
            yield from _judge_input(seen, gate, topic)
        for topic in gate.outputs:
            yield from _judge_output(seen, gate, topic)


def _judge_gate(seen: GraphSnapshot, gate: GateSnapshot) -> Iterator[Finding]:
    if not gate.said:
        yield wrong(
            gate.node,
            "says nothing of itself: it hangs, died a moment ago or cannot be reached; look at its "
            "output",
        )
    elif gate.level == ERROR:
        yield wrong(gate.node, gate.said)
    elif gate.passes and not gate.parameter("inform_only", False):
        yield ok(gate.node, gate.said)
    else:
        yield look(gate.node, gate.said)
    lease = gate.parameter("permit_lease", PERMIT_LEASE)
    for monitor in seen.monitors:
        beat = monitor.parameter("heartbeat_period", HEARTBEAT_PERIOD)
        if monitor.permit_topic in gate.permits and lease < BEATS_IN_LEASE * beat:
            judged = wrong if lease <= beat else look
            yield judged(
                gate.node,
                f"'permit_lease' is {lease:g} s, and {monitor.node} permits every {beat:g} s: the "
                f"gate closes on a late permit; make the lease {BEATS_IN_LEASE} periods or more",
            )


def _judge_permit(seen: GraphSnapshot, gate: GateSnapshot, name: str) -> Iterator[Finding]:
    publishers = seen.topic(name).publishers
    if not publishers:
        yield wrong(
            name,
            f"nobody publishes the permit that {gate.node} needs, so that no command passes: start "
            "the monitor, or set 'permit_topics' to the permits of those that run",
        )
    elif len(publishers) > 1:
        yield wrong(
            name,
            f"{len(publishers)} publishers of one permit ({node_names(publishers)}): stop all but "
            "one (one that died is forgotten after 20 s), or give each monitor a topic of its own",
        )
    else:
        yield ok(name, f"the permit of {node_names(publishers)} for {gate.node}")


def _judge_input(seen: GraphSnapshot, gate: GateSnapshot, name: str) -> Iterator[Finding]:
    topic = seen.topic(name)
    found = list(_judge_types(name, topic.publishers, topic.subscribers, gate))
    if not topic.publishers:
        found.append(
            look(
                name,
                f"nobody publishes commands for {gate.node}: start the policy, or let it publish "
                "here (command_in)",
            )
        )
    if len(topic.publishers) > 1:
        found.append(
            look(
                name,
                f"{len(topic.publishers)} publishers of commands ({node_names(topic.publishers)}): "
                "make sure that they take turns",
            )
        )
    others = [end for end in topic.subscribers if end.node != gate.node and not _records(end)]
    if others:
        found.append(
            look(
                name,
                f"{node_names(others)} listens to commands in front of {gate.node}: if it moves "
                f"the robot, let it listen to {' or '.join(gate.outputs)}",
            )
        )
    if not found:
        found.append(ok(name, f"commands of {node_names(topic.publishers)} to {gate.node}"))
    yield from found


def _judge_output(seen: GraphSnapshot, gate: GateSnapshot, name: str) -> Iterator[Finding]:
    topic = seen.topic(name)
    own = [end for end in topic.publishers if end.node == gate.node]
    others = [end for end in topic.publishers if end.node != gate.node]
    found = list(_judge_types(name, topic.subscribers, own, gate))
    if len(own) > 1:
        found.append(
            wrong(
                name,
                f"{len(own)} gates called {gate.node}, of which one may be open when the other is "
                "closed: stop all but one (one that died is forgotten after 20 s)",
            )
        )
    policies = {end.node for into in gate.inputs for end in seen.topic(into).publishers}
    for node in sorted({end.node for end in others}):
        who = f"{node}, which also commands through the gate," if node in policies else node
        found.append(
            wrong(
                name,
                f"{who} publishes straight to the robot, past {gate.node}, and is not stopped by "
                f"it: let it publish on {' or '.join(gate.inputs)}",
            )
        )
    listeners = [end for end in topic.subscribers if not _records(end)]
    if not listeners:
        found.append(
            look(
                name,
                f"nobody listens to what {gate.node} lets through: start the controller, or let it "
                "listen here (command_out)",
            )
        )
    if not any(finding.level is not Level.OK for finding in found):
        found.append(ok(name, f"{gate.node} alone commands {node_names(listeners)}"))
    yield from found


def _judge_types(
    name: str, ends: Sequence[Endpoint], of_gate: Sequence[Endpoint], gate: GateSnapshot
) -> Iterator[Finding]:
    expected = {end.message_type for end in of_gate if end.node == gate.node}
    for end in ends:
        if expected and end.message_type not in expected:
            yield wrong(
                name,
                f"{end.node} has {end.message_type}, {gate.node} {', '.join(sorted(expected))}, so "
                "that they do not hear each other: set the gate's '<command>.type' to the robot's",
            )


def _records(end: Endpoint) -> bool:
    return end.node.rpartition("/")[2] in RECORDERS
