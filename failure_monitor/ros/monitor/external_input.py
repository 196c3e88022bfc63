# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""External scores: numbers that other programs publish and the bundle's rule combines."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from functools import partial

from rclpy.node import Node
from std_msgs.msg import Float32, Float64

from failure_monitor.bundle.input_types import FLOAT32, FLOAT64
from failure_monitor.parameters.monitor import MonitorParameters
from failure_monitor.ros.common.qos import DECISION_QOS
from failure_monitor.ros.monitor.monitored_topic import MonitoredTopic

NUMBERS = {FLOAT64: Float64, FLOAT32: Float32}


class ExternalInput:
    """Remembers the newest value of every external score."""

    def __init__(
        self,
        node: Node,
        settings: MonitorParameters,
        topics: Mapping[str, str],
        types: Mapping[str, str],
    ) -> None:
        """Subscribe.

        Args:
            node: the node that subscribes.
            settings: bound the age of a value.
            topics: the topics of the external scores, by the scores' names.
            types: the types of their messages, by the scores' names.
        """
        self.settings = settings
        self._topics = {
            name: MonitoredTopic(
                node, NUMBERS[types[name]], topic, partial(self._on_value, name), DECISION_QOS
            )
            for name, topic in topics.items()
        }
        self._names = {topic: name for name, topic in self._topics.items()}
        self._newest: dict[str, float] = {}

    @property
    def topics(self) -> Sequence[MonitoredTopic]:
        """The topics of this input."""
        return tuple(self._topics.values())

    def values(self) -> Mapping[str, float]:
        """Return the newest value of every score that has one, by its name."""
        return dict(self._newest)

    def problem(self, topic: MonitoredTopic, now: float) -> str:
        """Return what is wrong with the score on a topic; empty if nothing is."""
        name = self._names[topic]
        problem = topic.contradiction() or topic.silence(now, self.settings.max_external_age)
        if not problem and not math.isfinite(self._newest[name]):
            problem = f"the value on '{topic.name}' is {self._newest[name]}: check its publisher"
        return problem and f"the external score {name} is unknown: {problem}"

    def _on_value(self, name: str, message: Float64 | Float32) -> None:
        topic = self._topics[name]
        topic.stream.add(time.monotonic())
        topic.stream.rejected += not math.isfinite(message.data)
        self._newest[name] = message.data
