# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What the gate costs a command, and how fast it closes.

python benchmarks/gate_latency.py: the time of commands through the gate at 500 Hz, beside a bare
relay node (rclpy, one subscription, one publisher) that is given as many in the same run, second
by second in turn, and how many are lost; the time from SIGKILL of a real monitor to the last
command that passes, at 100 Hz and at 1 kHz; the time from the alarm's publication to the closed
gate. The nodes are processes on a ROS domain of their
own.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from signal import SIGKILL
from typing import Annotated, Any

from benchmark_parts import local_graph

# isort: split
import numpy as np
import rclpy
from geometry_msgs.msg import Twist
from numpy.typing import NDArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.serialization import deserialize_message
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from std_msgs.msg import Bool, Float64MultiArray
from testbed.faults.cell import COMMAND_PERIOD, LEASE, Cell, Process, StateReport, open_cell
from testbed.synthetic import POLICY, synthetic_rollout
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from failure_monitor.bundle.folder import save
from failure_monitor.calibration.calibrate import calibrate
from failure_monitor.calibration.settings import CalibrationSettings
from failure_monitor.cli.app import run_alone
from failure_monitor.cli.declaration import Option

assert local_graph
RATE = 500.0
"""Commands a second, through the gate and the relay in turn."""

TRAJECTORY_RATE = 50.0
"""The same for trajectories, which no policy sends that often."""

SETTLING = 5.0
"""Seconds for which permits come before the first command, until all have found each other."""

PERMIT_PERIOD = 0.05
PATIENT_LEASE = 2.0
"""Of the gate while commands are timed: a late permit must not count as a lost command."""

FAST_PERIOD = 0.001
"""Seconds between two commands of a fast controller."""

JOINTS, POINTS = 7, 16
OUTPUTS = {"gate": "command_out", "bare relay": "relay_out"}
LATENCY_TARGET = 1e-3
"""Seconds, of the 99th percentile."""

console = Console(width=110)
progress = Console(stderr=True)


@dataclass(frozen=True)
class Latency:
    """Milliseconds from publication to reception, one way or the other.

    Attributes:
        commands: their type.
        rate: commands a second.
        through: 'gate' or 'bare relay'.
        sent: how many commands.
        lost: how many of them did not arrive.
    """

    commands: str
    rate: float
    through: str
    median: float
    p99: float
    worst: float
    sent: int
    lost: int


@dataclass(frozen=True)
class Closing:
    """Milliseconds until the last command has passed, or the gate is closed.

    Attributes:
        since: the event, and until when.
        passed: commands that passed the closed gate, or later than it should have closed.
    """

    since: str
    trials: int
    median: float
    p99: float
    worst: float
    passed: int


def main(
    seconds: Annotated[float, Option(help="for which commands of a type are timed")] = 20.0,
    kills: Annotated[int, Option(help="of the monitor, at 100 Hz")] = 100,
    fast_kills: Annotated[int, Option(help="of the monitor, at 1 kHz")] = 20,
    alarms: Annotated[int, Option(help="that are raised")] = 100,
    results: Annotated[Path | None, Option("--json", help="write the figures here")] = None,
) -> None:
    """Time commands through the gate, and its closing."""
    latencies = [row for name in COMMANDS for row in _time_commands(name, seconds)]
    console.print(_latency_table(latencies))
    closings = []
    with tempfile.TemporaryDirectory() as folder:
        bundle = Path(folder) / "synthetic"
        _calibrate(bundle)
        if kills:
            closings.append(_kill(bundle, kills, COMMAND_PERIOD))
        if fast_kills:
            closings.append(_kill(bundle, fast_kills, FAST_PERIOD))
        if alarms:
            closings.append(_alarm(bundle, alarms))
    console.print(_closing_table(closings))
    if results is not None:
        figures = {
            "load_average": os.getloadavg(),
            "latency": [asdict(row) for row in latencies],
            "closing": [asdict(row) for row in closings],
        }
        results.write_text(json.dumps(figures, indent=2) + "\n")


# Commands: a number and the time of sending are hidden in each.


def _twist(number: float, now: float) -> Twist:
    twist = Twist()
    twist.linear.x, twist.linear.y = number, now
    return twist


def _array(number: float, now: float) -> Float64MultiArray:
    return Float64MultiArray(data=[number, now] + [0.1] * (JOINTS - 2))


def _trajectory(number: float, now: float) -> JointTrajectory:
    point = JointTrajectoryPoint(positions=[0.1] * JOINTS, velocities=[0.1] * JOINTS)
    first = JointTrajectoryPoint(positions=[number, now] + [0.1] * (JOINTS - 2))
    names = [f"joint_{index}" for index in range(JOINTS)]
    return JointTrajectory(joint_names=names, points=[first] + [point] * (POINTS - 1))


@dataclass(frozen=True)
class CommandKind:
    """Commands to time.

    Attributes:
        message: the class.
        name: as ROS 2 names it.
        make: of number and time.
        read: number and time of a command.
        rate: commands a second.
    """

    message: type
    name: str
    make: Callable[[float, float], Any]
    read: Callable[[Any], tuple[float, float]]
    rate: float = RATE


COMMANDS = {
    "Twist": CommandKind(
        Twist,
        "geometry_msgs/msg/Twist",
        _twist,
        lambda command: (command.linear.x, command.linear.y),
    ),
    f"Float64MultiArray, {JOINTS} values": CommandKind(
        Float64MultiArray,
        "std_msgs/msg/Float64MultiArray",
        _array,
        lambda command: tuple(command.data[:2]),
    ),
    f"JointTrajectory, {POINTS} points": CommandKind(
        JointTrajectory,
        "trajectory_msgs/msg/JointTrajectory",
        _trajectory,
        lambda command: tuple(command.points[0].positions[:2]),
        rate=TRAJECTORY_RATE,
    ),
}


def _time_commands(name: str, seconds: float) -> list[Latency]:
    kind = COMMANDS[name]
    count = int(kind.rate) * round(seconds)
    progress.print(f"{name} at {kind.rate:g} Hz for {seconds:g} s")
    gate = Process(
        ["-m", "failure_monitor.ros.gate.node"],
        ["-p", f"command.type:={kind.name}", "-p", f"permit_lease:={PATIENT_LEASE}"],
    )
    spawn = multiprocessing.get_context("spawn")
    relay = spawn.Process(target=_relay, args=(name,), daemon=True)
    source = spawn.Process(target=_source, args=(name, count), daemon=True)
    relay.start()
    source.start()
    received = _receive(kind, lambda: source.is_alive())
    relay.kill()
    gate.end()
    return [
        _latency(name, through, kind, received[topic], count) for through, topic in OUTPUTS.items()
    ]


OUTPUTS = {"gate": "command_out", "bare relay": "relay_out"}


def _receive(
    kind: CommandKind, going_on: Callable[[], bool]
) -> dict[str, list[tuple[float, bytes]]]:
    """Return what comes out of gate and relay, undecoded, with the time at which it came."""
    rclpy.init()
    node = Node("sink")
    received: dict[str, list[tuple[float, bytes]]] = {topic: [] for topic in OUTPUTS.values()}

    def listen(topic: str) -> None:
        arrived = received[topic]
        node.create_subscription(
            kind.message,
            topic,
            lambda data: arrived.append((time.monotonic(), data)),
            100,
            raw=True,
        )

    for topic in received:
        listen(topic)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    while going_on():
        executor.spin_once(timeout_sec=0.1)
    node.destroy_node()
    rclpy.try_shutdown()
    return received


def _relay(name: str) -> None:
    """Run the least that a node in Python can do with a command."""
    rclpy.init()
    node, message = Node("relay"), COMMANDS[name].message
    publisher = node.create_publisher(message, "relay_out", 10)
    node.create_subscription(message, "relay_in", publisher.publish, 10)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    while rclpy.ok():
        executor.spin_once(timeout_sec=0.5)


def _source(name: str, count: int) -> None:
    """Send commands to the gate for a second, to the relay for a second, and so on."""
    rclpy.init()
    node, kind = Node("source"), COMMANDS[name]
    permits = node.create_publisher(Bool, "failure_monitor/permit", 1)
    to_gate = node.create_publisher(kind.message, "command_in", 10)
    to_relay = node.create_publisher(kind.message, "relay_in", 10)
    begin = time.monotonic()
    while time.monotonic() - begin < SETTLING:
        permits.publish(Bool(data=True))
        time.sleep(PERMIT_PERIOD)
    begin, permitted, block = time.monotonic(), 0.0, int(kind.rate)
    for turn in range(2 * count):
        _sleep_until(begin + turn / kind.rate)
        publisher = to_relay if turn // block % 2 else to_gate
        publisher.publish(kind.make(float(turn), time.monotonic()))
        if time.monotonic() - permitted > PERMIT_PERIOD:
            permitted = time.monotonic()
            permits.publish(Bool(data=True))
    time.sleep(1.0)
    rclpy.try_shutdown()


def _sleep_until(when: float) -> None:
    if (left := when - time.monotonic()) > 0:
        time.sleep(left)


def _latency(
    name: str, through: str, kind: CommandKind, received: Sequence[tuple[float, bytes]], sent: int
) -> Latency:
    came = [(when, *kind.read(deserialize_message(data, kind.message))) for when, data in received]
    numbers = {number for _, number, _ in came}
    took = 1e3 * np.array([when - then for when, _, then in came])
    return Latency(
        name, kind.rate, through, *_quantiles(took), sent=sent, lost=sent - len(numbers)
    )


def _quantiles(values: NDArray[np.float64]) -> tuple[float, float, float]:
    """Median, 99th percentile and maximum; NaN of nothing."""
    if not values.size:
        return (float("nan"),) * 3
    return float(np.median(values)), float(np.quantile(values, 0.99)), float(values.max())


# Closing


def _calibrate(folder: Path) -> None:
    rollouts = [synthetic_rollout(seed) for seed in range(12)]
    settings = CalibrationSettings(scores=("rnd_oe", "ace"), rule="any", window=2, folds=3, jobs=1)
    save(calibrate(rollouts, POLICY, settings), folder)


def _kill(bundle: Path, trials: int, command_period: float) -> Closing:
    """Time from SIGKILL to the last command, each time with a monitor of its own."""
    delays, passed = [], 0
    with open_cell(bundle, command_period=command_period) as cell:
        cell.start_policy()
        cell.start_gate()
        for trial in range(trials):
            progress.print(f"kill {trial + 1} of {trials}", end="\r")
            cell.start_monitor()
            cell.reset_until_moving()
            begin = time.time()
            cell.monitor.send(SIGKILL)
            cell.wait_for(lambda since=begin: cell.closed_at(since), "the gate to close")
            time.sleep(0.3)
            delays.append(cell.passed[-1].time - begin)
            passed += cell.passed_after(begin + LEASE + command_period)
    return Closing(
        f"SIGKILL of the monitor to the last command, {1 / command_period:g} Hz",
        trials,
        *_quantiles(1e3 * np.array(delays)),
        passed=passed,
    )


def _alarm(bundle: Path, trials: int) -> Closing:
    """Time from the alarm's publication to the closed gate; negative where the gate was first."""
    delays, passed = [], 0
    with open_cell(bundle) as cell:
        cell.start_policy()
        cell.start_gate()
        cell.start_monitor()
        for trial in range(trials):
            progress.print(f"alarm {trial + 1} of {trials}", end="\r")
            cell.follow("nominal")
            cell.reset_until_moving()
            begin = time.time()
            cell.follow("strange")
            alarm = cell.wait_for(lambda since=begin: _alarm_after(cell, since), "an alarm")
            closed = cell.wait_for(
                lambda since=begin: cell.closed_at(since, "withholds"), "the gate to close"
            )
            time.sleep(0.2)
            delays.append(closed - alarm.time)
            passed += cell.passed_after(closed)
    return Closing(
        "publication of the alarm to the closed gate",
        trials,
        *_quantiles(1e3 * np.array(delays)),
        passed=passed,
    )


def _alarm_after(cell: Cell, since: float) -> StateReport | None:
    return next(
        (report for report in cell.alarms if report.time > since and report.state == "ALARM"), None
    )


# Tables


def _latency_table(rows: Sequence[Latency]) -> Table:
    table = _table(
        "Command in to command out; ms",
        ("commands", "Hz", "through", "median", "p99", "worst", "sent", "lost", "target"),
    )
    for row in rows:
        met = "met" if row.p99 <= 1e3 * LATENCY_TARGET else "MISSED"
        table.add_row(
            row.commands,
            f"{row.rate:g}",
            row.through,
            *(f"{value:.2f}" for value in (row.median, row.p99, row.worst)),
            str(row.sent),
            str(row.lost),
            met if row.through == "gate" else "",
        )
    return table


def _closing_table(rows: Sequence[Closing]) -> Table:
    table = _table(
        "Closing; ms",
        ("from, to", "trials", "median", "p99", "worst", "passed afterwards"),
    )
    for row in rows:
        table.add_row(
            row.since,
            str(row.trials),
            *(f"{value:.1f}" for value in (row.median, row.p99, row.worst)),
            str(row.passed),
        )
    return table


def _table(title: str, headings: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    for heading in headings:
        table.add_column(heading, justify="left" if heading in headings[:1] else "right")
    return table


if __name__ == "__main__":
    run_alone(main)
