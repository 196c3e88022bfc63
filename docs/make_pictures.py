# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Make the pictures of docs/visualization.md again, from the real thing:

    python docs/make_pictures.py

The demo runs, the object is moved, and the incident recorder keeps what the
monitor drew. RViz draws the markers of that bag (RViz 1, which Debian has; the messages are the
same), on a screen that is in memory. On Debian 12 it needs

    apt-get install --no-install-recommends rviz python3-rosbag python3-rosmaster \
        python3-roslaunch xvfb xauth imagemagick
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from rosbags.rosbag2 import Reader, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from failure_monitor.demo.calibration_process import calibrate_arguments, calibration
from failure_monitor.demo.make_assets import BAGS
from failure_monitor.demo.perturbation import Perturbation
from failure_monitor.demo.policy import MODELS, FlowPolicy
from failure_monitor.demo.rig import open_rig
from failure_monitor.demo.timeline import RolloutPlan

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs" / "images"
TASK = "button-press-topdown-v3"
SCENE = RolloutPlan("Object moved", Perturbation("displacement", strength=1.2, onset=1.0), seed=2)

MARKERS, OVERLAY = "/failure_monitor/markers", "/failure_monitor/overlay/compressed"
ALARM, ACTIVE = "/failure_monitor/alarm", "/rollout/active"
TYPES = get_typestore(Stores.ROS2_JAZZY)
SCREEN = (1280, 800)
ROS_1 = {**os.environ, "PATH": "/usr/bin:/bin", "LIBGL_ALWAYS_SOFTWARE": "1"}
ROS_1 = {key: value for key, value in ROS_1.items() if not key.startswith(("VIRTUAL", "PYTHON"))}

Moment = dict[str, Any]
"""The last message of each topic at a time in the bag, by topic."""


def main() -> None:
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        incident = record_incident(work)
        calm, alarm = moments(incident)
        for name, moment in (("nominal", calm), ("alarm", alarm)):
            save(IMAGES / f"overlay_{name}.jpg", picture(moment[OVERLAY]))
            save(IMAGES / f"rviz_{name}.png", draw_in_rviz(moment[MARKERS], work / name))
        for state in ("NOMINAL", "ALARM"):
            print(f"{state}: overlay_{state.lower()}.jpg, rviz_{state.lower()}.png")


# The demo, and its incident


def record_incident(work: Path) -> Path:
    """Run the demo beside the incident recorder; return the bag of the alarm."""
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
    # The monitor embeds the pictures itself, to know where they are unfamiliar.
    parameters = {
        "encoder": str(policy / "encoder.onnx"),
        "image_topics": ["camera/image_raw/compressed"],
        "markers.rate": 10.0,
        "overlay.rate": 10.0,
    }
    with (
        open_rig(TASK, work / "nodes.log", monitor_parameters=parameters) as rig,
        recorder(work / "incidents"),
    ):
        rig.connect(work / "bundle")
        time.sleep(3.0)
        rig.run(SCENE)
        return next_incident(work / "incidents")


@contextmanager
def recorder(output: Path) -> Iterator[None]:
    parameters = {
        "output": output,
        "topics": f"[{MARKERS}]",
        "still_topic": OVERLAY,
        "seconds_after": 4.0,
        "least_free_megabytes": 0.0,
    }
    arguments = [part for name, value in parameters.items() for part in ("-p", f"{name}:={value}")]
    module = "failure_monitor.ros.recording.incident_recorder_node"
    process = subprocess.Popen([sys.executable, "-m", module, "--ros-args", *arguments])
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
        for connection, _, data in reader.messages():
            now[connection.topic] = TYPES.deserialize_cdr(data, connection.msgtype)
            if connection.topic != OVERLAY or MARKERS not in now or ALARM not in now:
                continue
            # Once the rollout has ended the picture is covered no more.
            runs = ACTIVE in now and now[ACTIVE].data
            if now[ALARM].level == 0 and runs and not alarms:
                calm.append(dict(now))
            if now[ALARM].level == 2 and runs:
                alarms.append(dict(now))
    if not calm or not alarms:
        raise SystemExit("the incident lacks a nominal moment, or pictures of the alarm")
    # The overlay takes a moment to find out where the picture is unfamiliar.
    return calm[len(calm) // 2], alarms[-1]


def picture(message: Any) -> np.ndarray:
    return cv2.imdecode(message.data, cv2.IMREAD_COLOR)


def save(path: Path, drawn: np.ndarray) -> None:
    cv2.imwrite(str(path), drawn, [cv2.IMWRITE_JPEG_QUALITY, 85, cv2.IMWRITE_PNG_COMPRESSION, 9])


# RViz


def draw_in_rviz(markers: Any, work: Path) -> np.ndarray:
    """Return what RViz makes of the markers of one moment."""
    work.mkdir()
    write_bag(work / "moment", markers)
    subprocess.run(
        [
            *(Path(sys.executable).with_name("rosbags-convert"), "--src", work / "moment"),
            *("--dst", work / "moment.bag"),
            *("--src-typestore", "ros2_jazzy", "--dst-typestore", "ros1_noetic"),
        ],
        check=True,
    )
    (work / "rviz1.rviz").write_text(rviz_1_layout())
    script = work / "draw.sh"
    script.write_text(DRAW.format(work=work))
    size = f"-screen 0 {SCREEN[0]}x{SCREEN[1]}x24"
    subprocess.run(["xvfb-run", "-a", "-s", size, "bash", script], check=True, env=ROS_1)
    return trimmed(cv2.imread(str(work / "screen.png")))


DRAW = """
set -eu
export ROS_MASTER_URI=http://localhost:11811 HOME={work} XDG_RUNTIME_DIR={work}
rosmaster --core -p 11811 > {work}/master.log 2>&1 & master=$!
sleep 3
rviz -d {work}/rviz1.rviz --fullscreen > {work}/rviz.log 2>&1 & rviz=$!
rosbag play --loop --quiet {work}/moment.bag > {work}/play.log 2>&1 & play=$!
sleep 25
import -window root {work}/screen.png
kill $play $rviz $master
"""


def write_bag(path: Path, markers: Any) -> None:
    """Write the moment repeatedly, as the monitor would if nothing changed."""
    kind = markers.__msgtype__
    with Writer(path, version=9, storage_plugin=StoragePlugin.SQLITE3) as writer:
        connection = writer.add_connection(MARKERS, kind, typestore=TYPES)
        for index in range(100):
            data = bytes(TYPES.serialize_cdr(markers, kind))
            writer.write(connection, 1_700_000_000_000_000_000 + index * 100_000_000, data)


def rviz_1_layout() -> str:
    """Return config/failure_monitor.rviz for RViz 1: other names, nothing but the scene."""
    layout = yaml.safe_load((ROOT / "config" / "failure_monitor.rviz").read_text())
    manager = layout["Visualization Manager"]
    displays = {display["Class"].partition("/")[2]: display for display in manager["Displays"]}
    chosen = [displays["Grid"], displays["MarkerArray"]]
    chosen[1] |= {"Marker Topic": chosen[1].pop("Topic")["Value"], "Queue Size": 10}
    view = manager["Views"]["Current"]
    for part in (*chosen, view):
        part["Class"] = "rviz/" + part["Class"].partition("/")[2]
    return yaml.safe_dump(
        {
            "Panels": [],
            "Visualization Manager": {
                "Class": "",
                "Displays": chosen,
                "Enabled": True,
                "Global Options": manager["Global Options"],
                "Tools": [{"Class": "rviz/MoveCamera"}],
                "Value": True,
                "Views": {"Current": view, "Saved": None},
            },
            "Window Geometry": {
                "Hide Left Dock": True,
                "Hide Right Dock": True,
                "Width": SCREEN[0],
                "Height": SCREEN[1],
                "X": 0,
                "Y": 0,
            },
        }
    )


def trimmed(screen: np.ndarray) -> np.ndarray:
    """Return a picture without RViz's own bars and the empty sides."""
    return screen[90:-90, 100:-180]


if __name__ == "__main__":
    for tool in ("rviz", "rosmaster", "rosbag", "xvfb-run", "import"):
        if shutil.which(tool, path="/usr/bin:/bin") is None:
            raise SystemExit(f"there is no '{tool}': install what the head of this file names")
    main()
