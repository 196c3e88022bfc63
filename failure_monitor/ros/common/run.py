# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""How every node of the package starts, spins and ends.

A signal, and any further one, ends a node in order: after its last act, with exit code 0. Nothing
that it logs can block it, and no error of a callback ends it.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.utilities import remove_ros_args

from failure_monitor.errors import FailureMonitorError, UsageError
from failure_monitor.ros.common.log_pipe import flush, replace_standard_streams
from failure_monitor.ros.common.rclpy_internals import RCLError, TolerantExecutor, UnreadableError
from failure_monitor.ros.common.signals import watch_signals
from failure_monitor.ros.common.start_ros import start_ros, without_places

MAX_WAIT = 0.5
"""Seconds between two checks whether to end, while nothing happens. A signal does not wait."""

LAST_ACT_PERIOD = 0.1
"""Seconds between two calls of the last act, while nothing happens."""

MAX_FAILING = 5.0
"""Seconds after which a node is given up that can do nothing any more without an error."""

MAX_TEARDOWN = 5.0
"""Seconds that a node may take to be destroyed once its last act is done."""

TRACE_PERIOD = 10.0
"""Seconds between two errors of callbacks that are logged: a flood of them would fill a disk."""

FILE_LOG = "external-lib-logs"
"""ROS's name for the log files that a node writes itself."""

LastAct = Callable[[Node], bool]
"""Does what a node must do before it ends; returns whether it needs more time."""

OnError = Callable[[Node, Exception], object]
"""Called after a callback of the node has raised an error."""


def run_node(
    make_node: Callable[[], Node],
    *,
    last_act: LastAct | None = None,
    on_error: OnError | None = None,
) -> NoReturn:
    """Spin a node until a signal asks it to end, then end the process with exit code 0.

    A `FailureMonitorError` ends it with its message and code. Any other error of a callback is
    logged, and the node goes on: no message and no request may end it.

    Args:
        make_node: called once ROS is up.
        last_act: called when the node has to end. The node goes on to spin while this returns
            true, for as long as it takes. By default it ends at once.
        on_error: called after a callback has raised an error, which was logged.
    """
    pipes = replace_standard_streams()
    command, *arguments = sys.argv
    if f"--enable-{FILE_LOG}" not in arguments:
        # A disk that hangs would hang the node.
        arguments = ["--ros-args", f"--disable-{FILE_LOG}", "--", *arguments]

    def make() -> Node:
        _reject_other_arguments()
        return make_node()

    code = _run(make, [command, *arguments], last_act=last_act, on_error=on_error)
    flush(pipes)
    # What still runs, such as a score that hangs, would abort an end of the usual kind.
    os._exit(code)


def spin_node(make_node: Callable[[], Node]) -> None:
    """Spin a node until a signal asks it to end, or ROS is shut down; for what is no robot's node.

    Its standard output is somebody's input, and may block.

    Args:
        make_node: called once ROS is up.

    Raises:
        SystemExit: the node could not go on.
    """
    code = _run(make_node, sys.argv, ended_by=(FailureMonitorError, BrokenPipeError))
    if code:
        sys.exit(code)


def _reject_other_arguments() -> None:
    """Reject arguments that are not for ROS: they would have no effect.

    Raises:
        UsageError: names them.
    """
    command, *others = remove_ros_args(sys.argv)
    if others:
        raise UsageError(
            f"{os.path.basename(command)} takes no argument '{' '.join(others)}', only those of "
            "ROS: write --ros-args, then -p NAME:=VALUE, --params-file FILE, -r OLD:=NEW; "
            "docs/parameters.md lists the parameters"
        )


def _run(
    make_node: Callable[[], Node],
    arguments: list[str],
    *,
    last_act: LastAct | None = None,
    on_error: OnError | None = None,
    ended_by: tuple[type[Exception], ...] = (FailureMonitorError,),
) -> int:
    """Run a node from start to end, or to an error that ends it; return the exit code."""
    if watch_signals():
        return 0
    try:
        start_ros(arguments)
        spinning = _Spinning(_made(make_node), on_error, ended_by)
        try:
            spinning.spin()
        finally:
            if last_act is not None:
                spinning.act_last(last_act)
            spinning.destroy()
    except FailureMonitorError as error:
        _print(str(error))
        return error.exit_code
    except BrokenPipeError:
        raise
    except Exception:
        _print(traceback.format_exc())
        return 1
    finally:
        # Newer versions of rclpy destroy the nodes that are left, one that was half made too.
        with suppress(Exception):
            rclpy.try_shutdown()
    return 0


def _made(make_node: Callable[[], Node]) -> Node:
    try:
        return make_node()
    except RCLError as error:
        raise FailureMonitorError(f"ROS does not make the node: {without_places(error)}") from None


def _print(text: str) -> None:
    # Nobody may be left to read it.
    with suppress(OSError, ValueError):
        print(text, file=sys.stderr)  # noqa: T201


class _Spinning:
    """A node and what calls its callbacks."""

    def __init__(
        self, node: Node, on_error: OnError | None, ended_by: tuple[type[Exception], ...]
    ) -> None:
        self._node = node
        self._on_error = on_error
        self._ended_by = ended_by
        self._executor = TolerantExecutor(self._log)
        self._executor.add_node(node)
        self._request = watch_signals()
        # Without work for it, the executor would wait on.
        self._request.on_receive(lambda: self._executor.create_task(lambda: None))
        self._failing_since: float | None = None

    def spin(self) -> None:
        """Call callbacks until the process is asked to end.

        Raises:
            Exception: a callback raised one that ends the node; or whatever is tried raises one,
                for `MAX_FAILING` seconds.
        """
        while rclpy.ok() and not self._request:
            try:
                self._spin_once(MAX_WAIT)
                self._failing_since = None
            except self._ended_by:
                raise
            except Exception as error:
                self._log(error)
                if self._fails_for_long():
                    raise

    def act_last(self, last_act: LastAct) -> None:
        """Call the last act, and callbacks in between, until it is done.

        Raises:
            Exception: the last act raises it, for `MAX_FAILING` seconds.
        """
        self._failing_since = None
        while rclpy.ok():
            try:
                if not last_act(self._node):
                    return
                self._failing_since = None
            except Exception as error:
                self._log(error)
                if self._fails_for_long():
                    raise
            # What made the node end may be raised again, and must not prevent the last act.
            with suppress(Exception):
                self._spin_once(LAST_ACT_PERIOD)

    def destroy(self) -> None:
        """Destroy the node; end the process if that hangs."""
        timer = threading.Timer(MAX_TEARDOWN, os._exit, [0])
        timer.daemon = True
        timer.start()
        try:
            self._node.destroy_node()
        finally:
            timer.cancel()

    def _spin_once(self, timeout: float) -> None:
        with suppress(ExternalShutdownException):
            self._executor.spin_once(timeout_sec=timeout)

    def _fails_for_long(self) -> bool:
        now = time.monotonic()
        if self._failing_since is None:
            self._failing_since = now
        return now - self._failing_since > MAX_FAILING

    def _log(self, error: Exception) -> None:
        if isinstance(error, UnreadableError):
            trace = str(error)
        else:
            trace = "".join(traceback.format_exception(error))
        self._node.get_logger().error(trace, throttle_duration_sec=TRACE_PERIOD)
        if self._on_error is not None:
            try:
                self._on_error(self._node, error)
            except Exception as further:
                # It must not keep the node from its last act.
                self._node.get_logger().error(f"{type(further).__name__}: {further}")
