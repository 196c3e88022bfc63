# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What tests leave behind in the ROS graph, which would be a contradiction in the next one.

A test that fails half-way destroys no nodes, and a process that was killed is forgotten by the
middleware only after its lease of 20 s. So nodes end with their test, processes with their file,
and what comes next has another ROS domain wherever nothing of its own is running yet.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any
from weakref import WeakSet

import psutil

from testbed.parallel import next_ros_domain

HELPER = "multiprocessing"
"""Part of the command of what Python starts for itself, once and for all tests."""

_nodes: WeakSet[Any] = WeakSet()
_is_watching = False


def watch_nodes() -> None:
    """Have every node of this process known from its making to its end."""
    global _is_watching
    if _is_watching:
        return
    _is_watching = True
    from rclpy.node import Node

    make, destroy = Node.__init__, Node.destroy_node

    def made(node: Node, *arguments: Any, **named: Any) -> None:
        make(node, *arguments, **named)
        _nodes.add(node)

    def destroyed(node: Node) -> None:
        _nodes.discard(node)
        destroy(node)

    Node.__init__, Node.destroy_node = made, destroyed


@contextmanager
def nodes_ended() -> Iterator[None]:
    """Destroy the nodes that were made in a block and are left at its end."""
    before = set(_nodes)
    yield
    for node in set(_nodes) - before:
        try:
            node.destroy_node()
        except Exception:
            # One whose making failed half-way lacks what its own end asks for.
            _destroy(node)


def _destroy(node: Any) -> None:
    from rclpy.node import Node

    with suppress(Exception):
        Node.destroy_node(node)


@contextmanager
def processes_ended() -> Iterator[None]:
    """Kill the processes that were started in a block and are left at its end."""
    before = set(_processes())
    yield
    left = [process for process in _processes() if process not in before]
    for process in left:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(left, timeout=10.0)


def leave_ros_domain() -> None:
    """Go to another ROS domain, unless something of this process is in the present one."""
    rclpy = sys.modules.get("rclpy")
    if (rclpy is not None and rclpy.ok()) or _nodes or _processes():
        return
    os.environ["ROS_DOMAIN_ID"] = str(next_ros_domain())


def _processes() -> list[psutil.Process]:
    """Return the processes that tests of this process have started."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if HELPER not in " ".join(process.cmdline()):
                found.append(process)
    return found
