# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Accepts messages with the stamp of a recent observation, and rejects others with a reason."""

from __future__ import annotations

from collections.abc import Callable

from rclpy.node import Node

from failure_monitor.parameters.monitor import MonitorParameters
from failure_monitor.ros.common.stream import ClockSetBackError, StampError, StampLimits
from failure_monitor.ros.monitor.monitored_topic import MonitoredTopic


class StampGuard:
    """Checks the stamps of several topics for their order and against this machine's clock."""

    def __init__(
        self, node: Node, *, on_fault: Callable[[str], None], on_restart: Callable[[], None]
    ) -> None:
        """Use the clock of a node.

        Args:
            node: the node with the clock.
            on_fault: called with why a message cannot be used.
            on_restart: called when stamps start again in the middle of a rollout.
        """
        self._node = node
        self._on_fault = on_fault
        self._on_restart = on_restart

    def rejection(self, topic: MonitoredTopic, stamp: int, settings: MonitorParameters) -> str:
        """Return why a message cannot be used; empty if it is new and has a valid stamp."""
        limits = StampLimits(settings.max_stamp_lead, settings.max_stamp_age)
        clock = self._node.get_clock().now().nanoseconds
        try:
            return topic.stream.why_not_next(stamp, clock, limits)
        except ClockSetBackError as error:
            self._on_fault(f"'{topic.name}': {error}")
            # This is the first message of the new time.
            self._on_restart()
            return topic.stream.why_not_next(stamp, clock, limits)
        except StampError as error:
            topic.stream.rejected += 1
            reason = f"'{topic.name}': {error}"
            self._on_fault(reason)
            return reason
