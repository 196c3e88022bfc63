# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The metrics node beside a real monitor: what it counts, and that nothing of it is felt there."""

from __future__ import annotations

import http.client
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from testbed.prometheus_text import read_metrics, value
from testbed.ros_graph import NodeProcess, Observer, node_process, observing

from failure_monitor.ros.common.qos import LATCHED_QOS

pytestmark = pytest.mark.ros

NODE = "failure_monitor.ros.metrics.node"
MONITOR = "failure_monitor.ros.monitor.node"
OUTCOME = "failure_monitor/outcome"
START, END = "failure_monitor/start_rollout", "failure_monitor/end_rollout"
SETTINGS = {"max_joint_state_age": 0.0, "max_decision_age": 60.0}


@pytest.fixture
def observer(policy) -> Iterator[Observer]:
    with observing(Observer, policy.action_names) as observer:
        observer.listen_to_monitor()
        observer.listen(OUTCOME, DiagnosticStatus, LATCHED_QOS)
        yield observer


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        return one.getsockname()[1]


def metrics_at(port: int) -> dict:
    """Return what the port gives; nothing while it gives none."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    with suppress(OSError, http.client.HTTPException):
        connection.request("GET", "/metrics")
        response = connection.getresponse()
        text = response.read().decode()
        if response.status == 200:
            return read_metrics(text)
    return {}


def wait_for(observer: Observer, port: int, name: str, number: float, **labels: str) -> dict:
    found: dict = {}

    def is_there() -> bool:
        found.clear()
        found.update(metrics_at(port))
        return value(found, f"failure_monitor_{name}", **labels) == number

    observer.wait_for(is_there, f"{name} {labels} to be {number}")
    return found


def test_figures_of_a_running_monitor_are_on_the_port_and_in_the_file(
    rollouts, observer, bundle_folder, tmp_path, port
):
    file = tmp_path / "failure_monitor.prom"
    decision = next(rollouts[0].decisions())
    with node_process(NODE, metrics_port=port, metrics_file=file, file_period=1.0) as node:
        with node_process(
            MONITOR, bundle=bundle_folder, promise_folder=tmp_path, hardware_id="arm", **SETTINGS
        ) as monitor:
            observer.wait_for_monitor_alarm()
            wait_for(observer, port, "up", 1)
            assert observer.trigger(START).success
            observer.decide(decision)
            observer.wait_for(observer.permitted, "the permit")
            wait_for(observer, port, "permit", 1)
            wait_for(observer, port, "decisions_total", 1, result="scored")
            assert observer.set_bool(END, True).success
            found = wait_for(observer, port, "rollouts_total", 1, outcome="success")
            assert value(found, "failure_monitor_rollouts_total", outcome="failure") == 0
            assert value(found, "failure_monitor_info", robot="arm") == 1
            assert value(found, "failure_monitor_false_alarm_alpha") == pytest.approx(0.1)
            wait_for(observer, port, "promise_rollouts", 1)
            # An alarm, and what it stops: a decision of another shape.
            assert observer.trigger(START).success
            observer.decide(decision)
            observer.wait_for(observer.permitted, "the permit")
            wait_for(observer, port, "alarms_total", 0, score="")
            observer.decide(replace(decision, chunks=decision.chunks[:, :1]))
            wait_for(observer, port, "stops_total", 1)
            wait_for(observer, port, "state", 1, state="ALARM")
            wait_for(observer, port, "alarms_total", 1, score="")
            observer.wait_for(
                lambda: value(read_metrics(file.read_text()), "failure_monitor_stops_total") == 1,
                "the file",
            )
            assert (file.stat().st_mode & 0o444) == 0o444
            monitor.send(signal.SIGKILL)
            found = wait_for(observer, port, "up", 0)
            assert value(found, "failure_monitor_permit") == 0
            assert value(found, "failure_monitor_stops_total") == 1
        code, output = node.end()
    assert code == 0, output
    assert "Traceback" not in output
    assert not file.exists(), "what it says would be taken for the present"
    assert [*tmp_path.glob(".*.partial")] == []


@pytest.mark.law(5)
@pytest.mark.law(7)
def test_hostile_clients_and_a_hung_metrics_node_change_nothing_of_permit_and_heartbeat(
    rollouts, observer, bundle_folder, tmp_path, port
):
    decision = next(rollouts[0].decisions())
    permits = observer.received["/failure_monitor/permit"]
    alarms = observer.received["/failure_monitor/alarm"]
    # A folder that is missing: every writing of the file fails.
    file = tmp_path / "missing" / "x.prom"
    with (
        node_process(MONITOR, bundle=bundle_folder, promise_folder=tmp_path, **SETTINGS),
        node_process(NODE, metrics_port=port, metrics_file=file, file_period=1.0) as node,
    ):
        observer.wait_for_monitor_alarm()
        wait_for(observer, port, "up", 1)
        assert observer.trigger(START).success
        observer.decide(decision)
        observer.wait_for(observer.permitted, "the permit")
        observer.wait_for(lambda: observer.state() == "NOMINAL", "the alarm to say so, too")
        reason = observer.reason()
        ends = threading.Event()
        thread = threading.Thread(target=flood, args=(port, ends))
        thread.start()
        try:
            for hang in (False, True):
                if hang:
                    node.send(signal.SIGSTOP)
                permits.clear()
                alarms.clear()
                observer.wait_for(lambda: len(permits) > 60, "heartbeats")
                assert all(permit.data for permit in permits)
                assert {alarm.message for alarm in alarms} == {reason}
        finally:
            ends.set()
            node.send(signal.SIGCONT)
            thread.join()
        observer.decide(decision)
        wait_for(observer, port, "decisions_total", 2, result="scored")
        assert observer.set_bool(END, True).success
        wait_for(observer, port, "rollouts_total", 1, outcome="success")
        code, output = node.end()
    assert code == 0, output
    assert "the metrics are not in their file" in output
    assert "Traceback" not in output


def flood(port: int, ends: threading.Event) -> None:
    """Ask without an end, without reading, too much, and too often."""
    held: list[socket.socket] = []
    requests = (b"", b"GET /metrics HTTP/1.1\r\n\r\n", b"GET /" + b"x" * 100_000, b"\xff\r\n\r\n")
    while not ends.is_set():
        for request in requests:
            with suppress(OSError):
                client = socket.socket()
                client.settimeout(0.2)
                client.connect(("127.0.0.1", port))
                client.setblocking(False)
                held.append(client)
                client.send(request)
        while len(held) > 200:
            held.pop(0).close()
    for client in held:
        client.close()


def test_diagnostics_of_anybody_end_nothing(observer, port, tmp_path):
    publisher = observer.node.create_publisher(DiagnosticArray, "/diagnostics", 10)
    with node_process(NODE, metrics_port=port) as node:
        # The test's own node is one of them.
        observer.wait_for(lambda: publisher.get_subscription_count() > 1, "the node to subscribe")
        strange = [
            DiagnosticStatus(name=f"failure_monitor: {what}", level=level, hardware_id='"\n\\')
            for what in ("alarm", "scoring", "promise", "", ": ")
            for level in (b"\x00", b"\x07", b"\xff")
        ]
        publisher.publish(DiagnosticArray(status=strange))
        wait_for(observer, port, "info", 1, robot='"\\n\\')
        assert node.is_running


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({}, "set one of them, or both"),
        ({"metrics_file": "relative.prom"}, "expected an absolute path"),
        ({"metrics_file": "/tmp/metrics.txt"}, "ends with .prom"),
    ],
)
def test_a_node_that_nobody_could_read_does_not_start(parameters, sentence):
    arguments = [part for name, text in parameters.items() for part in ("-p", f"{name}:={text}")]
    code, output = NodeProcess(NODE, *arguments).wait(60)
    assert code == 2
    assert sentence in output
