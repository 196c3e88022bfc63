# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""How every node of the package starts, spins and ends."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from failure_monitor.errors import FailureMonitorError

MAX_WAIT = 0.5
"""Seconds between two checks whether to end, while nothing happens."""

MAX_LAST_ACT = 3.0
"""Seconds for which a node may go on before it ends; `ros2 launch` kills it after 5."""

LastAct = Callable[[Node], bool]
"""Does what a node must do before it ends; returns whether it needs more time."""


def run_node(make_node: Callable[[], Node], *, last_act: LastAct | None = None) -> None:
    """Spin a node until SIGINT or SIGTERM, both of which are a normal end (exit code 0).

    A `FailureMonitorError` ends the process with its message and code.

    Args:
        make_node: called once ROS is up.
        last_act: called when the node has to end, also because a callback raised an error. The
            node goes on to spin while this returns true, for at most `MAX_LAST_ACT` seconds. By
            default it ends at once.
    """
    # The handlers of rclpy shut ROS down: after them nothing can be published any more.
    handlers = SignalHandlerOptions.ALL if last_act is None else SignalHandlerOptions.NO
    rclpy.init(signal_handler_options=handlers)
    try:
        _spin(make_node, last_act)
    except FailureMonitorError as error:
        print(error, file=sys.stderr)  # noqa: T201
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except Exception:
        # A signal ends ROS in the middle of whatever runs, such as a constructor or a publication.
        if rclpy.ok():
            raise
    finally:
        rclpy.try_shutdown()


def _spin(make_node: Callable[[], Node], last_act: LastAct | None) -> None:
    stop_signal = _StopSignal() if last_act is not None else None
    # Before the node: on Kilted an executor whose creation a signal interrupts prints a traceback.
    executor = SingleThreadedExecutor()
    node = make_node()
    executor.add_node(node)
    try:
        # Not rclpy.spin: a signal between its check of the context and its wait is lost, and the
        # wait has no end.
        while rclpy.ok() and not stop_signal:
            executor.spin_once(timeout_sec=MAX_WAIT)
    finally:
        if last_act is not None:
            _act_last(executor, node, last_act)
        node.destroy_node()


def _act_last(executor: SingleThreadedExecutor, node: Node, last_act: LastAct) -> None:
    end = time.monotonic() + MAX_LAST_ACT
    while rclpy.ok() and last_act(node) and time.monotonic() < end:
        # What made the node end may be raised again, and must not prevent the last act.
        with suppress(Exception):
            executor.spin_once(timeout_sec=MAX_WAIT)


class _StopSignal:
    """True once SIGINT or SIGTERM was received."""

    def __init__(self) -> None:
        self._received = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)

    def __bool__(self) -> bool:
        return self._received

    def _on_signal(self, number: int, frame: object) -> None:
        self._received = True
