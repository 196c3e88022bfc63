# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The nodes' executor waits no more often than there is work, and leaves none undone."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
import rclpy
from rclpy import executors
from rclpy.node import Node
from std_msgs.msg import Int32
from std_srvs.srv import Trigger

from failure_monitor.ros.common.rclpy_internals import TolerantExecutor

pytestmark = pytest.mark.ros


@pytest.fixture
def node() -> Iterator[Node]:
    rclpy.init()
    node = Node("worker")
    yield node
    node.destroy_node()
    rclpy.try_shutdown()


@pytest.fixture
def executor(node: Node) -> TolerantExecutor:
    executor = TolerantExecutor(lambda error: None)
    executor.add_node(node)
    return executor


def spin(executor: TolerantExecutor, seconds: float) -> None:
    end = time.monotonic() + seconds
    while (rest := end - time.monotonic()) > 0:
        executor.spin_once(timeout_sec=rest)


def test_it_waits_once_for_every_callback(node, executor, monkeypatch):
    waits = []

    class CountingWaitSet(executors._rclpy.WaitSet):
        def wait(self, timeout: int) -> None:
            waits.append(timeout)
            super().wait(timeout)

    monkeypatch.setattr(executors._rclpy, "WaitSet", CountingWaitSet)
    calls = []
    node.create_timer(0.01, lambda: calls.append(None))
    spin(executor, 0.5)
    assert len(calls) > 10
    assert len(waits) <= len(calls) + 3


def test_all_that_is_ready_at_once_is_done_without_a_delay(node, executor):
    """In one group, of which the executor calls one callback at a time."""
    done = set()
    guards = [node.create_guard_condition(lambda n=n: done.add(n)) for n in range(5)]
    numbers = node.create_publisher(Int32, "numbers", 10)
    node.create_subscription(Int32, "numbers", lambda number: done.add(number.data), 10)
    node.create_service(Trigger, "~/ask", lambda request, response: response)
    client = node.create_client(Trigger, "~/ask")
    while not client.service_is_ready() or not numbers.get_subscription_count():
        executor.spin_once(timeout_sec=0.05)
    for guard in guards:
        guard.trigger()
    for number in (5, 6, 7):
        numbers.publish(Int32(data=number))
    answer = client.call_async(Trigger.Request())
    spin(executor, 1.0)
    assert done == set(range(8))
    assert answer.done()
