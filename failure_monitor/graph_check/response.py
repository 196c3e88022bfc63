# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Findings on the response table of a monitor: whether something slows the robot as it asks."""

from __future__ import annotations

from collections.abc import Iterator

from failure_monitor.graph_check.finding import Finding, attention, ok, wrong
from failure_monitor.graph_check.snapshot import (
    GateSnapshot,
    GraphSnapshot,
    MonitorSnapshot,
    is_recorder,
    node_names,
)

STATES = ("nominal", "caution", "alarm")
"""States in which commands may pass."""

SLOWING = ("slow", "replan")
"""Reactions that slow the robot."""

REMEDY = (
    "let the gate slow the commands ('<command>.scaled: true'), or a controller that subscribes "
    "to the speed scale"
)


def inspect_response(seen: GraphSnapshot) -> Iterator[Finding]:
    """Inspect what obeys the speed scale of each monitor whose table slows the robot."""
    for monitor in seen.monitors:
        slowed = [state for state in STATES if monitor.reaction(state) in SLOWING]
        if slowed:
            yield from _inspect_speed_scale(seen, monitor, slowed)


def _inspect_speed_scale(
    seen: GraphSnapshot, monitor: MonitorSnapshot, slowed: list[str]
) -> Iterator[Finding]:
    name = monitor.speed_scale_topic
    subscribers = seen.topic(name).subscribers
    obeying = [end for end in subscribers if not is_recorder(end)]
    if not obeying:
        table = " and ".join(f"'response.{one}' is '{monitor.reaction(one)}'" for one in slowed)
        yield _unobeyed(monitor, table, node_names(subscribers) if subscribers else "")
        return
    yield ok(name, f"the speed scale of {monitor.node} for {node_names(obeying)}")
    nodes = {end.node for end in obeying}
    for gate in seen.gates:
        if gate.node in nodes and gate.unscaled:
            yield _partly_obeyed(monitor, gate)


def _unobeyed(monitor: MonitorSnapshot, table: str, recorders: str) -> Finding:
    name = monitor.speed_scale_topic
    if monitor.reaction("alarm") != "replan":
        return attention(
            name, f"{table}, but nothing slows the robot: commands pass at full speed; {REMEDY}"
        )
    if recorders:
        return wrong(
            name,
            f"{table}, but nothing slows the robot: {monitor.node} takes {recorders} for what "
            f"does, and lets commands pass at full speed in ALARM; {REMEDY}, or set "
            "'response.alarm' to 'halt'",
        )
    return wrong(
        name,
        f"{table}, but nothing slows the robot, so in ALARM {monitor.node} halts instead: "
        f"{REMEDY}, or set 'response.alarm' to 'halt'",
    )


def _partly_obeyed(monitor: MonitorSnapshot, gate: GateSnapshot) -> Finding:
    commands = " and ".join(f"'{name}'" for name in gate.unscaled)
    return attention(
        monitor.speed_scale_topic,
        f"{gate.node} does not slow {commands}: set '<command>.scaled' where it is to be slowed, "
        "too",
    )
