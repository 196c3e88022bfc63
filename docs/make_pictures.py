# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Make the pictures of docs/visualization.md again, from the real thing:

    python docs/make_pictures.py

The demo runs, the object is moved, and the incident recorder keeps what the displays drew. RViz 2
shows a moment of that bag in the layout of this package, on a screen that is in memory. It needs a
sourced ROS 2 with RViz, and on Debian and Ubuntu

    apt-get install --no-install-recommends xvfb imagemagick

To draw an incident again without the demo: python docs/make_pictures.py INCIDENT

The picture in README.md, docs/images/demo.png, is demo_output/rollout_2_displacement.png as
`make demo` draws it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import rclpy
from builtin_interfaces.msg import Duration
from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.serialization import deserialize_message
from rosbags.rosbag2 import Reader
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Bool
from visualization_msgs.msg import MarkerArray

from failure_monitor.demo.calibration_process import calibrate_arguments, calibration
from failure_monitor.demo.make_assets import BAGS
from failure_monitor.demo.node_processes import private_domain
from failure_monitor.demo.perturbation import Perturbation
from failure_monitor.demo.policy import MODELS, FlowPolicy
from failure_monitor.demo.rig import PARAMETERS, open_rig
from failure_monitor.demo.timeline import RolloutPlan
from failure_monitor.ros.common.start_ros import start_ros

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs" / "images"
LAYOUT = ROOT / "config" / "failure_monitor.rviz"
TASK = "button-press-topdown-v3"
SCENE = RolloutPlan("Object moved", Perturbation("displacement", strength=1.2, onset=1.0), seed=2)

MARKERS, OVERLAY = "/failure_monitor/markers", "/failure_monitor/overlay/compressed"
ALARM, ACTIVE = "/failure_monitor/alarm", "/rollout/active"
TYPES = {
    MARKERS: MarkerArray,
    OVERLAY: CompressedImage,
    ALARM: DiagnosticStatus,
    ACTIVE: Bool,
}
NEEDED_PROGRAMS = ("ros2", "Xvfb", "import")

WINDOW = (1500, 900)
"""Size of RViz's window, as in the layout."""

DISPLAY = ":77"
"""The screen in memory."""

DRAWN = 15.0
"""Seconds after which RViz has drawn everything, also without a graphics card."""

Moment = dict[str, Any]
"""The last message of each topic at a time in the bag, by topic."""


def main(arguments: list[str]) -> None:
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        incident = Path(arguments[0]) if arguments else record_incident(work)
        calm, alarm = moments(incident)
        draw_in_rviz(alarm, work / "screen.png")
        save(IMAGES / "rviz_alarm.jpg", cv2.imread(str(work / "screen.png")))
        for name, moment in (("nominal", calm), ("alarm", alarm)):
            save(IMAGES / f"overlay_{name}.jpg", picture(moment[OVERLAY]))


# The demo, and its incident


def record_incident(work: Path) -> Path:
    """Run the demo beside displays and incident recorder; return the bag of the alarm."""
    policy = MODELS / TASK
    arguments = calibrate_arguments(
        BAGS / TASK,
        work / "bundle",
        executed_actions=FlowPolicy(policy).h_exec,
        rule="mean",
        window=3,
        alpha=0.1,
        scores="rnd_oe,ace,chunk_lag",
    )
    with calibration(arguments, work / "calibrate.log") as process:
        print(process.wait())
    # The monitor embeds the pictures itself, so that the displays know where they are unfamiliar.
    encoder = {
        "encoder": str(policy / "encoder.onnx"),
        "image_topics": "[camera/image_raw/compressed]",
    }
    displays = {
        **encoder,
        "bundle": work / "bundle",
        "markers.rate": 10.0,
        "overlay.rate": 10.0,
        "overlay.heat_map": "true",
    }
    recorder = {
        "output": work / "incidents",
        "topics": f"[{MARKERS}, {ALARM}, {ACTIVE}]",
        "still_topic": OVERLAY,
        "seconds_after": 4.0,
        "least_free_megabytes": 0.0,
    }
    with (
        open_rig(TASK, work / "nodes.log", monitor_parameters=encoder) as rig,
        node("ros.displays.node", displays, "--params-file", str(PARAMETERS)),
        node("ros.recording.incident_recorder_node", recorder),
    ):
        rig.connect(work / "bundle")
        time.sleep(3.0)
        rig.run(SCENE)
        return next_incident(work / "incidents")


@contextmanager
def node(module: str, parameters: dict[str, Any], *arguments: str) -> Iterator[None]:
    values = [part for name, value in parameters.items() for part in ("-p", f"{name}:={value}")]
    command = [sys.executable, "-m", f"failure_monitor.{module}", "--ros-args", *arguments]
    with program(*command, *values):
        yield


@contextmanager
def program(*command: str, **environment: str) -> Iterator[None]:
    """Run a program until the context is left."""
    process = subprocess.Popen(command, env={**os.environ, **environment})
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def next_incident(folder: Path) -> Path:
    for _ in range(120):
        found = sorted(folder.glob("incident_*"))
        if found:
            return found[-1]
        time.sleep(0.25)
    raise SystemExit("no alarm came: check how the scene is perturbed")


def moments(bag: Path) -> tuple[Moment, Moment]:
    """Return a nominal moment, and the last one of the alarm while the rollout ran."""
    now: Moment = {}
    calm: list[Moment] = []
    alarms: list[Moment] = []
    with Reader(bag) as reader:
        known = [each for each in reader.connections if each.topic in TYPES]
        for connection, _, data in reader.messages(known):
            now[connection.topic] = deserialize_message(data, TYPES[connection.topic])
            if connection.topic != OVERLAY or MARKERS not in now or ALARM not in now:
                continue
            # Once the rollout has ended the picture is covered no more.
            runs = ACTIVE in now and now[ACTIVE].data
            if now[ALARM].level == DiagnosticStatus.OK and runs and not alarms:
                calm.append(dict(now))
            if now[ALARM].level == DiagnosticStatus.ERROR and runs:
                alarms.append(dict(now))
    if not calm or not alarms:
        raise SystemExit("the incident lacks a nominal moment, or pictures of the alarm")
    # The overlay takes a moment to find out where the picture is unfamiliar.
    return calm[len(calm) // 2], alarms[-1]


def picture(message: CompressedImage) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(message.data, np.uint8), cv2.IMREAD_COLOR)


def save(path: Path, drawn: np.ndarray) -> None:
    cv2.imwrite(str(path), drawn, [cv2.IMWRITE_JPEG_QUALITY, 85])
    print(path)


# RViz


def draw_in_rviz(moment: Moment, path: Path) -> None:
    """Save RViz's window while a moment is published as if nothing changed."""
    # Without a window manager RViz would not be asked for its size; the layout holds the same.
    screen = "x".join(map(str, (*WINDOW, 24)))
    rviz = ("ros2", "run", "rviz2", "rviz2", "-d", str(LAYOUT))
    with (
        program("Xvfb", DISPLAY, "-screen", "0", screen, "-nolisten", "tcp"),
        program(*rviz, DISPLAY=DISPLAY, LIBGL_ALWAYS_SOFTWARE="1"),
        published(moment),
    ):
        time.sleep(DRAWN)
        subprocess.run(["import", "-display", DISPLAY, "-window", "root", path], check=True)


@contextmanager
def published(moment: Moment) -> Iterator[None]:
    """Publish a moment again and again, until the context is left."""
    for marker in moment[MARKERS].markers:
        marker.lifetime = Duration()  # a picture must not catch markers that expire
    start_ros(sys.argv[:1])
    publisher = rclpy.create_node("moment")
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    markers = publisher.create_publisher(MarkerArray, MARKERS, latched)
    overlay = publisher.create_publisher(Image, OVERLAY.removesuffix("/compressed"), 1)
    drawn = picture(moment[OVERLAY])
    height, width, _ = drawn.shape
    image = Image(height=height, width=width, encoding="bgr8", step=3 * width)
    image.data.frombytes(drawn.tobytes())
    left = threading.Event()

    def publish() -> None:
        while not left.wait(0.1):
            markers.publish(moment[MARKERS])
            overlay.publish(image)

    thread = threading.Thread(target=publish)
    thread.start()
    try:
        yield
    finally:
        left.set()
        thread.join()
        publisher.destroy_node()
        rclpy.try_shutdown()


if __name__ == "__main__":
    for name in NEEDED_PROGRAMS:
        if shutil.which(name) is None:
            raise SystemExit(f"there is no '{name}': see the head of this file for what it needs")
    os.environ.update(private_domain())
    main(sys.argv[1:])
