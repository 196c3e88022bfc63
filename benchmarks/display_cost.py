# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What displays cost: the displays node with and without a viewer, and the incident recorder.

    python benchmarks/display_cost.py [--seconds 20]

A policy of B 64, H 16, D 7, E 512 decides ten times a second; a camera gives 640×480 at 30 Hz.
Prints, for every kind of viewer: CPU and resident memory of the displays node and of the monitor,
and the time from action chunks to the monitor's alarm; in the first row there is no displays node.
Then, of the incident recorder: the time from the alarm until the bag is complete, less the time
that it is set to record after the alarm, and the bytes it holds.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated

import numpy as np
import psutil
import rclpy
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, qos_profile_sensor_data
from sensor_msgs.msg import CompressedImage, Image, JointState, PointCloud2
from std_msgs.msg import Header
from visualization_msgs.msg import MarkerArray

from failure_monitor.bundle.folder import save
from failure_monitor.calibration.calibrate import calibrate
from failure_monitor.calibration.settings import CalibrationSettings
from failure_monitor.cli.app import run_alone
from failure_monitor.cli.declaration import Option
from failure_monitor.decision import PolicyFormat, Rollout
from failure_monitor.ros.common.messages import action_chunks_message, embedding_message

NAMES = ("x", "y", "z", "rx", "ry", "rz", "gripper")
POLICY = PolicyFormat(512, 64, 16, NAMES, "position", ("x", "y", "z"))
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
WARM_UP = 6.0

VIEWERS: dict[str, tuple[tuple[str, type], ...] | None] = {
    "no displays node": None,
    "none": (),
    "markers": (("markers", MarkerArray),),
    "overlay": (("overlay", Image),),
    "overlay, compressed": (("overlay/compressed", CompressedImage),),
    "markers and overlay": (("markers", MarkerArray), ("overlay", Image)),
}


def rollout(seed: int, decisions: int = 20) -> Rollout:
    random = np.random.default_rng(seed)
    return Rollout(
        name=f"rollout {seed}",
        stamps=0.1 * np.arange(decisions),
        embeddings=random.normal(size=(decisions, 512)).astype(np.float32),
        chunks=random.normal(size=(decisions, *POLICY.chunk_shape)).astype(np.float32),
        success=True,
        sha256=f"{seed:064x}",
    )


def make_bundle(folder: Path) -> Path:
    settings = CalibrationSettings(
        scores=("rnd_oe", "ace"), rule="any", folds=2, jobs=1, alpha=0.2
    )
    save(calibrate([rollout(seed) for seed in range(8)], POLICY, settings), folder)
    return folder


CAMERA = """
import numpy, rclpy, time
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image
rclpy.init()
node = rclpy.create_node("camera")
publisher = node.create_publisher(Image, "camera", qos_profile_sensor_data)
picture = Image(height=480, width=640, step=1920, encoding="rgb8")
picture.data = numpy.random.default_rng(0).integers(0, 255, 921600).astype("u1").tobytes()
while True:
    publisher.publish(picture)
    time.sleep(1 / 30)
"""
"""A process of its own, as a camera's driver is: large pictures would crowd out the decisions."""


class Robot:
    """Policy and joints, and a viewer."""

    def __init__(self) -> None:
        self.node = Node("robot")
        self.embeddings = self.node.create_publisher(PointCloud2, "policy/embedding", 10)
        self.chunks = self.node.create_publisher(PointCloud2, "policy/action_chunks", 10)
        self.joints = self.node.create_publisher(
            JointState, "joint_states", qos_profile_sensor_data
        )
        self.decisions = list(rollout(0).decisions())
        self.sent: dict[str, int] = {}
        self.delays: list[float] = []
        self.seen = 0
        self.status: dict[str, str] = {}
        self.node.create_subscription(DiagnosticStatus, "failure_monitor/alarm", self._hear, 10)
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._hear_diagnostics, 10)
        self.node.create_timer(0.1, self._decide)
        self.node.create_timer(0.02, lambda: self.joints.publish(JointState(name=["a"])))

    def view(self, topics: tuple[tuple[str, type], ...]) -> list:
        return [
            self.node.create_subscription(kind, f"failure_monitor/{name}", self._see, 1)
            for name, kind in topics
        ]

    def spin(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            rclpy.spin_once(self.node, timeout_sec=0.01)

    def wait_for(self, condition: Callable[[], object]) -> None:
        end = time.monotonic() + 60
        while not condition():
            if time.monotonic() > end:
                raise SystemExit("nothing came for a minute: is the machine overloaded?")
            rclpy.spin_once(self.node, timeout_sec=0.01)

    def _see(self, message: object) -> None:
        self.seen += 1

    def _decide(self) -> None:
        now = self.node.get_clock().now().to_msg()
        stamp = Time(sec=now.sec, nanosec=now.nanosec)
        decision = self.decisions[now.nanosec // 100_000_000]
        header = Header(stamp=stamp)
        self.embeddings.publish(embedding_message(decision.embedding, header))
        self.sent[f"{now.sec}.{now.nanosec:09d}"[:-6]] = time.time_ns()
        self.chunks.publish(action_chunks_message(decision.chunks, NAMES, header))

    def _hear(self, alarm: DiagnosticStatus, info: dict[str, int]) -> None:
        # As it was sent: how busy this process is does not matter.
        stamp = next((v.value for v in alarm.values if v.key == "stamp"), "")[:-6]
        if stamp in self.sent:
            self.delays.append(1e-6 * (info["source_timestamp"] - self.sent.pop(stamp)))

    def _hear_diagnostics(self, array: DiagnosticArray) -> None:
        for status in array.status:
            if status.name.startswith("incident_recorder"):
                self.status = {value.key: value.value for value in status.values}


@contextmanager
def node(module: str, **parameters: object) -> Iterator[psutil.Process]:
    arguments = [part for name, value in parameters.items() for part in ("-p", f"{name}:={value}")]
    process = subprocess.Popen(
        [sys.executable, "-m", f"failure_monitor.ros.{module}", "--ros-args", *arguments],
        stderr=subprocess.DEVNULL,
    )
    try:
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(20)


def measure_viewers(robot: Robot, bundle: Path, seconds: float) -> None:
    print("| viewer | displays: CPU of a core | resident | monitor: CPU | resident ", end="")
    print("| chunks → alarm p50 | p99 | seen a second |")
    print("|---|---|---|---|---|---|---|---|")
    monitor = {"bundle": bundle, "rollout_boundaries": "none", "response.alarm": "hold"}
    displays = {"bundle": bundle, "overlay.image_topic": "camera"}
    for name, topics in VIEWERS.items():
        with ExitStack() as stack:
            processes = [stack.enter_context(node("monitor.node", **monitor))]
            if topics is not None:
                processes.append(stack.enter_context(node("displays.node", **displays)))
            viewing = robot.view(topics or ())
            robot.wait_for(lambda: robot.delays)
            robot.spin(WARM_UP)
            robot.delays.clear()
            robot.seen, begin = 0, time.monotonic()
            before = [cpu_seconds(process) for process in processes]
            robot.spin(seconds)
            passed = time.monotonic() - begin
            costs = [
                f"{(cpu_seconds(process) - then) / passed:.1%} | "
                f"{process.memory_info().rss / 1e6:.0f} MB"
                for process, then in zip(processes, before, strict=True)
            ]
            p50, p99 = np.percentile(robot.delays, [50, 99])
            displayed = costs[1] if len(costs) > 1 else " | "
            print(
                f"| {name} | {displayed} | {costs[0]} | {p50:.2f} ms | {p99:.2f} ms | "
                f"{robot.seen / passed:.1f} |",
                flush=True,
            )
            for one in viewing:
                robot.node.destroy_subscription(one)
        robot.delays.clear()


def cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def measure_recorder(robot: Robot, seconds_after: float = 1.0) -> None:
    alarms = robot.node.create_publisher(DiagnosticStatus, "failure_monitor/alarm", LATCHED)
    level = [DiagnosticStatus.OK]
    robot.node.create_timer(0.05, lambda: alarms.publish(DiagnosticStatus(level=level[0])))
    print("\n| before the alarm | held | its part of the budget | alarm → bag complete |")
    print("|---|---|---|---|")
    for camera, before in ((False, 30.0), (True, 8.0)):
        topics = "[policy/*, joint_states, camera]" if camera else "[policy/*, joint_states]"
        with tempfile.TemporaryDirectory() as folder:
            parameters = {
                "output": folder,
                "topics": topics,
                "seconds_before": before,
                "seconds_after": seconds_after,
                "memory_megabytes": 256.0,
                "least_free_megabytes": 0.0,
            }
            with node("incident_recorder_node", **parameters):
                robot.wait_for(lambda: "/failure_monitor/alarm" in robot.status)
                robot.spin(before + 2)
                held = int(robot.status["held_bytes"])
                times = []
                for count in range(3):
                    level[0] = DiagnosticStatus.ERROR
                    robot.wait_for(
                        lambda count=count: robot.status.get("incidents_written") == f"{count + 1}"
                    )
                    times.append(float(robot.status["last_incident_seconds"]) - seconds_after)
                    level[0] = DiagnosticStatus.OK
                    robot.spin(1.0)
        robot.status.clear()
        what = f"{before:g} s{' with raw 640×480 images' if camera else ''}"
        print(
            f"| {what} | {held / 1e6:.1f} MB | {held / 256e6:.0%} | {seconds_after:g} s recorded "
            f"+ {statistics.median(times):.2f} s (largest {max(times):.2f} s) |",
            flush=True,
        )


def main(
    seconds: Annotated[float, Option(help="of every measurement")] = 20.0,
) -> None:
    """Measure the monitor with every kind of viewer, then the incident recorder."""
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["ROS_HOME"] = folder
        bundle = make_bundle(Path(folder) / "bundle")
        rclpy.init()
        robot = Robot()
        camera = subprocess.Popen([sys.executable, "-c", CAMERA])
        measure_viewers(robot, bundle, seconds)
        measure_recorder(robot)
        camera.kill()
        rclpy.try_shutdown()


if __name__ == "__main__":
    run_alone(main)
