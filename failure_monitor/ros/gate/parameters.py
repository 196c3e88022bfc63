# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The parameters of the gate node, and what they must be to make sense together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from rclpy.exceptions import NameValidationException
from rclpy.node import Node

from failure_monitor.errors import UsageError
from failure_monitor.ros.commands import COMMAND_TYPES
from failure_monitor.ros.commands.command_type import CommandType
from failure_monitor.ros.common.parameters import declare

PERMIT_TOPIC = "failure_monitor/permit"
SPEED_SCALE_TOPIC = "failure_monitor/speed_scale"

NO_NAMES = [""]
"""An empty list: ROS 2 has no typed one."""


@dataclass(frozen=True)
class CommandParameters:
    """One topic of commands.

    Attributes:
        name: by which the parameters are grouped.
        kind: the message type.
        input, output: topics.
        safe_command: one of the type's.
        scaled: whether the speed scale applies.
        joints: that an array of numbers is for.
        max_deceleration: for the safe command 'decelerate'.
    """

    name: str
    kind: CommandType[Any]
    input: str
    output: str
    safe_command: str
    scaled: bool
    joints: tuple[str, ...]
    max_deceleration: tuple[float, ...]

    @property
    def measures_joints(self) -> bool:
        """Whether the safe command is made from joint states."""
        return self.safe_command == "hold" or (
            self.safe_command == "decelerate" and self.kind.decelerates_from_measured
        )


@dataclass(frozen=True)
class GateParameters:
    """What the gate is told to do; it cannot be changed while the gate runs."""

    commands: tuple[CommandParameters, ...]
    permit_topics: tuple[str, ...]
    permit_lease: float
    speed_scale_topics: tuple[str, ...]
    speed_scale_lease: float
    joint_states_topic: str
    max_joint_state_age: float
    safe_command_duration: float
    safe_command_rate: float
    inform_only: bool
    hardware_id: str


def declare_gate_parameters(node: Node) -> GateParameters:
    """Declare every parameter of the gate, check and return them.

    Raises:
        UsageError: they make no sense; the message names the parameter.
    """
    fixed = partial(declare, node, read_only=True)
    names = fixed(
        "commands", ["command"], "names of the command topics, each with parameters of its own"
    )
    _check_names("commands", names)
    parameters = GateParameters(
        commands=tuple(_declare_command(node, name) for name in names),
        permit_topics=tuple(
            fixed(
                "permit_topics",
                [PERMIT_TOPIC],
                "the permits of all monitors; commands pass while every one is granted",
            )
        ),
        permit_lease=fixed(
            "permit_lease", 0.2, "seconds for which one permit is good", bounds=(0.01, 10.0)
        ),
        speed_scale_topics=tuple(
            fixed(
                "speed_scale_topics",
                [SPEED_SCALE_TOPIC],
                "the speed scales of all monitors; the smallest counts, for commands whose "
                "parameter 'scaled' is true",
            )
        ),
        speed_scale_lease=fixed(
            "speed_scale_lease",
            1.0,
            "seconds for which one speed scale is good",
            bounds=(0.01, 10.0),
        ),
        joint_states_topic=fixed(
            "joint_states_topic", "joint_states", "where a robot is that shall be held"
        ),
        max_joint_state_age=fixed(
            "max_joint_state_age",
            0.5,
            "seconds after which a joint state no longer tells where the robot is",
            bounds=(0.001, 10.0),
        ),
        safe_command_duration=fixed(
            "safe_command_duration",
            1.0,
            "seconds for which the safe command is repeated once it asks for standstill",
            bounds=(0.0, 60.0),
        ),
        safe_command_rate=fixed(
            "safe_command_rate", 50.0, "safe commands a second", bounds=(1.0, 1000.0)
        ),
        inform_only=fixed(
            "inform_only", False, "pass everything, and only say what would have been done"
        ),
        hardware_id=fixed("hardware_id", "", "the robot or policy, as diagnostics name it"),
    )
    _check_names("permit_topics", parameters.permit_topics)
    _check_names("speed_scale_topics", parameters.speed_scale_topics)
    _check_topics(node, parameters)
    _refuse_unknown(node, names)
    return parameters


def _declare_command(node: Node, name: str) -> CommandParameters:
    fixed = partial(declare, node, read_only=True)
    type_name = fixed(
        f"{name}.type",
        "std_msgs/msg/Float64MultiArray",
        f"the message type; one of: {', '.join(COMMAND_TYPES)}",
    )
    if type_name not in COMMAND_TYPES:
        raise _unknown(f"{name}.type", type_name, list(COMMAND_TYPES))
    kind = COMMAND_TYPES[type_name]
    command = CommandParameters(
        name=name,
        kind=kind,
        input=fixed(f"{name}.input", f"{name}_in", "the topic of the policy's commands"),
        output=fixed(f"{name}.output", f"{name}_out", "the topic of those that were let through"),
        safe_command=fixed(
            f"{name}.safe_command",
            "nothing",
            "how the robot is stopped when the gate closes; one of: "
            + ", ".join(kind.safe_commands),
        ),
        scaled=fixed(f"{name}.scaled", False, "whether the monitor's speed scale applies"),
        joints=tuple(
            joint
            for joint in fixed(
                f"{name}.joints",
                NO_NAMES,
                "the joints that an array of numbers is for, in order; to hold them",
            )
            if joint
        ),
        max_deceleration=tuple(
            fixed(
                f"{name}.max_deceleration",
                [0.0],
                "for the safe command 'decelerate': m/s² and rad/s² of a twist, else one number",
            )
        ),
    )
    _check_command(command, type_name)
    return command


def _check_command(command: CommandParameters, type_name: str) -> None:
    name, kind = command.name, command.kind
    if command.safe_command not in kind.safe_commands:
        raise _unknown(f"{name}.safe_command", command.safe_command, kind.safe_commands, type_name)
    if command.scaled and not kind.can_be_scaled:
        raise UsageError(
            f"gate_node: '{name}.scaled' is true, but commands of {type_name} have no speed that "
            "could be scaled; set it to false"
        )
    if command.safe_command == "decelerate" and (
        len(command.max_deceleration) != kind.limits
        or not all(0 < limit < float("inf") for limit in command.max_deceleration)
    ):
        what = "two numbers above 0, m/s² and rad/s²" if kind.limits == 2 else "a number above 0"
        raise UsageError(
            f"gate_node: '{name}.max_deceleration' is {list(command.max_deceleration)}, but "
            f"'{name}.safe_command' is 'decelerate', which needs a list of {what}"
        )
    if command.safe_command == "hold" and kind.needs_joints and not command.joints:
        raise UsageError(
            f"gate_node: '{name}.safe_command' is 'hold', but '{name}.joints' names no joint: "
            f"list those that the numbers of '{command.input}' are for, in order"
        )


def _check_names(parameter: str, names: Sequence[str]) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if not names or "" in names or twice:
        raise UsageError(
            f"gate_node: the parameter '{parameter}' is {list(names)}; it must be a list of at "
            "least one name, none of them empty, and none twice"
        )


def _check_topics(node: Node, parameters: GateParameters) -> None:
    for topic in (*parameters.permit_topics, *parameters.speed_scale_topics):
        _resolved(node, topic)
    inputs = [_resolved(node, command.input) for command in parameters.commands]
    outputs = [_resolved(node, command.output) for command in parameters.commands]
    for topic, count in Counter([*set(inputs), *outputs]).items():
        if count > 1:
            raise UsageError(
                f"gate_node: commands come in or go out more than once on '{topic}': every "
                "command needs an output of its own, which is no input"
            )


def _resolved(node: Node, topic: str) -> str:
    try:
        name: str = node.resolve_topic_name(topic)
    except (NameValidationException, RuntimeError) as error:
        raise UsageError(f"gate_node: '{topic}' can be no name of a topic") from error
    return name


def _refuse_unknown(node: Node, commands: Sequence[str]) -> None:
    """A parameter of a command that is mistyped would leave a default in its place."""
    given = getattr(node, "_parameter_overrides", {})
    for name in given:
        if name.split(".")[0] in commands and "." in name and not node.has_parameter(name):
            raise UsageError(
                f"gate_node: there is no parameter '{name}'; those of a command are: type, input, "
                "output, safe_command, scaled, joints, max_deceleration"
            )


def _unknown(parameter: str, value: str, known: Sequence[str], of: str = "") -> UsageError:
    whose = f" those of {of}" if of else ""
    return UsageError(
        f"gate_node: the parameter '{parameter}' is '{value}', not one of{whose}: "
        f"{', '.join(known)}"
    )
