# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Lets through what is stamped as an observation made just now, and says what is not."""

from __future__ import annotations

from collections.abc import Callable

from rclpy.node import Node

from failure_monitor.parameters.monitor import MonitorParameters
from failure_monitor.ros.common.stream import ClockSetBackError, StampError, StampLimits
from failure_monitor.ros.monitor.monitored_topic import MonitoredTopic


class StampGuard:
    """Checks the stamps of several topics against this machine's clock, and for their order."""

    def __init__(
        self, node: Node, *, fail: Callable[[str], None], restart: Callable[[], None]
    ) -> None:
        """Ask the node for the time.

        Args:
            node: has the clock.
            fail: told why a message cannot be used.
            restart: told that stamps begin anew, in the middle of a rollout.
        """
        self._node = node
        self._fail = fail
        self._restart = restart

    def admits(self, topic: MonitoredTopic, stamp: int, settings: MonitorParameters) -> bool:
        """Whether a message is new, and stamped as it should be."""
        limits = StampLimits(settings.max_stamp_lead, settings.max_stamp_age)
        clock = self._node.get_clock().now().nanoseconds
        try:
            return topic.stream.is_next(stamp, clock, limits)
        except ClockSetBackError as error:
            self._fail(f"'{topic.name}': {error}")
            # From now on in the new time, of which this is the first message.
            self._restart()
            return topic.stream.is_next(stamp, clock, limits)
        except StampError as error:
            topic.stream.refused += 1
            self._fail(f"'{topic.name}': {error}")
            return False
