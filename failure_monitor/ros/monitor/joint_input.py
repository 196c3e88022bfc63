# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The robot's joint states: their absence is a problem, and so is what cannot be relied on.

Where the bundle's scores need them, what the joints did is added up for every decision, from
further topics too, and with it the commands as sent to the robot, where calibration had recorded
those. Unless somebody wants each message at once, they wait until the next decision or heartbeat.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from rclpy.node import Node
from rclpy.qos import QoSProfile, qos_profile_sensor_data
from sensor_msgs.msg import JointState

from failure_monitor.bundle.bundle import Bundle
from failure_monitor.bundle.description import BundleDescription
from failure_monitor.errors import UsageError
from failure_monitor.joint_motion import JointMotion, JointMotionError
from failure_monitor.listed_names import list_names
from failure_monitor.messages.joint_gaps import broken, gaps, missing
from failure_monitor.messages.joint_intervals import JointIntervals, JointTopic
from failure_monitor.messages.joint_soundness import JointSoundness
from failure_monitor.messages.joint_sources import NO_STAMP, JointSources
from failure_monitor.messages.sent_commands import SENT_TYPES, SentCommands
from failure_monitor.parameters.monitor import MonitorParameters
from failure_monitor.parameters.parameter import named
from failure_monitor.ros.common.collected_subscription import Collected
from failure_monitor.ros.common.message_info import MessageInfo, sequence_number, with_info
from failure_monitor.ros.common.messages import stamp_nanoseconds
from failure_monitor.ros.monitor.monitored_topic import MonitoredTopic

MAX_WAITING = 256
"""Number of messages that may wait while the node is busy: half a second at 500 Hz."""

DISCOVERY = 1.0
"""Seconds from the first joint state, in which others may state what it lacks."""

MAX_WITHOUT_COMMANDS = 3
"""Number of decisions in a row before which no command, or none with all values, was sent although
commands may pass: more than one, as a controller may be given a trajectory that lasts over the
next decision."""

MAX_LOST_COMMANDS = 0.1
"""Share of the commands before a decision that may be lost: the mean over the others is near."""

SENT = ("commands",)
"""Stands for all commands of a topic, of which one publisher may send any."""

SENSOR_QOS = QoSProfile(depth=MAX_WAITING, reliability=qos_profile_sensor_data.reliability)


def more_joint_topics(
    settings: MonitorParameters, description: BundleDescription
) -> tuple[str, ...]:
    """Return the further topics of joint states: those that a parameter names, or the bundle's."""
    if named(settings.more_joint_states_topics):
        return named(settings.more_joint_states_topics)
    return () if description.joints is None else description.joints.topics[1:]


class SentTopic(NamedTuple):
    """The topic of the commands as sent, their message type, and the values that are needed."""

    name: str
    message_type: str
    needed: tuple[str, ...]


def commands_topic(settings: MonitorParameters, bundle: Bundle) -> SentTopic | None:
    """Return the topic of the commands as sent: that of a parameter, or the bundle's.

    None where no score needs them.

    Raises:
        UsageError: they are needed, and it is unknown on which topic or of which type they are.
    """
    if not bundle.command_names:
        return None
    joints, types = bundle.description.joints, bundle.description.message_types
    recorded = "" if joints is None else joints.commands_topic
    message_type = types.get(recorded, "")
    if message_type not in SENT_TYPES:
        raise UsageError(
            "the bundle's scores need the commands as sent to the robot, and it does not state "
            "their topic and type: calibrate on bags, with --commands-topic, or on an archive of "
            "such bags, or without the commands"
        )
    return SentTopic(settings.commands_topic or recorded, message_type, bundle.command_names)


class _JointStates:
    """The subscription to one topic of joint states."""

    def __init__(
        self,
        node: Node,
        topic: str,
        *,
        added_up: JointTopic | None,
        on_message: Callable[[JointState], None] | None,
    ) -> None:
        """Subscribe.

        Args:
            node: the node that subscribes.
            topic: the topic's name.
            added_up: to which the messages are added; None if no score needs them.
            on_message: called with every message, if anybody wants them.
        """
        self.is_watched = True
        """Whether it matters which joints are stated, and when."""
        self.soundness = JointSoundness()
        self.first_at: float | None = None
        """When the first message came."""
        self._added_up = added_up
        self._forward = on_message
        # Who wants the messages themselves wants them at once.
        self._is_collected = on_message is None
        self.topic = MonitoredTopic(
            node,
            JointState,
            topic,
            with_info(self._on_message),
            SENSOR_QOS,
            group=Collected() if self._is_collected else None,
        )

    def collect(self) -> None:
        """Handle the messages that wait."""
        if self._is_collected:
            self.topic.collect(MAX_WAITING, self._handle)

    def _on_message(self, message: JointState, info: MessageInfo) -> None:
        self._handle(message, info, time.monotonic())

    def _handle(self, message: JointState, info: MessageInfo, now: float) -> None:
        header = message.header.stamp
        stamp = stamp_nanoseconds(header)
        self.topic.stream.add(now, stamp)
        if self.first_at is None:
            self.first_at = now
        if self.is_watched:
            self.topic.stream.rejected += not self.soundness.update(
                message.name,
                message.position,
                sequence_number(info),
                (header.sec, header.nanosec),
                now,
            )
        if self._added_up is not None:
            self._added_up.add(
                stamp, message.name, message.position, message.velocity, message.effort
            )
        if self._forward is not None:
            self._forward(message)


class _Commands:
    """The subscription to the commands as sent, where scores need them."""

    def __init__(self, node: Node, topic: str, message_type: str, needed: Sequence[str]) -> None:
        """Subscribe.

        Args:
            node: the node that subscribes.
            topic: the topic's name.
            message_type: of the commands.
            needed: the names of the values that scores need.
        """
        # Imported here: with it come message types that no other input is of.
        from failure_monitor.ros.commands import COMMAND_TYPES

        self.may_pass = False
        """Whether the gate lets commands pass, so that some are expected."""
        self._clock = node.get_clock()
        self._type = message_type
        self._sent = SentCommands(topic, needed)
        self._sources = JointSources()
        self._was_expected = False
        self._without = 0
        self._lost_before = 0
        self.topic = MonitoredTopic(
            node,
            COMMAND_TYPES[message_type].message,
            topic,
            with_info(self._on_message),
            SENSOR_QOS,
            group=Collected(),
        )

    def collect(self) -> None:
        """Handle the messages that wait."""
        self.topic.collect(MAX_WAITING, self._handle)

    def start_rollout(self) -> None:
        """Expect a rollout's first decision."""
        self._sent.start_rollout()
        self._without = 0

    def clear(self) -> None:
        """Forget all commands, because stamps start again."""
        self._sent.clear()

    def take(self, stamp: int, motion: JointMotion) -> JointMotion:
        """Return what the joints did, with the commands sent since the decision before.

        Raises:
            JointMotionError: they are not those of calibration, or have stopped.
        """
        motion = self._sent.take(stamp, motion)
        lost = self.topic.stream.lost - self._lost_before
        self._lost_before += lost
        was_expected, self._was_expected = self._was_expected, self.may_pass
        # A part of them is none: scores need all values.
        if self._sent.missing and was_expected and self.may_pass:
            self._without += 1
        else:
            self._without = 0
        if why := self._sent.fault(motion) or self._why_stopped():
            raise JointMotionError(self._unknown(why))
        if self._sent.has_interval and lost > MAX_LOST_COMMANDS * (lost + self._sent.came):
            raise JointMotionError(
                self._unknown(
                    f"{lost} of {lost + self._sent.came} were lost before this decision: send "
                    "them less often, or see what keeps this machine or the network busy"
                )
            )
        return motion

    def problem(self, now: float) -> str:
        """Return what is wrong with them; empty if nothing is."""
        if contradiction := self.topic.contradiction():
            return self._unknown(contradiction)
        if self._sources.contradicted(now):
            return self._unknown("several publishers have just sent some: stop all but one")
        # With the permit goes what would bring commands back: then they are no problem, unless a
        # permit would not bring them either.
        why = self._why_never() or (self._why_stopped() if self.may_pass else "")
        return why and self._unknown(why)

    def _why_never(self) -> str:
        if self.topic.stream.received or self.topic.is_readable:
            return ""
        return f"none has come so far: {self.topic.why_silent()}"

    def _why_stopped(self) -> str:
        if self._without < MAX_WITHOUT_COMMANDS:
            return ""
        since = f"has come since {self._without} decisions, although commands may pass"
        if not self._sent.came:
            return f"none {since}: {self.topic.why_silent()}"
        return (
            f"no {list_names(self._sent.missing)} {since}: those that come lack it; send the same "
            "as in calibration, or calibrate again"
        )

    def _unknown(self, why: str) -> str:
        return f"the commands as sent on '{self.topic.name}' are unknown: {why}"

    def _on_message(self, message: Any, info: MessageInfo) -> None:
        self._handle(message, info, time.monotonic())

    def _handle(self, message: Any, info: MessageInfo, received: float) -> None:
        waited = time.monotonic() - received
        now = self._clock.now().nanoseconds - round(1e9 * waited)
        self.topic.stream.add(received)
        number, is_single = sequence_number(info), self.topic.publishers == 1
        self.topic.stream.count_lost(number)
        self._sources.update(SENT, number, NO_STAMP, received, is_single=is_single)
        self._sent.add(now, message, self._type)


class JointInput:
    """The subscriptions to joint states, and to the commands that move the joints."""

    def __init__(
        self,
        node: Node,
        settings: MonitorParameters,
        *,
        needed: Sequence[str],
        more_topics: Sequence[str],
        commands: SentTopic | None,
        on_message: Callable[[JointState], None] | None,
    ) -> None:
        """Subscribe.

        Args:
            node: the node that subscribes.
            settings: name the topic and bound the age of joint states.
            needed: the quantities of joints that scores need, as `JointMotion` names them.
            more_topics: further topics, for these quantities alone.
            commands: the topic of commands as sent; None if no score needs them.
            on_message: called with every message of the robot's topic; None if nobody wants them.
        """
        self._needed = tuple(needed)
        self._intervals = JointIntervals(
            [settings.joint_states_topic, *more_topics] if needed else [], needed
        )
        self._why_unknown = ""
        added_up = self._intervals.topics
        self._inputs = [
            _JointStates(
                node,
                settings.joint_states_topic,
                added_up=added_up.get(settings.joint_states_topic),
                on_message=on_message,
            ),
            *(
                _JointStates(node, name, added_up=topic, on_message=None)
                for name, topic in added_up.items()
                if name != settings.joint_states_topic
            ),
        ]
        self._commands = None if commands is None else _Commands(node, *commands)
        self.settings = settings

    @property
    def settings(self) -> MonitorParameters:
        """The parameters that bound the age of joint states."""
        return self._settings

    @settings.setter
    def settings(self, settings: MonitorParameters) -> None:
        self._settings = settings
        for states in self._inputs:
            states.is_watched = bool(settings.max_joint_state_age or self._needed)

    @property
    def topics(self) -> Sequence[MonitoredTopic]:
        """The topics of this input."""
        sent = [] if self._commands is None else [self._commands.topic]
        return [*(states.topic for states in self._inputs), *sent]

    def expect_commands(self, expected: bool) -> None:
        """Set whether the gate lets commands pass, so that some are expected."""
        if self._commands is not None:
            self._commands.may_pass = expected

    def start_rollout(self) -> None:
        """Expect a rollout's first decision."""
        self._intervals.start_rollout()
        self._why_unknown = ""
        if self._commands is not None:
            self._commands.start_rollout()

    def restart(self) -> None:
        """Forget all messages, because stamps start again."""
        self._collect()
        self._intervals.clear()
        if self._commands is not None:
            self._commands.clear()

    def take(self, stamp: int) -> JointMotion | None:
        """Return what the joints did up to a decision; None if no score needs it.

        Args:
            stamp: of the decision's observation.

        Raises:
            JointMotionError: something of it is unknown.
        """
        if not self._needed:
            return None
        self._collect()
        motion = self._intervals.take(stamp)
        if self._commands is not None:
            motion = self._commands.take(stamp, motion)
        self._why_unknown = self._why_missing() or broken(motion, self._intervals)
        if why := self._why_unknown or gaps(motion, self._intervals):
            raise JointMotionError(f"what the joints did is unknown: {why}")
        return motion

    def problem(self, topic: MonitoredTopic, now: float) -> str:
        """Return what is wrong with them; empty if nothing is, or if they are not needed."""
        if self._commands is not None and topic is self._commands.topic:
            self._commands.collect()
            return self._commands.problem(now)
        states = next(each for each in self._inputs if each.topic is topic)
        states.collect()
        if problem := self._late_or_unsound(states, now):
            return problem
        if states is not self._inputs[0] or not self._needed:
            return ""
        if states.first_at is None or now - states.first_at < DISCOVERY:
            return ""
        why = self._why_unknown or self._why_missing()
        return why and f"what the joints did is unknown: {why}"

    def _collect(self) -> None:
        for states in self._inputs:
            states.collect()
        if self._commands is not None:
            self._commands.collect()

    def _late_or_unsound(self, states: _JointStates, now: float) -> str:
        topic, limit = states.topic, self.settings.max_joint_state_age
        if limit == 0:
            # However old they may be: a mean over two robots is of none.
            return states.soundness.contradiction(topic.name, now) if self._needed else ""
        if topic.stream.age(now) is None:
            remedy = (
                "calibrate with other scores for a robot without them"
                if self._needed
                else "set max_joint_state_age to 0.0 for a robot without joints"
            )
            return f"{topic.silence(now, limit)}; {remedy}"
        return topic.silence(now, limit) or states.soundness.problem(topic.name, now, limit)

    def _why_missing(self) -> str:
        names = [states.topic.name for states in self._inputs]
        return missing(
            self._needed, dict(zip(names, self._intervals.topics.values(), strict=True))
        )
