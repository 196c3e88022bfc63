# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""External scores: numbers that other programs publish and the bundle's rule combines."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from rclpy.node import Node
from std_msgs.msg import Float32, Float64

from failure_monitor.bundle.input_types import FLOAT32, FLOAT64
from failure_monitor.parameters.monitor import MonitorParameters
from failure_monitor.parameters.topics import external_topic
from failure_monitor.ros.common.message_info import MessageInfo, publication_time, with_info
from failure_monitor.ros.common.qos import DECISION_QOS
from failure_monitor.ros.monitor.monitored_topic import MonitoredTopic

NUMBERS = {FLOAT64: Float64, FLOAT32: Float32}


OnValue = Callable[[str, int, float], None]
"""Called with the name of a score, when a value was published, and the value."""


class ExternalInput:
    """Remembers the newest value of every external score.

    What the policy states to publish with every decision, its extras, is handed on instead: such
    a value is of one decision.
    """

    def __init__(
        self,
        node: Node,
        settings: MonitorParameters,
        topics: Mapping[str, str],
        types: Mapping[str, str],
        *,
        stated_extras: Callable[[], Collection[str]],
        on_value: OnValue,
    ) -> None:
        """Subscribe.

        Args:
            node: the node that subscribes.
            settings: bound the age of a value.
            topics: the topics of the external scores, by the scores' names.
            types: the types of their messages, by the scores' names.
            stated_extras: returns the names of the extras that the policy states.
            on_value: called with every value.
        """
        self.settings = settings
        self._topics = {
            name: MonitoredTopic(
                node, NUMBERS[types[name]], topic, self._receiver(name), DECISION_QOS
            )
            for name, topic in topics.items()
        }
        self._names = {topic: name for name, topic in self._topics.items()}
        self._newest: dict[str, float] = {}
        self._stated_extras = stated_extras
        self._hand_on = on_value

    @property
    def topics(self) -> Sequence[MonitoredTopic]:
        """The topics of this input."""
        return tuple(self._topics.values())

    @property
    def extras(self) -> Collection[str]:
        """The names of the scores of which every value is of one decision."""
        stated = self._stated_extras()
        return {
            name
            for name, topic in self._topics.items()
            if name in stated and f"/{topic.name}".endswith(f"/{external_topic(name)}")
        }

    def topic_of(self, name: str) -> MonitoredTopic:
        """Return the topic of the score of that name."""
        return self._topics[name]

    def values(self) -> Mapping[str, float]:
        """Return the newest value of every score that has one, by its name."""
        return dict(self._newest)

    def problem(self, topic: MonitoredTopic, now: float) -> str:
        """Return what is wrong with the score on a topic; empty if nothing is."""
        name = self._names[topic]
        # An extra comes with a decision, however seldom the policy decides.
        limit = math.inf if name in self.extras else self.settings.max_external_age
        problem = topic.contradiction() or topic.silence(now, limit)
        if not problem and not math.isfinite(self._newest[name]):
            problem = f"the value on '{topic.name}' is {self._newest[name]}: check its publisher"
        return problem and f"the external score {name} is unknown: {problem}"

    def _receiver(self, name: str) -> Callable[..., None]:
        def receive(message: Any, info: MessageInfo) -> None:
            self._on_value(name, message, info)

        return with_info(receive)

    def _on_value(self, name: str, message: Float64 | Float32, info: MessageInfo) -> None:
        topic = self._topics[name]
        topic.stream.add(time.monotonic())
        topic.stream.rejected += not math.isfinite(message.data)
        self._newest[name] = message.data
        self._hand_on(name, publication_time(info), message.data)
