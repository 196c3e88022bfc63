# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Runs the node of the module that is named first, on a middleware without QoS events.

Zenoh's is one: it answers a request for any event that it is not supported. What was asked for is
printed.
"""

import os
import runpy
import sys

from rclpy.event_handler import EventHandler, UnsupportedEventTypeError

REJECTED = "not supported: "
"""Beginning of the lines that are printed."""


def _reject(self: EventHandler, *, event_type: object, **_: object) -> None:
    os.write(2, f"{REJECTED}{event_type}\n".encode())
    raise UnsupportedEventTypeError("the middleware has no events")


if __name__ == "__main__":
    EventHandler.__init__ = _reject  # type: ignore[method-assign]
    runpy.run_module(sys.argv.pop(1), run_name="__main__")
