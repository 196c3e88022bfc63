# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Findings on monitors: whether they live, which bundle they run, and their state."""

from __future__ import annotations

from collections.abc import Iterator

from failure_monitor.graph_check.finding import Finding, Level, attention, ok, wrong
from failure_monitor.graph_check.snapshot import (
    GraphSnapshot,
    MonitorSnapshot,
    absolute,
    node_names,
)
from failure_monitor.monitoring.alarm import AlarmState

SHORT_HASH = 12
"""Number of digits of a SHA-256 that are printed."""

CLOCK_TOPIC = "/clock"

BOOL_TYPE = "std_msgs/msg/Bool"


def inspect_monitors(seen: GraphSnapshot, sha256: str | None) -> Iterator[Finding]:
    """Inspect every monitor; without any monitor there is one finding.

    Args:
        seen: the graph.
        sha256: the hash of the expected bundle; None for any bundle.
    """
    if not seen.monitors:
        yield wrong(
            "monitor",
            f"no monitor is found in ROS domain {seen.domain}: launch it (monitor.launch.xml), "
            "end one that hangs, or set ROS_DOMAIN_ID and --namespace to where it is",
        )
    for monitor in seen.monitors:
        found = [*_inspect_liveness(seen, monitor), *_inspect_bundle(monitor, sha256)]
        yield from found
        if not any(finding.level is Level.WRONG for finding in found):
            yield _state(monitor)
        yield from _inspect_clock(seen, monitor)
        yield from _inspect_permit(seen, monitor)
        yield from _inspect_boundaries(seen, monitor)
        yield from _inspect_outcomes(seen, monitor)


def _inspect_liveness(seen: GraphSnapshot, monitor: MonitorSnapshot) -> Iterator[Finding]:
    publishers = seen.topic(monitor.alarm_topic).publishers
    if len(publishers) > 1:
        yield wrong(
            monitor.node,
            f"{len(publishers)} monitors of this name: stop all but one (one that died is "
            "forgotten after 20 s), or give each a namespace of its own",
        )
    if monitor.state is None:
        yield wrong(
            monitor.node,
            f"publishes nothing on {monitor.alarm_topic}: it hangs, died a moment ago or cannot "
            "be reached; see its output",
        )
    elif monitor.parameters is None:
        yield attention(
            monitor.node,
            "did not answer with its parameters, so their defaults are assumed: it is busy, or "
            "listen longer (--seconds)",
        )


def _inspect_bundle(monitor: MonitorSnapshot, sha256: str | None) -> Iterator[Finding]:
    if monitor.state is None:
        return
    if not monitor.diagnosed:
        yield attention(
            monitor.node,
            "publishes nothing on /diagnostics, so its bundle and inputs are unknown: listen "
            "longer (--seconds), or check for a remap of /diagnostics",
        )
    elif not monitor.scoring:
        yield wrong(monitor.node, f"runs no bundle: {monitor.reason}")
    elif sha256 not in (None, monitor.scoring.get("bundle_sha256")):
        own = monitor.scoring.get("bundle_sha256", "?")
        yield wrong(
            monitor.node,
            f"runs the bundle {monitor.scoring.get('bundle', '?')} ({own[:SHORT_HASH]}), not the "
            f"one that is checked ({(sha256 or '')[:SHORT_HASH]}): start it with that, check its "
            "own, or leave it out (--namespace)",
        )


def _state(monitor: MonitorSnapshot) -> Finding:
    state = AlarmState.STALE if monitor.state is None else monitor.state
    permits = "permits commands" if monitor.permits else "permits no command"
    message = f"{state.value}, {permits}: {monitor.reason}"
    if state is AlarmState.NOMINAL and monitor.permits:
        return ok(monitor.node, message)
    return attention(monitor.node, message)


def _inspect_clock(seen: GraphSnapshot, monitor: MonitorSnapshot) -> Iterator[Finding]:
    has_clock = CLOCK_TOPIC in seen.published
    is_simulated = (monitor.parameters or {}).get("use_sim_time", False)
    if is_simulated and not has_clock:
        yield wrong(
            monitor.node,
            f"has use_sim_time, but no node publishes {CLOCK_TOPIC}: start the simulation or the "
            "bag with its clock, or set use_sim_time to false",
        )
    elif has_clock and not is_simulated and monitor.parameters is not None:
        yield attention(
            monitor.node,
            f"has no use_sim_time, though {CLOCK_TOPIC} is published: set it to the same value "
            "for all nodes",
        )


def _inspect_permit(seen: GraphSnapshot, monitor: MonitorSnapshot) -> Iterator[Finding]:
    topic = seen.topic(monitor.permit_topic)
    if not topic.subscribers:
        yield wrong(
            monitor.permit_topic,
            "no node subscribes to the permit, so nothing is stopped: start the gate, and name "
            "this topic among its 'permit_topics'",
        )
        return
    gates = [gate.node for gate in seen.gates if monitor.permit_topic in gate.permits]
    if not gates:
        yield attention(
            monitor.permit_topic,
            f"no gate of this package subscribes to the permit, {node_names(topic.subscribers)} "
            "does: make sure that it stops the robot when permits cease",
        )


def _inspect_boundaries(seen: GraphSnapshot, monitor: MonitorSnapshot) -> Iterator[Finding]:
    boundaries = monitor.parameter("rollout_boundaries")
    if boundaries == "service" and monitor.decides_by_itself:
        yield attention(
            monitor.node,
            "runs the policy's models on every image from ~/start_rollout on, also before the "
            "policy moves the robot, which calibration has not seen: if a person calls the "
            "service, expect alarms at the start; let what starts the policy say so on a topic "
            "('rollout_boundaries' topic), or call the service itself",
        )
    if boundaries != "topic":
        return
    name = absolute(monitor.parameter("rollout_topic"), monitor.node)
    expected = monitor.parameter("rollout_topic_type")
    publishers = seen.topic(name).publishers
    if not publishers:
        yield wrong(
            name,
            "no node publishes when rollouts start and end: start the one that does, or set "
            "'rollout_boundaries' and 'rollout_topic'",
        )
    for end in publishers:
        if end.message_type != expected:
            yield wrong(
                name,
                f"{end.node} publishes {end.message_type}, the monitor expects {expected}: set "
                "'rollout_topic_type', or publish that",
            )


def _inspect_outcomes(seen: GraphSnapshot, monitor: MonitorSnapshot) -> Iterator[Finding]:
    """Inspect who claims success, and who labels rollouts."""
    for parameter in ("success_topic", "label_topic"):
        if not monitor.parameter(parameter):
            continue
        name = absolute(monitor.parameter(parameter), monitor.node)
        publishers = seen.topic(name).publishers
        if parameter == "success_topic" and not publishers:
            yield wrong(
                name,
                "no node claims success there, so no end is checked by it: start the one that "
                f"does, or correct '{parameter}'",
            )
        for end in publishers:
            if end.message_type != BOOL_TYPE:
                yield wrong(
                    name,
                    f"{end.node} publishes {end.message_type}, the monitor expects {BOOL_TYPE}: "
                    f"publish that, or correct '{parameter}'",
                )
