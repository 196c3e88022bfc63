# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The robot's joint states: their absence is a problem, and so is what cannot be relied on.

Where the bundle's scores need them, what the joints did is added up for every decision, from
further topics too. Unless somebody wants each message at once, they wait until the next decision
or heartbeat.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from rclpy.node import Node
from rclpy.qos import QoSProfile, qos_profile_sensor_data
from sensor_msgs.msg import JointState

from failure_monitor.bundle.description import BundleDescription
from failure_monitor.joint_motion import JointMotion, JointMotionError
from failure_monitor.messages.joint_gaps import broken, gaps, missing
from failure_monitor.messages.joint_intervals import JointIntervals, JointTopic
from failure_monitor.messages.joint_soundness import JointSoundness
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


def more_joint_topics(
    settings: MonitorParameters, description: BundleDescription
) -> tuple[str, ...]:
    """Return the further topics of joint states: those that a parameter names, or the bundle's."""
    if named(settings.more_joint_states_topics):
        return named(settings.more_joint_states_topics)
    return () if description.joints is None else description.joints.topics[1:]


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
            QoSProfile(depth=MAX_WAITING, reliability=qos_profile_sensor_data.reliability),
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


class JointInput:
    """The subscriptions to joint states."""

    def __init__(
        self,
        node: Node,
        settings: MonitorParameters,
        *,
        needed: Sequence[str],
        more_topics: Sequence[str],
        on_message: Callable[[JointState], None] | None,
    ) -> None:
        """Subscribe.

        Args:
            node: the node that subscribes.
            settings: name the topic and bound the age of joint states.
            needed: the quantities of joints that scores need, as `JointMotion` names them.
            more_topics: further topics, for these quantities alone.
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
        return [states.topic for states in self._inputs]

    def start_rollout(self) -> None:
        """Expect a rollout's first decision."""
        self._intervals.start_rollout()
        self._why_unknown = ""

    def restart(self) -> None:
        """Forget all messages, because stamps start again."""
        self._collect()
        self._intervals.clear()

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
        self._why_unknown = self._why_missing() or broken(motion, self._intervals)
        if why := self._why_unknown or gaps(motion, self._intervals):
            raise JointMotionError(f"what the joints did is unknown: {why}")
        return motion

    def problem(self, topic: MonitoredTopic, now: float) -> str:
        """Return what is wrong with them; empty if nothing is, or if they are not needed."""
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
