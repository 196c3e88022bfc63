# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A node in a program that has none, which may know nothing of ROS.

It takes no signal and ends with the program.
"""

from __future__ import annotations

import atexit
import threading
from contextlib import suppress

import rclpy
from rclpy.context import Context
from rclpy.exceptions import InvalidNamespaceException
from rclpy.executors import SingleThreadedExecutor
from rclpy.validate_namespace import validate_namespace

from failure_monitor.errors import UsageError
from failure_monitor.ros.common.start_ros import start_ros

END_TIMEOUT = 2.0
"""Seconds for which the end of the thread is awaited."""


class NodeInThread:
    """A node whose callbacks run on a daemon thread."""

    def __init__(self, name: str, namespace: str = "") -> None:
        """Make and spin the node, in the program's context where it has started ROS.

        Args:
            name: of the node.
            namespace: of the node.

        Raises:
            UsageError: ROS does not start in this environment, or the namespace is none.
        """
        _check_namespace(namespace)
        self._own: Context | None = None
        if not rclpy.ok():
            self._own = Context()
            start_ros([], context=self._own)
        self.node = rclpy.create_node(name, namespace=namespace, context=self._own)
        self._executor = SingleThreadedExecutor(context=self.node.context)
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._spin, name=name, daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def close(self) -> None:
        """End the node; done twice it changes nothing."""
        atexit.unregister(self.close)
        # The program may have shut ROS down before.
        with suppress(Exception):
            self._executor.shutdown(timeout_sec=END_TIMEOUT)
        self._thread.join(END_TIMEOUT)
        with suppress(Exception):
            self.node.destroy_node()
        if self._own is not None:
            with suppress(Exception):
                self._own.try_shutdown()

    def _spin(self) -> None:
        # The end of the context or of the executor is no error.
        with suppress(Exception):
            self._executor.spin()


def _check_namespace(namespace: str) -> None:
    try:
        validate_namespace(f"/{namespace.lstrip('/')}")
    except InvalidNamespaceException as error:
        reason = str(error).splitlines()[0].removesuffix(":")
        raise UsageError(f"'{namespace}' is no namespace of a node ({reason})") from None
