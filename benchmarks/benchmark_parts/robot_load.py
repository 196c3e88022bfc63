# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What goes on beside a monitor: a process of cameras and joints, and one that sees the images.

And, in the place of a monitor, a node that answers action chunks and does nothing else.
"""

from __future__ import annotations

import array
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.synchronize import Event
from typing import Any

HEIGHT, WIDTH = 480, 640
CAMERA_RATE, JOINT_RATE = 30.0, 500.0
CAMERAS = ("camera_0", "camera_1")
JOINTS = tuple(f"joint_{index}" for index in range(7))


@contextmanager
def robot_load(*, images_reliable: bool) -> Iterator[None]:
    """Run cameras and joints while the block runs."""
    with _processes((_publish, images_reliable), (_see, images_reliable)):
        yield


@contextmanager
def bare_answerer() -> Iterator[None]:
    """Run a node that answers every batch of action chunks, while the block runs."""
    with _processes((_answer,)):
        yield


@contextmanager
def _processes(*calls: tuple[Any, ...]) -> Iterator[None]:
    spawn = get_context("spawn")
    ends = spawn.Event()
    processes = [
        spawn.Process(target=target, args=(ends, *arguments), daemon=True)
        for target, *arguments in calls
    ]
    for process in processes:
        process.start()
    try:
        yield
    finally:
        ends.set()
        for process in processes:
            process.join(timeout=10)


def _image_qos(reliable: bool) -> Any:
    from rclpy.qos import QoSProfile, ReliabilityPolicy

    policy = ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT
    return QoSProfile(depth=5, reliability=policy)


def _publish(ends: Event, images_reliable: bool) -> None:
    import rclpy
    from sensor_msgs.msg import Image, JointState

    rclpy.init()
    node = rclpy.create_node("robot")
    image = Image(height=HEIGHT, width=WIDTH, step=3 * WIDTH, encoding="rgb8")
    image.data = array.array("B", bytes(range(256)) * (HEIGHT * WIDTH * 3 // 256))
    state = JointState(name=JOINTS, position=[0.0] * 7, velocity=[0.0] * 7, effort=[0.0] * 7)
    cameras = [node.create_publisher(Image, name, _image_qos(images_reliable)) for name in CAMERAS]
    joints = node.create_publisher(JointState, "joint_states", 10)

    def publish_images() -> None:
        image.header.stamp = node.get_clock().now().to_msg()
        for camera in cameras:
            camera.publish(image)

    def publish_joints() -> None:
        state.header.stamp = node.get_clock().now().to_msg()
        joints.publish(state)

    _at_rates(ends, {1 / CAMERA_RATE: publish_images, 1 / JOINT_RATE: publish_joints})
    node.destroy_node()
    rclpy.try_shutdown()


def _at_rates(ends: Event, by_period: dict[float, Callable[[], None]]) -> None:
    """Not rclpy's timers: at 500 Hz they would cost more than what is measured."""
    due = dict.fromkeys(by_period, time.monotonic())
    while not ends.is_set():
        period = min(due, key=lambda p: due[p])
        time.sleep(max(0.0, due[period] - time.monotonic()))
        by_period[period]()
        due[period] = max(due[period] + period, time.monotonic() - 0.1)


def _answer(ends: Event) -> None:
    import rclpy
    from diagnostic_msgs.msg import DiagnosticStatus, KeyValue
    from sensor_msgs.msg import JointState, PointCloud2

    rclpy.init()
    node = rclpy.create_node("failure_monitor")
    alarm = node.create_publisher(DiagnosticStatus, "~/alarm", 10)

    def on_chunks(message: PointCloud2) -> None:
        stamp = f"{message.header.stamp.sec + 1e-9 * message.header.stamp.nanosec:.9f}"
        alarm.publish(DiagnosticStatus(values=[KeyValue(key="stamp", value=stamp)]))

    node.create_subscription(PointCloud2, "policy/action_chunks", on_chunks, 10)
    node.create_subscription(JointState, "joint_states", lambda state: None, 10)
    while not ends.is_set():
        rclpy.spin_once(node, timeout_sec=0.1)
    node.destroy_node()
    rclpy.try_shutdown()


def _see(ends: Event, images_reliable: bool) -> None:
    import rclpy
    from sensor_msgs.msg import Image

    rclpy.init()
    node = rclpy.create_node("viewer")
    for name in CAMERAS:
        qos = _image_qos(images_reliable)
        node.create_subscription(Image, name, lambda data: None, qos, raw=True)
    while not ends.is_set():
        rclpy.spin_once(node, timeout_sec=0.1)
    node.destroy_node()
    rclpy.try_shutdown()
