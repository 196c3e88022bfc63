# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Whether a message of a teleoperation device shows a human at work.

The messages are those of ROS or of a bag: what they are made of is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from typing import Any

from failure_monitor.parameters.intervention import BOOL_TYPE, DEVICE_TYPES

__all__ = ["BOOL_TYPE", "USUAL_DEAD_BAND", "USUAL_LASTING", "is_active", "is_measured"]

USUAL_DEAD_BAND = 0.05
"""What a number exceeds when a device is moved, unless stated otherwise."""

USUAL_LASTING = 0.5
"""Seconds after the last activity for which a human still intervenes, unless stated otherwise."""


def _joy(message: Any) -> Iterator[float]:
    # A button that is pressed is far outside of any dead band.
    return chain(message.axes, (1e9 * button for button in message.buttons))


def _twist(message: Any) -> Iterator[float]:
    for vector in (message.linear, message.angular):
        yield from (vector.x, vector.y, vector.z)


def _stamped_twist(message: Any) -> Iterator[float]:
    return _twist(message.twist)


NUMBERS: Mapping[str, Callable[[Any], Iterator[float]]] = dict(
    zip(DEVICE_TYPES, (_joy, _twist, _stamped_twist), strict=True)
)
"""Of the types whose messages also come from a device that nobody moves: their numbers."""


def is_measured(message_type: str, dead_band: float) -> bool:
    """Return whether the numbers of a message decide; else that it comes is activity."""
    return message_type in NUMBERS and dead_band >= 0.0


def is_active(message: Any, message_type: str, dead_band: float) -> bool:
    """Return whether a message shows a human at work.

    Args:
        message: of that type; where its numbers do not decide, its bytes do.
        message_type: such as `sensor_msgs/msg/Joy`.
        dead_band: what a number exceeds when the device is moved; below 0 every message counts.
    """
    if message_type == BOOL_TYPE:
        return bool(message.data)
    if not is_measured(message_type, dead_band):
        return True
    # What is not a number is not known to be at rest.
    return any(not abs(number) <= dead_band for number in NUMBERS[message_type](message))
