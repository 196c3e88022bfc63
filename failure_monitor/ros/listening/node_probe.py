# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What a monitor and a gate say of themselves, remembered while it is new."""

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
"""Seconds after which the last word no longer counts; a monitor speaks many times a second, a
gate every second."""


class HeardMonitor:
    """Takes what a monitor says."""

    def __init__(self, node: str) -> None:
        """Nothing heard yet.

        Args:
            node: its full name.
        """
        self.node = node
        self.inputs: dict[str, str] = {}
        """What it listens to: full names of topics, and what its parameters call them."""
        self._alarm = read_alarm(DiagnosticStatus())
        self._heard = -math.inf
        self._diagnosed = False
        self._scoring: dict[str, str] = {}

    def on_alarm(self, alarm: DiagnosticStatus) -> None:
        """Take a word on `~/alarm`."""
        self._alarm, self._heard = read_alarm(alarm), time.monotonic()

    def on_status(self, status: DiagnosticStatus) -> None:
        """Take a word on `/diagnostics`, if it is of this monitor."""
        node, _, what = status.name.partition(": ")
        if node != self.node.removeprefix("/"):
            return
        self._diagnosed = True
        said = read_key_values(status.values)
        if what == "scoring":
            self._scoring = said
        elif "named" in said:
            self.inputs[what] = said["named"]

    def snapshot(
        self, subscribed: Mapping[str, str], parameters: Mapping[str, Any] | None
    ) -> MonitorSnapshot:
        """What is known of it now.

        Args:
            subscribed: the types of the topics that it subscribes to.
            parameters: that it answered.
        """
        speaks = time.monotonic() - self._heard < MONITOR_SILENCE
        return MonitorSnapshot(
            node=self.node,
            state=self._alarm.state if speaks else None,
            reason=self._alarm.reason,
            permits=speaks and self._alarm.permit,
            diagnosed=self._diagnosed,
            inputs={
                topic: SubscribedTopic(named=named, message_type=subscribed[topic])
                for topic, named in self.inputs.items()
                if topic in subscribed
            },
            scoring=self._scoring,
            parameters=parameters,
        )


class HeardGate:
    """Takes what a gate says."""

    def __init__(self, node: str) -> None:
        """Nothing heard yet.

        Args:
            node: its full name.
        """
        self.node = node
        self._state = DiagnosticStatus()
        self._heard = -math.inf
        self._passes = False

    def on_state(self, state: DiagnosticStatus) -> None:
        """Take a word on `~/state`."""
        self._state, self._heard = state, time.monotonic()

    def on_open(self, is_open: Bool) -> None:
        """Take a word on `~/open`."""
        self._passes = is_open.data

    def snapshot(
        self,
        permits: Sequence[str],
        inputs: Sequence[str],
        outputs: Sequence[str],
        parameters: Mapping[str, Any] | None,
    ) -> GateSnapshot:
        """What is known of it now.

        Args:
            permits: the topics of permits that it subscribes to.
            inputs: the topics of commands that it subscribes to.
            outputs: those that it publishes.
            parameters: that it answered.
        """
        speaks = time.monotonic() - self._heard < GATE_SILENCE
        return GateSnapshot(
            node=self.node,
            said=self._state.message if speaks else "",
            level=self._state.level[0],
            passes=self._passes,
            permits=tuple(permits),
            inputs=tuple(inputs),
            outputs=tuple(outputs),
            parameters=parameters,
        )
