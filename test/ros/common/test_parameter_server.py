# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Requests about parameters are answered beside the node's own work, whatever they ask for."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import rclpy
from rcl_interfaces.msg import (
    FloatingPointRange,
    ParameterDescriptor,
    ParameterType,
    ParameterValue,
    SetParametersResult,
)
from rcl_interfaces.msg import Parameter as ParameterMessage
from rcl_interfaces.srv import (
    DescribeParameters,
    GetParameters,
    GetParameterTypes,
    ListParameters,
    SetParameters,
    SetParametersAtomically,
)
from rclpy.clock import Clock, ClockType
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

from failure_monitor.ros.common import parameter_server
from failure_monitor.ros.common.parameter_server import ParameterServer, list_parameters

pytestmark = [pytest.mark.ros, pytest.mark.alone, pytest.mark.law(5), pytest.mark.law(7)]


class Served(Node):
    """A node with a parameter that can be set and one that cannot."""

    def __init__(self) -> None:
        super().__init__("served", namespace="/cell", start_parameter_services=False)
        limits = [FloatingPointRange(from_value=0.0, to_value=1.0)]
        self.declare_parameter("age", 0.5, ParameterDescriptor(floating_point_range=limits))
        self.declare_parameter("fixed", "a", ParameterDescriptor(read_only=True))
        self.blocks = threading.Event()
        self.set_by: list[str] = []
        self.longest = 0.0
        self._last = time.monotonic()
        self.add_on_set_parameters_callback(self._on_parameters)
        self.create_timer(0.01, self._tick, clock=Clock(clock_type=ClockType.STEADY_TIME))
        self.server = ParameterServer(self)

    def _on_parameters(self, _: Any) -> SetParametersResult:
        self.set_by.append(threading.current_thread().name)
        return SetParametersResult(successful=True)

    def _tick(self) -> None:
        now = time.monotonic()
        self.longest, self._last = max(self.longest, now - self._last), now
        while self.blocks.is_set():
            time.sleep(0.01)


@pytest.fixture
def node() -> Iterator[Served]:
    rclpy.init()
    node = Served()
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    ends = threading.Event()

    def spin() -> None:
        while not ends.is_set():
            executor.spin_once(timeout_sec=0.1)

    thread = threading.Thread(target=spin, name="own")
    thread.start()
    yield node
    ends.set()
    node.blocks.clear()
    thread.join()
    node.server.close()
    node.destroy_node()
    rclpy.try_shutdown()


@pytest.fixture
def call(node):
    asker = Node("asker")

    def call(kind: type, name: str, **request: Any) -> Any:
        client = asker.create_client(kind, f"/cell/served/{name}")
        assert client.wait_for_service(10.0)
        future = client.call_async(kind.Request(**request))
        rclpy.spin_until_future_complete(asker, future, timeout_sec=20.0)
        assert future.done(), f"no answer of {name}"
        asker.destroy_client(client)
        return future.result()

    yield call
    asker.destroy_node()


def change(name: str = "age", kind: int = ParameterType.PARAMETER_DOUBLE, value: float = 0.7):
    return ParameterMessage(name=name, value=ParameterValue(type=kind, double_value=value))


def test_it_answers_as_rclpy_does(call):
    both = ["age", "fixed"]
    assert call(ListParameters, "list_parameters").result.names[-2:] == both
    values = call(GetParameters, "get_parameters", names=both).values
    assert (values[0].double_value, values[1].string_value) == (0.5, "a")
    assert call(GetParameters, "get_parameters", names=["age", "none"]).values == []
    assert list(call(GetParameterTypes, "get_parameter_types", names=both).types) == [3, 4]
    described = call(DescribeParameters, "describe_parameters", names=both).descriptors
    assert [one.read_only for one in described] == [False, True]
    assert call(DescribeParameters, "describe_parameters", names=["none"]).descriptors == []


@pytest.mark.parametrize("depth", [0, 1, 2, 3])
@pytest.mark.parametrize(
    "prefixes", [[], [""], ["a"], ["a", "b"], ["a.b"], ["age"], ["a.b.c", "none", "ag"]]
)
def test_it_lists_what_rclpy_lists(node, prefixes, depth):
    names = ["age", "a.b.c", "a.b.d", "a.e", "ab", "b.a"]
    for name in names[1:]:
        node.declare_parameter(name, 0)
    known = node.get_parameters_by_prefix("")
    assert set(names) < set(known)
    assert list_parameters(known, prefixes, depth) == node.list_parameters(prefixes, depth)


def test_what_is_fixed_may_be_set_to_what_it_is(call, node):
    fixed = {
        text: ParameterMessage(
            name="fixed",
            value=ParameterValue(type=ParameterType.PARAMETER_STRING, string_value=text),
        )
        for text in "ab"
    }
    results = call(SetParameters, "set_parameters", parameters=[fixed["a"], fixed["b"]]).results
    assert [one.successful for one in results] == [True, False]
    together = [fixed["a"], change()]
    assert call(
        SetParametersAtomically, "set_parameters_atomically", parameters=together
    ).result.successful
    assert node.get_parameter("age").value == 0.7
    assert call(
        SetParametersAtomically, "set_parameters_atomically", parameters=[fixed["a"]]
    ).result.successful
    together = [fixed["b"], change(value=0.1)]
    assert not call(
        SetParametersAtomically, "set_parameters_atomically", parameters=together
    ).result.successful
    assert node.get_parameter("age").value == 0.7


def test_the_nodes_own_thread_sets_what_can_be_set(call, node):
    [result] = call(SetParameters, "set_parameters", parameters=[change()]).results
    assert result.successful
    assert node.get_parameter("age").value == 0.7
    together = [change(value=0.1), change(value=0.2)]
    result = call(SetParametersAtomically, "set_parameters_atomically", parameters=together).result
    assert result.successful
    assert node.set_by == ["own", "own"]


NONSENSE = [
    (change("none"), "there is no parameter 'none'"),
    (change("x" * 100_000), "there is no parameter"),
    (change("fixed", ParameterType.PARAMETER_STRING), "only when the node is started"),
    (change("age", 200), "another type"),
    (change("age", ParameterType.PARAMETER_NOT_SET), "another type"),
    (change("age", ParameterType.PARAMETER_INTEGER), "another type"),
    (change("use_sim_time", ParameterType.PARAMETER_STRING), "another type"),
    (change("age", value=7.0), "out of range"),
]


@pytest.mark.parametrize(("nonsense", "reason"), NONSENSE)
def test_what_cannot_be_set_is_rejected_with_the_reason(call, node, nonsense, reason):
    [result] = call(SetParameters, "set_parameters", parameters=[nonsense]).results
    assert not result.successful
    assert reason in result.reason
    many = [change(), nonsense]
    result = call(SetParametersAtomically, "set_parameters_atomically", parameters=many).result
    assert not result.successful
    assert reason in result.reason
    assert node.get_parameter("age").value == 0.5


def test_nonsense_that_asks_for_much_is_answered(call):
    for depth in (0, 1, 2**64 - 1):
        call(ListParameters, "list_parameters", prefixes=["", ".", "age"] * 1000, depth=depth)
    call(GetParameters, "get_parameters", names=["age"] * 20_000)
    assert call(GetParameters, "get_parameters", names=["", "\x01", "ä"]).values == []


@pytest.mark.parametrize("name", ["none", "age"])
def test_a_flood_of_parameters_in_one_request_delays_nothing(call, node, name):
    flood = [change(name)] * 50_000
    node.longest, asked = 0.0, time.monotonic()
    results = call(SetParameters, "set_parameters", parameters=flood).results
    answered = time.monotonic()
    assert len(results) == len(flood)
    assert not any(result.successful for result in results)
    assert node.set_by == []
    # However busy the machine is: with rclpy's own services it is nine tenths of the time.
    assert node.longest < 0.5 * (answered - asked)


def test_nothing_is_set_that_nobody_waits_for_any_more(call, node, monkeypatch):
    monkeypatch.setattr(parameter_server, "MAX_WAIT", 0.2)
    node.blocks.set()
    time.sleep(0.1)
    [result] = call(SetParameters, "set_parameters", parameters=[change()]).results
    assert not result.successful
    assert "busy" in result.reason
    node.blocks.clear()
    time.sleep(0.3)
    assert node.set_by == []
