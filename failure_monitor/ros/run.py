# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""How every node of the package starts, spins and ends."""

from __future__ import annotations

import sys
from collections.abc import Callable

import rclpy
from rclpy._rclpy_pybind11 import RCLError
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node

from failure_monitor.errors import FailureMonitorError

LONGEST_WAIT = 0.5
"""Seconds until the executor looks again whether it shall end, when nothing happens."""


def run_node(make_node: Callable[[], Node]) -> None:
    """Spin a node until SIGINT or SIGTERM, both of which are a normal end (exit code 0).

    A `FailureMonitorError` ends the process with its message and code.
    """
    rclpy.init()
    try:
        _spin(make_node)
    except FailureMonitorError as error:
        print(error, file=sys.stderr)  # noqa: T201
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except RCLError:
        # Who was about to publish when the signal came has lost the context.
        if rclpy.ok():
            raise
    finally:
        rclpy.try_shutdown()


def _spin(make_node: Callable[[], Node]) -> None:
    node = make_node()
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        # Not rclpy.spin: a signal between its look at the context and its wait is lost, and the
        # wait has no end.
        while rclpy.ok():
            executor.spin_once(timeout_sec=LONGEST_WAIT)
    finally:
        node.destroy_node()
