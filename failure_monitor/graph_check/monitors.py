# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Whether a monitor is alive, which bundle it runs, and what it thinks."""

from __future__ import annotations

from collections.abc import Iterator

from failure_monitor.graph_check.finding import Finding, Level, look, ok, wrong
from failure_monitor.graph_check.snapshot import (
    GraphSnapshot,
    MonitorSnapshot,
    absolute,
    node_names,
)
from failure_monitor.monitoring.alarm import AlarmState

SHORT_HASH = 12
"""Digits of a SHA-256 that tell one from another."""

CLOCK_TOPIC = "/clock"


def judge_monitors(seen: GraphSnapshot, sha256: str | None) -> Iterator[Finding]:
    """Findings on every monitor, and one if there is none.

    Args:
        seen: the graph.
        sha256: of the bundle that is expected; None for any.
    """
    if not seen.monitors:
        yield wrong(
            "monitor",
            f"no monitor is found in ROS domain {seen.domain}: launch it (monitor.launch.xml), end "
            "one that hangs, or set ROS_DOMAIN_ID and --namespace to where it is",
        )
    for monitor in seen.monitors:
        found = [*_judge_life(seen, monitor), *_judge_bundle(monitor, sha256)]
        yield from found
        if not any(finding.level is Level.WRONG for finding in found):
            yield _state(monitor)
        yield from _judge_clock(seen, monitor)
        yield from _judge_permit(seen, monitor)
        yield from _judge_boundaries(seen, monitor)


def _judge_life(seen: GraphSnapshot, monitor: MonitorSnapshot) -> Iterator[Finding]:
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
            f"says nothing on {monitor.alarm_topic}: it hangs, died a moment ago or cannot be "
            "reached; look at its output",
        )
    elif monitor.parameters is None:
        yield look(
            monitor.node,
            "did not tell its parameters, so that their defaults are assumed: it is busy, or "
            "listen longer (--seconds)",
        )


def _judge_bundle(monitor: MonitorSnapshot, sha256: str | None) -> Iterator[Finding]:
    if monitor.state is None:
        return
    if not monitor.diagnosed:
        yield look(
            monitor.node,
            "says nothing on /diagnostics, so that its bundle and inputs are unknown: listen "
            "longer (--seconds), or look for a remap of /diagnostics",
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
    said = f"{state.value}, {permits}: {monitor.reason}"
    if state is AlarmState.NOMINAL and monitor.permits:
        return ok(monitor.node, said)
    return look(monitor.node, said)


def _judge_clock(seen: GraphSnapshot, monitor: MonitorSnapshot) -> Iterator[Finding]:
    has_clock = CLOCK_TOPIC in seen.published
    is_simulated = monitor.parameter("use_sim_time", False)
    if is_simulated and not has_clock:
        yield wrong(
            monitor.node,
            f"has use_sim_time, and nobody publishes {CLOCK_TOPIC}: start the simulation or the "
            "bag with its clock, or set use_sim_time to false",
        )
    elif has_clock and not is_simulated and monitor.parameters is not None:
        yield look(
            monitor.node,
            f"has no use_sim_time, though {CLOCK_TOPIC} is published: set it alike everywhere",
        )


def _judge_permit(seen: GraphSnapshot, monitor: MonitorSnapshot) -> Iterator[Finding]:
    topic = seen.topic(monitor.permit_topic)
    if not topic.subscribers:
        yield wrong(
            monitor.permit_topic,
            "nobody listens to the permit, so that nothing is stopped: start the gate, and name "
            "this topic among its 'permit_topics'",
        )
        return
    gates = [gate.node for gate in seen.gates if monitor.permit_topic in gate.permits]
    if not gates:
        yield look(
            monitor.permit_topic,
            f"no gate of this package listens to the permit, {node_names(topic.subscribers)} "
            "does: make sure that it stops the robot when no permit comes",
        )


def _judge_boundaries(seen: GraphSnapshot, monitor: MonitorSnapshot) -> Iterator[Finding]:
    if monitor.parameter("rollout_boundaries", "") != "topic":
        return
    name = absolute(monitor.parameter("rollout_topic", ""), monitor.node)
    expected = monitor.parameter("rollout_topic_type", "")
    publishers = seen.topic(name).publishers
    if not publishers:
        yield wrong(
            name,
            "nobody says when rollouts begin and end: start what does, or set "
            "'rollout_boundaries' and 'rollout_topic'",
        )
    for end in publishers:
        if end.message_type != expected:
            yield wrong(
                name,
                f"{end.node} publishes {end.message_type}, the monitor expects {expected}: set "
                "'rollout_topic_type', or publish that",
            )
