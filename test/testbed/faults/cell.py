# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A robot cell: policy, monitor and gate as processes, and a node that breaks them.

Everything is reached by topics and services alone. Times are those of the senders: the wall clock
of this one machine, in seconds.
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.clock import Clock, ClockType
from rclpy.executors import ExternalShutdownException, ShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import Float64MultiArray, String
from std_srvs.srv import Trigger

MONITOR = "failure_monitor.ros.monitor.node"
GATE = "failure_monitor.ros.gate.node"
DISPLAYS = "failure_monitor.ros.displays.node"
RECORDER = "failure_monitor.ros.recording.incident_recorder_node"
SCRIPTED_POLICY = "testbed.faults.scripted_policy"

LEASE = 0.2
"""Seconds for which a permit is good: the gate's default."""

COMMAND_PERIOD = 0.01
"""Seconds between two commands of the policy."""

MAX_DECISION_AGE = 1.0
"""Seconds after which the monitor misses decisions: its default."""

POLICY_PERIOD = 0.05
"""Seconds between two decisions."""

HEARTBEAT = 0.05
"""Seconds between two permits: the monitor's default."""

SLACK = 0.3
"""Seconds that a busy machine may take on top of what is promised."""

DWELL = 0.5
"""Seconds for which commands are watched after the gate has closed."""

PATIENCE = 30.0
"""Seconds for discovery, and for a machine that does other things."""

DISCOVERY = 3.5
"""Seconds until two nodes of one machine have found each other. A node that the first
announcements of Fast DDS miss receives the next after 3 s; then they exchange what they
publish."""

LOG_STAMP = re.compile(r"\[\w+\] \[([\d.]+)\]")

LATCHED = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)
EVENTS = QoSProfile(depth=1000)


@dataclass(frozen=True)
class StateReport:
    """A state of the gate, or of the alarm, as it was published.

    Attributes:
        time: when.
        state: 'open' or 'closed', or that of the alarm.
        reason: why.
    """

    time: float
    state: str
    reason: str


@dataclass(frozen=True)
class Passed:
    """A command that came through the gate.

    Attributes:
        time: when the gate let it through.
        sent: when the policy sent it.
    """

    time: float
    sent: float


class Process:
    """One node, as its user would start it, whose output is kept."""

    def __init__(
        self, command: list[str], arguments: list[str], output: int = subprocess.PIPE
    ) -> None:
        self.output: list[str] = []
        self._ended_on_purpose = False
        self._process = subprocess.Popen(
            [sys.executable, *command, "--ros-args", *arguments],
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if output == subprocess.PIPE:
            threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.output.append(line)

    def logged_at(self, words: str) -> float:
        """Return when it first logged a line with these words, by its own clock; 0 if never."""
        lines = (line for line in self.output if words in line)
        return next((float(stamp[1]) for line in lines if (stamp := LOG_STAMP.match(line))), 0.0)

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    @property
    def code(self) -> int | None:
        """The exit code; None while it runs."""
        return self._process.poll()

    @property
    def has_died(self) -> bool:
        """Whether it ended by itself."""
        return not self._ended_on_purpose and not self.is_running

    def send(self, number: signal.Signals) -> None:
        self._ended_on_purpose |= number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
        self._process.send_signal(number)

    def ask_to_end(self) -> None:
        """Interrupt it; a frozen process is thawed for it."""
        if self.is_running:
            self.send(signal.SIGINT)
            self._process.send_signal(signal.SIGCONT)

    def end(self) -> None:
        """Ask and wait."""
        self.ask_to_end()
        try:
            self._process.wait(10.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class Cell:
    """Starts and breaks the nodes, sends commands at 100 Hz, and keeps what it receives.

    Attributes:
        policy, monitor, gate: the processes that were started last.
        passed: commands that came through, oldest first.
        gate_states: those of the gate.
        alarms: those of the monitor, at every heartbeat.
    """

    policy: Process
    monitor: Process
    gate: Process

    def __init__(
        self,
        bundle: Path,
        *,
        policy: str = SCRIPTED_POLICY,
        watching: Mapping[str, object] | None = None,
        is_simulated: bool = False,
        command_period: float = COMMAND_PERIOD,
    ) -> None:
        """Prepare a cell in which nothing is started yet.

        Args:
            bundle: every monitor's.
            policy: the module that decides, or that is seen by what decides.
            watching: further parameters of every monitor.
            is_simulated: whether every node takes the time from `/clock`.
            command_period: seconds between two commands.
        """
        self.passed: list[Passed] = []
        self.gate_states: list[StateReport] = []
        self.alarms: list[StateReport] = []
        self._bundle = bundle
        self._marks = TemporaryDirectory()
        self._policy = policy
        self._watching = dict(watching or {})
        self._common = {"use_sim_time": True} if is_simulated else {}
        self._processes: list[Process] = []
        self._context = rclpy.Context()
        rclpy.init(context=self._context)
        self.node = Node("cell", context=self._context)
        self._commands = self.node.create_publisher(Float64MultiArray, "command_in", EVENTS)
        self._script = self.node.create_publisher(String, "policy/script", LATCHED)
        self._listen(Float64MultiArray, "command_out", EVENTS, self._on_passed)
        self._listen(DiagnosticStatus, "failure_monitor_gate/state", LATCHED, self._on_gate)
        self._listen(DiagnosticStatus, "failure_monitor/alarm", LATCHED, self._on_alarm)
        self._clients = {
            "failure_monitor/reset": self.node.create_client(Trigger, "failure_monitor/reset")
        }
        self.node.create_timer(
            command_period, self._send_command, clock=Clock(clock_type=ClockType.STEADY_TIME)
        )
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self._ends = False
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    # What it is made of

    def start_policy(self) -> Process:
        """Start a policy that decides at 20 Hz, by the script that it received last."""
        self.policy = self._start(["-m", self._policy])
        return self.policy

    def start_monitor(
        self,
        name: str = "failure_monitor",
        *,
        permit: str = "",
        output: int = subprocess.PIPE,
        **parameters: Any,
    ) -> Process:
        """Start a monitor on the policy's topics, with its permit on its own topic or this one."""
        settings = {
            "bundle": self._bundle,
            "rollout_boundaries": "none",
            "max_joint_state_age": 0.0,
            "halt_mark_folder": self._marks.name,
            **self._watching,
            **parameters,
        }
        names = {"__node": name, **({"~/permit": permit} if permit else {})}
        self.monitor = self._start(["-m", MONITOR], settings, names, output)
        return self.monitor

    def start_gate(self, *, output: int = subprocess.PIPE, **parameters: object) -> Process:
        """Start a gate with its defaults, between `command_in` and `command_out`."""
        self.gate_states.append(StateReport(time.time(), "starting", ""))
        self.gate = self._start(["-m", GATE], parameters, output=output)
        return self.gate

    def start_displays(self, **parameters: object) -> Process:
        """Start displays of the monitor."""
        return self._start(["-m", DISPLAYS], {"bundle": self._bundle, **parameters})

    def start_recorder(self, output: Path, **parameters: object) -> Process:
        """Start an incident recorder that writes to a folder."""
        return self._start(["-m", RECORDER], {"output": output, **parameters})

    @contextmanager
    def other_gate(self, **parameters: object) -> Iterator[Process]:
        """Run another gate in place of the present one, for the length of a block."""
        self.gate.end()
        try:
            yield self.start_gate(**parameters)
        finally:
            self.gate.end()

    def end_monitor(self) -> None:
        """End the monitor and wait until the gate has noticed."""
        self.monitor.end()
        self.wait_for(lambda: self.gate_state.state == "closed", "the gate to close")

    @contextmanager
    def other_monitor(self, **parameters: object) -> Iterator[Process]:
        """Run another monitor in place of the present one, for the length of a block."""
        self.end_monitor()
        try:
            yield self.start_monitor(**parameters)
        finally:
            self.end_monitor()

    @contextmanager
    def second_monitor(self, name: str, **parameters: object) -> Iterator[Process]:
        """Run a monitor beside the present one, for the length of a block."""
        first = self.monitor
        try:
            yield self.start_monitor(name, **parameters)
        finally:
            self.monitor.end()
            self.monitor = first

    def _start(
        self,
        command: list[str],
        parameters: Mapping[str, object] | None = None,
        names: Mapping[str, str] | None = None,
        output: int = subprocess.PIPE,
    ) -> Process:
        arguments = [
            part
            for name, value in {**self._common, **(parameters or {})}.items()
            for part in ("-p", f"{name}:={str(value).lower() if value is True else value}")
        ]
        arguments += [
            part for name, value in (names or {}).items() for part in ("-r", f"{name}:={value}")
        ]
        process = Process(command, arguments, output)
        self._processes.append(process)
        return process

    def follow(self, script: str) -> None:
        """Have the policy follow a script of scripted_policy.py, once it subscribes."""
        self.wait_for(self._script.get_subscription_count, "the policy to listen")
        self.publish_script(script)

    def publish_script(self, script: str) -> None:
        """Have the policy follow a script if it subscribes; does not wait."""
        self._script.publish(String(data=script))

    def close(self) -> None:
        """End everything."""
        for process in self._processes:
            process.ask_to_end()
        for process in self._processes:
            process.end()
        self._ends = True
        self._thread.join()
        self._executor.shutdown()
        self.node.destroy_node()
        rclpy.try_shutdown(context=self._context)
        self._marks.cleanup()

    # What is seen of it

    @property
    def gate_state(self) -> StateReport:
        """Last state of the gate."""
        return self.gate_states[-1] if self.gate_states else StateReport(0.0, "", "")

    @property
    def alarm(self) -> StateReport:
        """Last state of the alarm."""
        return self.alarms[-1] if self.alarms else StateReport(0.0, "", "")

    def dead(self) -> list[str]:
        """Return the output of all processes that have ended by themselves."""
        return ["".join(process.output) for process in self._processes if process.has_died]

    def wait_for(self, condition: Callable[[], Any], what: str, timeout: float = PATIENCE) -> Any:
        """Return the condition's value, once it is true."""
        end = time.monotonic() + timeout
        while not (result := condition()):
            assert time.monotonic() < end, (
                f"waited {timeout:g} s for {what}; the gate says '{self.gate_state.state}: "
                f"{self.gate_state.reason}', the alarm '{self.alarm.state}: {self.alarm.reason}'; "
                f"ended: {self.dead()}"
            )
            time.sleep(0.002)
        return result

    def wait_until_moving(self) -> None:
        """Wait until commands have passed for a while, and none that was sent is missing."""
        self.wait_for(lambda: self.is_moving, "commands to pass")

    @property
    def is_moving(self) -> bool:
        """Whether commands pass at the rate at which they are sent."""
        now = time.time()
        recent = [command for command in self.passed[-100:] if command.time > now - 0.5]
        return self.gate_state.state == "open" and len(recent) > 0.25 / COMMAND_PERIOD

    def closed_at(self, since: float, reason: str = "") -> float:
        """Return when the gate first closed after a time, for a reason; 0 if it has not."""
        return next(
            (
                report.time
                for report in self.gate_states
                if report.time >= since and report.state == "closed" and reason in report.reason
            ),
            0.0,
        )

    def passed_after(self, when: float) -> int:
        """Count the commands that the gate let through later than that."""
        return sum(command.time > when for command in self.passed)

    def reset(self, monitor: str = "failure_monitor") -> Trigger.Response | None:
        """Ask a monitor to leave its halt; None if it does not answer."""
        return self.call(Trigger, f"{monitor}/reset", Trigger.Request())

    def call(self, kind: type, service: str, request: Any, timeout: float = 2.0) -> Any:
        """Return the answer of a service; None if it does not answer."""
        client = self._client(kind, service)
        future = client.call_async(request)
        end = time.monotonic() + timeout
        while time.monotonic() < end and not future.done():
            time.sleep(0.002)
        if future.done():
            return future.result()
        client.remove_pending_request(future)
        return None

    def send(self, kind: type, service: str, request: Any) -> None:
        """Send a request whose answer nobody waits for."""
        self._client(kind, service).call_async(request)

    def _client(self, kind: type, service: str) -> Any:
        if service not in self._clients:
            self._clients[service] = self.node.create_client(kind, service)
        return self._clients[service]

    def reset_until_moving(self, monitor: str = "failure_monitor") -> None:
        """Ask for a reset until it is granted and commands pass again."""

        def moving() -> bool:
            if self.is_moving:
                return True
            self.reset(monitor)
            time.sleep(0.3)
            return False

        self.wait_for(moving, "recovery after resets")

    # How it works

    def _listen(
        self, message: type, topic: str, qos: QoSProfile, keep: Callable[[Any, float], None]
    ) -> None:
        def on_message(content: Any, info: Any) -> None:
            keep(content, 1e-9 * info["source_timestamp"])

        self.node.create_subscription(message, topic, on_message, qos)

    def _send_command(self) -> None:
        self._commands.publish(Float64MultiArray(data=[time.time()]))

    def _on_passed(self, command: Float64MultiArray, when: float) -> None:
        self.passed.append(Passed(when, command.data[0]))

    def _on_gate(self, status: DiagnosticStatus, when: float) -> None:
        values = {value.key: value.value for value in status.values}
        self.gate_states.append(StateReport(when, values["state"], status.message))

    def _on_alarm(self, status: DiagnosticStatus, when: float) -> None:
        values = {value.key: value.value for value in status.values}
        self.alarms.append(StateReport(when, values["state"], status.message))

    def _spin(self) -> None:
        while not self._ends:
            try:
                self._executor.spin_once(timeout_sec=0.1)
            except (ExternalShutdownException, ShutdownException):
                return


@contextmanager
def open_cell(bundle: Path, **settings: Any) -> Iterator[Cell]:
    """Open a cell without any nodes yet, and close it with the block.

    Args:
        bundle: every monitor's.
        settings: further arguments of `Cell`.
    """
    cell = Cell(bundle, **settings)
    try:
        yield cell
    finally:
        cell.close()
