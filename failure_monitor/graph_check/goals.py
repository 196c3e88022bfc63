# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Findings on goals of actions, which move a robot without passing a gate."""

from __future__ import annotations

from collections.abc import Iterator

from failure_monitor.graph_check.finding import Finding, attention, wrong
from failure_monitor.graph_check.snapshot import ActionSnapshot, GraphSnapshot

MOVING_TYPES = tuple(
    f"control_msgs/action/{name}"
    for name in (
        "FollowJointTrajectory",
        "GripperCommand",
        "JointTrajectory",
        "ParallelGripperCommand",
        "SingleJointPosition",
    )
)
"""Types of actions whose servers move a robot."""

MOVING_NAMES = ("follow_joint_trajectory", "gripper_cmd", "gripper_action", "joint_trajectory")
"""Usual last parts of the names of such actions, where the type is unknown."""


def inspect_goals(seen: GraphSnapshot) -> Iterator[Finding]:
    """Name every action server that moves the robot without a gate."""
    behind = {
        end.node
        for gate in seen.gates
        for name in gate.outputs
        for end in seen.topic(name).subscribers
    }
    policies = {
        end.node
        for gate in seen.gates
        for name in gate.inputs
        for end in seen.topic(name).publishers
    }
    for name, action in seen.actions.items():
        if action.servers and (_moves(name, action) or behind & set(action.servers)):
            yield _inspect_action(name, action, policies)


def _moves(name: str, action: ActionSnapshot) -> bool:
    if action.action_type:
        return action.action_type in MOVING_TYPES
    return name.rpartition("/")[2] in MOVING_NAMES


def _inspect_action(name: str, action: ActionSnapshot, policies: set[str]) -> Finding:
    kind = action.action_type.rpartition("/")[2] or "an action"
    senders = ", ".join(action.senders) or "no node so far"
    cancelled = (
        f"a stop of {', '.join(action.cancelling)} cancels them, so stop what sends them as well"
        if action.cancelling
        else "let a stop cancel them and stop what sends them (halt_menu, kind cancel_goals)"
    )
    finding = wrong if policies & set(action.senders) else attention
    return finding(
        name,
        f"{', '.join(action.servers)} moves the robot by goals of {kind}, which pass no gate "
        f"(sent by {senders}): send commands on the gate's input instead, or {cancelled}; see "
        "docs/safety.md",
    )
