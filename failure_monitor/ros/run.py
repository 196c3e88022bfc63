# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""How every node of the package starts, spins and ends."""

from __future__ import annotations

import sys
from collections.abc import Callable

import rclpy
from rclpy._rclpy_pybind11 import RCLError
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node

from failure_monitor.errors import FailureMonitorError


def run_node(make_node: Callable[[], Node]) -> None:
    """Spin a node until SIGINT or SIGTERM, both of which are a normal end (exit code 0).

    A `FailureMonitorError` while the node is made ends the process with its message and code.
    """
    rclpy.init()
    try:
        node = make_node()
    except FailureMonitorError as error:
        print(error, file=sys.stderr)  # noqa: T201
        rclpy.try_shutdown()
        sys.exit(error.exit_code)
    try:
        rclpy.spin(node)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except RCLError:
        # A callback that was about to publish when the signal came has lost its context.
        if rclpy.ok():
            raise
    finally:
        node.destroy_node()
        rclpy.try_shutdown()
