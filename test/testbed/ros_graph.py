# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Real nodes as processes, and a node of the test's own that talks to them over DDS."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

import rclpy
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import Bool, Header
from std_srvs.srv import SetBool, Trigger

from failure_monitor.decision import Decision
from failure_monitor.ros.common.messages import action_chunks_message, embedding_message

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
DISCOVERY = 20.0
"""Seconds within which two processes must have found each other, even on a busy machine."""


class NodeProcess:
    """One of the package's nodes, as its user would start it."""

    def __init__(self, module: str, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, "--ros-args", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def send(self, signal: int) -> None:
        self._process.send_signal(signal)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def lines(self) -> Iterator[str]:
        """Yield what it prints, line by line, as it prints it."""
        assert self._process.stdout is not None
        yield from self._process.stdout

    def wait(self, timeout: float = DISCOVERY) -> tuple[int, str]:
        """Wait until it ends by itself; return exit code and output."""
        output, _ = self._process.communicate(timeout=timeout)
        return self._process.returncode, output

    def end(self, signal: int = 2) -> tuple[int, str]:
        """Signal, wait, and return exit code and output."""
        if self.is_running:
            self._process.send_signal(signal)
        try:
            output, _ = self._process.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            output, _ = self._process.communicate()
        return self._process.returncode, output


@contextmanager
def node_process(module: str, **parameters: object) -> Iterator[NodeProcess]:
    """Run a node with these parameters, and end it with the block."""
    arguments = [
        part for name, value in parameters.items() for part in ("-p", f"{name}:={_yaml(value)}")
    ]
    process = NodeProcess(module, *arguments)
    try:
        yield process
    finally:
        process.end()


def _yaml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _header(stamp: int) -> Header:
    return Header(stamp=Time(sec=stamp // 10**9, nanosec=stamp % 10**9))


P = ParamSpec("P")
HasNode = TypeVar("HasNode")


@contextmanager
def observing(
    make: Callable[P, HasNode], *arguments: P.args, **named: P.kwargs
) -> Iterator[HasNode]:
    """Make what has a node, as `node`, and end it with the block."""
    rclpy.init()
    try:
        observer: Any = make(*arguments, **named)
        yield observer
        observer.node.destroy_node()
    finally:
        rclpy.try_shutdown()


class Observer:
    """The test's node: plays the policy, and keeps what it receives, newest last."""

    def __init__(self, action_names: Sequence[str]) -> None:
        self.node = Node("observer")
        self.received: dict[str, list[Any]] = defaultdict(list)
        self._action_names = action_names
        self._stamp = 0
        self.embeddings: Any = self.node.create_publisher(PointCloud2, "policy/embedding", 10)
        self.chunks = self.node.create_publisher(PointCloud2, "policy/action_chunks", 10)

    def publish_no_embeddings(self) -> None:
        """Play a policy without an embedding."""
        if self.embeddings is not None:
            self.node.destroy_publisher(self.embeddings)
        self.embeddings = None

    def listen(self, topic: str, message: type, qos: QoSProfile | int = 10) -> None:
        self.node.create_subscription(message, topic, self.received[topic].append, qos)

    def listen_to_monitor(self) -> None:
        self.listen("/failure_monitor/alarm", DiagnosticStatus)
        self.listen("/failure_monitor/permit", Bool)
        self.listen("/diagnostics", DiagnosticArray)

    def spin(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            rclpy.spin_once(self.node, timeout_sec=0.01)

    def wait_for(self, condition: Callable[[], Any], what: str, timeout: float = DISCOVERY) -> Any:
        end = time.monotonic() + timeout
        while not (result := condition()):
            assert time.monotonic() < end, (
                f"waited {timeout:g} s for {what}; state '{self.state()}': {self.reason()}"
            )
            rclpy.spin_once(self.node, timeout_sec=0.01)
        return result

    def alarm_values(self) -> dict[str, str]:
        alarms = self.received["/failure_monitor/alarm"]
        return {value.key: value.value for value in alarms[-1].values} if alarms else {}

    def state(self) -> str:
        """Return the state of the alarm; empty before the first one."""
        return self.alarm_values().get("state", "")

    def reason(self) -> str:
        alarms = self.received["/failure_monitor/alarm"]
        return alarms[-1].message if alarms else ""

    def permitted(self) -> bool:
        permits = self.received["/failure_monitor/permit"]
        return bool(permits) and permits[-1].data

    def wait_for_state(self, state: str, timeout: float = DISCOVERY) -> None:
        self.wait_for(lambda: self.state() == state, f"the state {state}", timeout)

    def wait_for_reason(self, reason: str) -> None:
        self.wait_for(lambda: reason in self.reason(), f"the reason '{reason}'")

    def wait_for_decision(self, number: int) -> dict[str, str]:
        """Wait until the decision of this number is scored; return what the alarm says of it."""
        self.wait_for(
            lambda: self.alarm_values().get("decision") == str(number), f"decision {number}"
        )
        return self.alarm_values()

    def repeat_until(
        self, step: Callable[[], object], condition: Callable[[], Any], what: str
    ) -> None:
        """Take a step, such as a decision, ten times a second until something is so."""
        last = 0.0

        def taken() -> Any:
            nonlocal last
            if time.monotonic() - last > 0.1:
                last = time.monotonic()
                step()
            return condition()

        self.wait_for(taken, what)

    def step_until_permitted(self, step: Callable[[], object]) -> None:
        """Take a step until commands are permitted; reset as soon as the cause is gone."""
        for _ in range(20):
            step()
            if "the cause is gone" in self.reason():
                self.trigger("/failure_monitor/reset")
            if self.permitted():
                return
        raise AssertionError(f"no recovery: {self.state()}, {self.reason()}")

    def wait_for_stop(self, state: str) -> None:
        """Wait until the permit is withdrawn and the alarm gives the reason, in any order."""
        self.wait_for(lambda: self.state() == state and not self.permitted(), f"a stop by {state}")

    def wait_for_monitor_alarm(self) -> None:
        """Wait until the monitor subscribes to this node's decisions and its alarm arrives."""
        parts = [part for part in (self.embeddings, self.chunks) if part is not None]
        self.wait_for(
            lambda: all(part.get_subscription_count() for part in parts),
            "the monitor to subscribe",
        )
        self.wait_for(self.state, "an alarm message")

    def decide(self, decision: Decision) -> int:
        """Publish a decision under the next stamp; return it in nanoseconds."""
        stamp = self.next_stamp()
        self.publish_embedding(decision, stamp)
        self.publish_chunks(decision, stamp)
        return stamp

    def next_stamp(self) -> int:
        """Return the stamp of the next decision, in nanoseconds: now, and later than the last."""
        self._stamp = max(self._stamp + 1, time.time_ns())
        return self._stamp

    def publish_embedding(self, decision: Decision, stamp: int) -> None:
        if self.embeddings is None:
            return
        header = _header(stamp)
        self.embeddings.publish(embedding_message(decision.embedding, header))

    def publish_chunks(self, decision: Decision, stamp: int) -> None:
        header = _header(stamp)
        self.chunks.publish(action_chunks_message(decision.chunks, self._action_names, header))

    def wait_until_answered(self, client: Any, request: Any) -> Any:
        """Ask, again and again if need be, what may be asked twice; return the answer."""
        for _ in range(10):
            future = client.call_async(request)
            end = time.monotonic() + 2.0
            while time.monotonic() < end and not future.done():
                rclpy.spin_once(self.node, timeout_sec=0.01)
            if future.done():
                return future.result()
            client.remove_pending_request(future)
        raise AssertionError(f"no answer of {client.srv_name}")

    def trigger(self, service: str) -> Trigger.Response:
        return self._call(Trigger, service, Trigger.Request())

    def set_bool(self, service: str, value: bool) -> SetBool.Response:
        return self._call(SetBool, service, SetBool.Request(data=value))

    def _call(self, kind: type, service: str, request: Any) -> Any:
        client = self.node.create_client(kind, service)
        assert client.wait_for_service(DISCOVERY), f"no service {service}"
        answer = self.wait_until_answered(client, request)
        self.node.destroy_client(client)
        return answer
