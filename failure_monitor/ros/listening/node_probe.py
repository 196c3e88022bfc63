# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What a monitor and a gate report about themselves, while it is recent."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus
from std_msgs.msg import Bool

from failure_monitor.graph_check.snapshot import GateSnapshot, MonitorSnapshot, SubscribedTopic
from failure_monitor.ros.common.alarm_message import read_alarm
from failure_monitor.ros.common.key_values import read_key_values

MONITOR_SILENCE, GATE_SILENCE = 1.0, 2.5
"""Seconds after which the last message no longer counts. A monitor publishes many times a second,
a gate every second."""


class MonitorProbe:
    """Receives what a monitor publishes."""

    def __init__(self, node: str) -> None:
        """Start without any message.

        Args:
            node: its full name.
        """
        self.node = node
        self.inputs: dict[str, str] = {}
        """Full names of the topics that it subscribes to, and how its parameters name them."""
        self._alarm = read_alarm(DiagnosticStatus())
        self._received = -math.inf
        self._diagnosed = False
        self._scoring: dict[str, str] = {}

    def on_alarm(self, alarm: DiagnosticStatus) -> None:
        """Remember a message on `~/alarm`."""
        self._alarm, self._received = read_alarm(alarm), time.monotonic()

    def on_status(self, status: DiagnosticStatus) -> None:
        """Remember a status on `/diagnostics` if it is this monitor's."""
        node, _, what = status.name.partition(": ")
        if node != self.node.removeprefix("/"):
            return
        self._diagnosed = True
        values = read_key_values(status.values)
        if what == "scoring":
            self._scoring = values
        elif "named" in values:
            self.inputs[values["topic"]] = values["named"]

    def snapshot(
        self, subscribed: Mapping[str, str], parameters: Mapping[str, Any] | None
    ) -> MonitorSnapshot:
        """Return what is known about it now.

        Args:
            subscribed: the types of the topics that it subscribes to.
            parameters: its parameters as it reported them; None if it did not.
        """
        reports = time.monotonic() - self._received < MONITOR_SILENCE
        return MonitorSnapshot(
            node=self.node,
            state=self._alarm.state if reports else None,
            reason=self._alarm.reason,
            permits=reports and self._alarm.permit,
            diagnosed=self._diagnosed,
            inputs={
                topic: SubscribedTopic(named=named, message_type=subscribed[topic])
                for topic, named in self.inputs.items()
                if topic in subscribed
            },
            scoring=self._scoring,
            parameters=parameters,
        )


class GateProbe:
    """Receives what a gate publishes."""

    def __init__(self, node: str) -> None:
        """Start without any message.

        Args:
            node: its full name.
        """
        self.node = node
        self._state = DiagnosticStatus()
        self._received = -math.inf
        self._passes = False

    def on_state(self, state: DiagnosticStatus) -> None:
        """Remember a message on `~/state`."""
        self._state, self._received = state, time.monotonic()

    def on_open(self, is_open: Bool) -> None:
        """Remember a message on `~/open`."""
        self._passes = is_open.data

    def snapshot(
        self,
        permits: Sequence[str],
        inputs: Sequence[str],
        outputs: Sequence[str],
        parameters: Mapping[str, Any] | None,
    ) -> GateSnapshot:
        """Return what is known about it now.

        Args:
            permits: the topics of permits that it subscribes to.
            inputs: the topics of commands that it subscribes to.
            outputs: the topics of commands that it publishes.
            parameters: its parameters as it reported them; None if it did not.
        """
        reports = time.monotonic() - self._received < GATE_SILENCE
        return GateSnapshot(
            node=self.node,
            said=self._state.message if reports else "",
            level=self._state.level[0],
            passes=self._passes,
            permits=tuple(permits),
            inputs=tuple(inputs),
            outputs=tuple(outputs),
            longest_stop=self._longest_stop(),
            parameters=parameters,
        )

    def _longest_stop(self) -> float:
        values = read_key_values(self._state.values)
        stops = (text for key, text in values.items() if key.endswith(".longest_stop"))
        return max(map(float, stops), default=0.0)
