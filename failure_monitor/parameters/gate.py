# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The parameters of the gate node. None can be set while it runs."""

from __future__ import annotations

from dataclasses import dataclass

from failure_monitor.errors import UsageError
from failure_monitor.parameters.command_types import COMMAND_ABILITIES, CommandAbilities
from failure_monitor.parameters.intervention import InterventionParameters
from failure_monitor.parameters.parameter import (
    NO_NAMES,
    check_choice,
    check_names,
    group,
    named,
    parameter,
    repeated,
)
from failure_monitor.parameters.topics import (
    JOINT_STATES_TOPIC,
    PERMIT_TOPIC,
    SPEED_SCALE_TOPIC,
)

SAFE_COMMANDS = {
    "nothing": "nothing is sent, for a robot that stops by itself when commands cease",
    "zero": "velocities of zero, never for commands that are positions",
    "decelerate": "velocities that fall to zero, or a trajectory that comes to rest",
    "hold": "stay at the measured joint positions, never for commands that are velocities",
}


@dataclass(frozen=True)
class CommandParameters:
    """One topic of commands; `name` is that of the group."""

    name: str = "command"
    type: str = parameter(
        "std_msgs/msg/Float64MultiArray", "The message type.", choices=tuple(COMMAND_ABILITIES)
    )
    input: str = parameter(
        "{name}_in", "Topic on which the policy publishes its commands.", is_topic=True
    )
    output: str = parameter(
        "{name}_out",
        "Topic on which the gate publishes the commands that it lets through; the controller must "
        "subscribe to this one.",
        is_topic=True,
    )
    safe_command: str = parameter(
        "nothing",
        "What is sent to stop the robot when the gate closes. Which of these a type has is in "
        "docs/gate.md.",
        choices=SAFE_COMMANDS,
    )
    scaled: bool = parameter(
        False,
        "Whether the monitor's speed scale slows these commands. Twists, arrays and joint states "
        "must then be velocities; trajectories are stretched in time.",
    )
    joints: tuple[str, ...] = parameter(
        NO_NAMES,
        "For the safe command 'hold' with std_msgs/msg/Float64MultiArray: the joints that the "
        "numbers are for, in order. For other types of joint commands: the joints to stop when "
        "the "
        'gate starts, as a gate that was killed may have left them in motion. [""] stands for '
        "none.",
    )
    max_deceleration: tuple[float, ...] = parameter(
        (0.0,),
        "For the safe command 'decelerate': the largest deceleration. Two numbers for twists, in "
        "m/s² and rad/s²; one number for all joints otherwise, in rad/s² or m/s².",
    )

    at_intervention: str = parameter(
        "stop",
        "What the gate does, when a human intervenes, about what its commands have moved.",
        choices={
            "stop": "stop it as ever, where a multiplexer lets the human's commands pass",
            "yield": "nothing, where the human commands on the gate's output; stop it when they "
            "let go",
        },
    )
    handover_tolerance: float = parameter(
        0.1,
        "Radians or metres by which the first command after a human's intervention may lie from "
        "the measured joints, for commands that are joint positions; 0 for any distance.",
        bounds=(0.0, 100.0),
    )

    @property
    def abilities(self) -> CommandAbilities:
        """What can be done with commands of this type."""
        return COMMAND_ABILITIES[self.type]

    @property
    def joint_names(self) -> tuple[str, ...]:
        """The joints that an array of numbers is for."""
        return named(self.joints)

    @property
    def measures_joints(self) -> bool:
        """Whether the safe command is made from joint states."""
        return self.safe_command == "hold" or (
            self.safe_command == "decelerate" and self.abilities.decelerates_from_measured
        )

    @property
    def commands_positions(self) -> bool:
        """Whether it is known that commands are, or may be, positions of named joints."""
        if self.abilities.needs_joints:
            return self.safe_command == "hold"
        return "hold" in self.abilities.safe_commands

    @property
    def needs_joint_states(self) -> bool:
        """Whether joint states are ever asked for."""
        return self.measures_joints or (self.commands_positions and self.handover_tolerance > 0)

    @property
    def idle(self) -> dict[str, str]:
        """Why parameters have no effect beside the others, by their names in the group."""
        reasons = {}
        if self.safe_command != "decelerate":
            why = f"it is for 'safe_command' decelerate, not {self.safe_command}"
            reasons["max_deceleration"] = why
        if self.abilities.needs_joints and self.safe_command != "hold":
            reasons["joints"] = f"it is for 'safe_command' hold, not {self.safe_command}"
        elif "hold" not in self.abilities.safe_commands:
            reasons["joints"] = f"{self.type} has no joints"
        if not self.commands_positions:
            reasons["handover_tolerance"] = "its commands are not known to be joint positions"
        return reasons

    def check(self) -> None:
        """Reject a safe command or a speed scale that the type does not have, or that lacks data.

        Raises:
            UsageError: names the parameter.
        """
        check_choice(f"{self.name}.type", self.type, COMMAND_ABILITIES)
        abilities = self.abilities
        if self.safe_command not in abilities.safe_commands:
            raise UsageError(
                f"the parameter '{self.name}.safe_command' is '{self.safe_command}', not one of "
                f"those of {self.type}: {', '.join(abilities.safe_commands)}"
            )
        if self.scaled and not abilities.can_be_scaled:
            raise UsageError(
                f"the parameter '{self.name}.scaled' is true, but commands of {self.type} have no "
                "speed that could be scaled; set it to false"
            )
        if self.safe_command == "decelerate":
            self._check_decelerations()
        if self.safe_command == "hold" and abilities.needs_joints and not self.joint_names:
            raise UsageError(
                f"the parameter '{self.name}.safe_command' is 'hold', but '{self.name}.joints' "
                f"names no joint: list those that the numbers of '{self.input}' are for, in order"
            )

    def _check_decelerations(self) -> None:
        limits, given = self.abilities.limits, self.max_deceleration
        if len(given) == limits and all(0 < limit < float("inf") for limit in given):
            return
        what = "two numbers above 0, m/s² and rad/s²" if limits == 2 else "a number above 0"
        raise UsageError(
            f"the parameter '{self.name}.max_deceleration' is {list(given)}, but "
            f"'{self.name}.safe_command' is 'decelerate', which needs a list of {what}"
        )


@dataclass(frozen=True)
class GateParameters:
    """All parameters of the gate node."""

    commands: tuple[str, ...] = parameter(
        ("command",),
        "Names for the topics of commands that this gate passes; each has the parameters below "
        "under its name. [arm, base] has arm.type, base.type and so on.",
    )
    command_groups: tuple[CommandParameters, ...] = repeated(CommandParameters, names="commands")
    permit_topics: tuple[str, ...] = parameter(
        (PERMIT_TOPIC,),
        "Topics of the permits of all monitors. Commands pass while every one of them is granted.",
        is_topic=True,
    )
    permit_lease: float = parameter(
        0.2,
        "Seconds for which one permit is valid: the longest time from the death of the monitor to "
        "the closing of the gate. Several times the monitor's heartbeat_period, or a late permit "
        "closes the gate.",
        bounds=(0.01, 10.0),
    )
    speed_scale_topics: tuple[str, ...] = parameter(
        (SPEED_SCALE_TOPIC,),
        "Topics of the speed scales of all monitors; the smallest counts. Used only if 'scaled' "
        "is true for a command.",
        is_topic=True,
    )
    speed_scale_lease: float = parameter(
        1.0,
        "Seconds for which one speed scale is valid. Without a valid one the gate is closed, if "
        "'scaled' is true for a command.",
        bounds=(0.01, 10.0),
    )
    joint_states_topic: str = parameter(
        JOINT_STATES_TOPIC,
        "Topic of the robot's joint states, for safe commands that are made from measured "
        "positions.",
    )
    max_joint_state_age: float = parameter(
        0.2,
        "Seconds after which a joint state is too old to make a safe command from: the robot is "
        "held where it was then. While there is none, commands are rejected, and a stop that is "
        "owed is sent once joint states are back.",
        bounds=(0.001, 10.0),
    )
    max_command_age: float = parameter(
        0.3,
        "Seconds after which a command that waited in the gate is rejected.",
        bounds=(0.01, 10.0),
    )
    safe_command_duration: float = parameter(
        1.0,
        "Seconds for which the safe command is repeated once it asks for standstill. Then the "
        "gate is silent, so that others may command the robot. 0 sends that last one once.",
        bounds=(0.0, 60.0),
    )
    safe_command_rate: float = parameter(50.0, "Safe commands per second.", bounds=(1.0, 1000.0))
    stop_timeout: float = parameter(
        10.0,
        "Seconds after which whatever started the gate kills it, once it has asked it to end. A "
        "ramp that takes longer is cut short 2.5 s before: the robot is told to stand at once. "
        "`ros2 launch` kills after 10 s, unless its sigterm_timeout is longer, as in "
        "monitor.launch.xml. `failure-monitor check` compares it with the longest ramp so far.",
        bounds=(0.0, 1000.0),
    )
    inform_only: bool = parameter(
        False,
        "Whether to pass everything as it comes and only to report what would have been done: to "
        "try a monitor on a robot before it may stop it.",
    )
    hardware_id: str = parameter("", "Name of the robot or policy in /diagnostics.")
    intervention: InterventionParameters = group(InterventionParameters, "intervention_")

    @property
    def idle(self) -> dict[str, str]:
        """Why parameters have no effect beside the others, by their full names."""
        groups = self.command_groups
        reasons = {
            f"{one.name}.{name}": reason for one in groups for name, reason in one.idle.items()
        }
        reasons |= self.intervention.idle
        if not self.intervention.topic:
            for one in groups:
                for name in ("at_intervention", "handover_tolerance"):
                    reasons[f"{one.name}.{name}"] = "'intervention_topic' is empty"
        if not any(one.scaled for one in groups):
            why = "'scaled' is false for every command"
            reasons |= {"speed_scale_topics": why, "speed_scale_lease": why}
        if not any(one.needs_joint_states for one in groups):
            why = "no command needs joint states"
            reasons |= {"joint_states_topic": why, "max_joint_state_age": why}
        if all(one.safe_command == "nothing" for one in groups):
            why = "every 'safe_command' is nothing"
            reasons |= dict.fromkeys(("safe_command_duration", "safe_command_rate"), why)
        return reasons

    def check(self) -> None:
        """Reject lists of topics that are empty or name one twice.

        Raises:
            UsageError: names the parameter.
        """
        check_names("permit_topics", self.permit_topics)
        check_names("speed_scale_topics", self.speed_scale_topics)
