# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Findings on the path of commands: whether all pass through a gate, and what opens it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from failure_monitor.graph_check.finding import Finding, Level, attention, ok, wrong
from failure_monitor.graph_check.snapshot import (
    Endpoint,
    GateSnapshot,
    GraphSnapshot,
    is_recorder,
    node_names,
)

HEARTBEATS_PER_LEASE = 3
"""Number of permits that a lease should span, so that a late one does not close the gate."""

ERROR = 2
"""Value of DiagnosticStatus.ERROR."""


def inspect_command_path(seen: GraphSnapshot) -> Iterator[Finding]:
    """Inspect every gate and its topics; without any gate there is one finding."""
    if not seen.gates:
        yield wrong(
            "gate",
            f"no gate is found in ROS domain {seen.domain}, so nothing is between policy and "
            "robot: launch it (monitor.launch.xml)",
        )
    for gate in seen.gates:
        yield from _inspect_gate(seen, gate)
        for topic in gate.permits:
            yield from _inspect_permit(seen, gate, topic)
        for topic in gate.inputs:
            yield from _inspect_input(seen, gate, topic)
        for topic in gate.outputs:
            yield from _inspect_output(seen, gate, topic)


def _inspect_gate(seen: GraphSnapshot, gate: GateSnapshot) -> Iterator[Finding]:
    if not gate.said:
        yield wrong(
            gate.node,
            "does not publish its state: it hangs, died a moment ago or cannot be reached; see "
            "its output",
        )
    elif gate.level == ERROR:
        yield wrong(gate.node, gate.said)
    elif gate.passes and not gate.parameter("inform_only"):
        yield ok(gate.node, gate.said)
    else:
        yield attention(gate.node, gate.said)
    if gate.unstopped:
        yield attention(
            gate.node,
            f"sends nothing to stop {' and '.join(gate.unstopped)} ('safe_command' is 'nothing'), "
            "so it owes no stop: you vouch that the robot stops by itself when commands cease, "
            "else choose another safe command (docs/safety.md)",
        )
    granted = gate.parameter("stop_timeout")
    if gate.longest_stop > granted:
        yield attention(
            gate.node,
            f"needs {gate.longest_stop:.1f} s to stop the robot from the fastest command so far, "
            f"but 'stop_timeout' is {granted:g} s: it may be killed that long after Ctrl-C, so "
            "the ramp would be cut short. Launch it with a longer sigterm_timeout and set "
            "'stop_timeout' to that, as monitor.launch.xml does, or raise "
            "'<command>.max_deceleration'",
        )
    lease = gate.parameter("permit_lease")
    for monitor in seen.monitors:
        if monitor.intervention_topic != gate.intervention_topic:
            yield attention(
                gate.node,
                "learns of a human who intervenes by "
                f"'{gate.intervention_topic}', and {monitor.node} by "
                f"'{monitor.intervention_topic}': give both the same 'intervention_topic', or "
                "only one of them acts on it",
            )
        period = monitor.parameter("heartbeat_period")
        if monitor.permit_topic in gate.permits and lease < HEARTBEATS_PER_LEASE * period:
            finding = wrong if lease <= period else attention
            yield finding(
                gate.node,
                f"'permit_lease' is {lease:g} s, and {monitor.node} sends a permit every "
                f"{period:g} s: the gate closes when one is late; make the lease "
                f"{HEARTBEATS_PER_LEASE} periods or more",
            )


def _inspect_permit(seen: GraphSnapshot, gate: GateSnapshot, name: str) -> Iterator[Finding]:
    publishers = seen.topic(name).publishers
    if not publishers:
        yield wrong(
            name,
            f"no node publishes the permit that {gate.node} needs, so no command passes: start "
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


def _inspect_input(seen: GraphSnapshot, gate: GateSnapshot, name: str) -> Iterator[Finding]:
    topic = seen.topic(name)
    found = list(_inspect_types(name, topic.publishers, topic.subscribers, gate))
    if not topic.publishers:
        found.append(
            attention(
                name,
                f"no node publishes commands for {gate.node}: start the policy, or let it publish "
                "here (command_in)",
            )
        )
    if len(topic.publishers) > 1:
        found.append(
            attention(
                name,
                f"{len(topic.publishers)} publishers of commands "
                f"({node_names(topic.publishers)}): "
                "make sure that they take turns",
            )
        )
    others = [end for end in topic.subscribers if end.node != gate.node and not is_recorder(end)]
    if others:
        found.append(
            attention(
                name,
                f"{node_names(others)} subscribes to commands in front of {gate.node}: if it "
                f"moves the robot, let it subscribe to {' or '.join(gate.outputs)}",
            )
        )
    if not found:
        found.append(ok(name, f"commands of {node_names(topic.publishers)} to {gate.node}"))
    yield from found


def _inspect_output(seen: GraphSnapshot, gate: GateSnapshot, name: str) -> Iterator[Finding]:
    topic = seen.topic(name)
    own = [end for end in topic.publishers if end.node == gate.node]
    others = [end for end in topic.publishers if end.node != gate.node]
    found = list(_inspect_types(name, topic.subscribers, own, gate))
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
                f"{who} publishes directly to the robot, past {gate.node}, and is not stopped by "
                f"it: let it publish on {' or '.join(gate.inputs)}",
            )
        )
    subscribers = [end for end in topic.subscribers if not is_recorder(end)]
    if not subscribers:
        found.append(
            attention(
                name,
                f"no node subscribes to what {gate.node} lets through: start the controller, or "
                "let it subscribe here (command_out)",
            )
        )
    if not any(finding.level is not Level.OK for finding in found):
        found.append(ok(name, f"{gate.node} alone commands {node_names(subscribers)}"))
    yield from found


def _inspect_types(
    name: str, ends: Sequence[Endpoint], of_gate: Sequence[Endpoint], gate: GateSnapshot
) -> Iterator[Finding]:
    expected = {end.message_type for end in of_gate if end.node == gate.node}
    for end in ends:
        if expected and end.message_type not in expected:
            yield wrong(
                name,
                f"{end.node} uses {end.message_type}, {gate.node} {', '.join(sorted(expected))}, "
                "so no message arrives: set the gate's '<command>.type' to the robot's",
            )
