# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Make the picture of docs/report.md again, from the demo's own robot and policy:

    python docs/make_report_picture.py [FOLDER]

The demo's robot runs, undisturbed and perturbed, without a monitor; the recorder node keeps a bag
of each rollout. `failure-monitor` calibrates on the bags that come with the demo, evaluates on the
new ones and writes its report, which chromium draws. It takes some minutes. Bags, bundle and both
reports stay in FOLDER, if one is named.
"""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import rclpy

from failure_monitor.demo.calibration_process import POSITION_NAMES
from failure_monitor.demo.make_assets import BAGS
from failure_monitor.demo.node_processes import NodeProcesses, private_domain
from failure_monitor.demo.perturbation import UNDISTURBED, Perturbation
from failure_monitor.demo.policy import MODELS, FlowPolicy
from failure_monitor.demo.record_rollouts import TOPICS
from failure_monitor.demo.robot_client import RobotClient

PICTURE = Path(__file__).parent / "images" / "report.png"
TASK = "button-press-topdown-v3"
PERTURBATIONS = (
    *[UNDISTURBED] * 30,
    *(
        Perturbation(kind, strength, onset=0.7)
        for kind in ("displacement", "camera", "light", "occlusion")
        for strength in (0.4, 0.8, 1.2, 1.6)
    ),
)
FIRST_SEED = 70_000
TIMEOUT = 60.0
SIZE = (1020, 1560)
ONLY_TIMELINES = "header, footer, section:not(#timelines) { display: none; }"


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(sys.argv[1] if len(sys.argv) > 1 else temporary)
        record(work / "bags", work / "labels.csv")
        actions = FlowPolicy(MODELS / TASK).h_exec
        failure_monitor(
            *("calibrate", BAGS / TASK, "--output", work / "press_button"),
            *("--action-kind", "delta", "--position-names", POSITION_NAMES),
            *("--executed-actions", actions, "--report", work / "calibration"),
        )
        failure_monitor(
            *("evaluate", work / "press_button", work / "bags", "--labels", work / "labels.csv"),
            *("--report", work / "evaluation"),
        )
        draw(work / "evaluation" / "index.html", PICTURE)


def record(bags: Path, labels: Path) -> None:
    """Record a bag of each rollout, and write how each ended to a file of labels."""
    domain = private_domain()
    os.environ.update(domain)
    bags.mkdir(parents=True)
    with NodeProcesses(domain, sys.stderr) as nodes, labels.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["rollout", "outcome", "group"])
        nodes.start("demo.robot_node", {"task": TASK}, {"command": "policy/command"})
        nodes.start("demo.policy_node", {"task": TASK, "models": MODELS / TASK})
        nodes.start("ros.recording.record_node", {"topics": TOPICS, "output": bags, "tail": 0.1})
        rclpy.init()
        node = rclpy.create_node("make_report_picture")
        robot = RobotClient(node)
        robot.wait_for_robot(TIMEOUT)
        time.sleep(10.0)  # until recorder and policy have found all that they listen to
        for number, perturbation in enumerate(PERTURBATIONS):
            success = robot.roll_out(
                {
                    "seed": FIRST_SEED + number,
                    "perturbation": perturbation.kind,
                    "strength": perturbation.strength,
                    "onset": perturbation.onset,
                },
                TIMEOUT,
            )
            bag = finished_bag(bags, number)
            rows.writerow([bag.name, "success" if success else "failure", perturbation.kind])
            print(bag.name, perturbation.kind, perturbation.strength, success, flush=True)
        node.destroy_node()
        rclpy.try_shutdown()


def finished_bag(bags: Path, number: int) -> Path:
    for _ in range(600):
        found = sorted(path.parent for path in bags.glob("*/metadata.yaml"))
        if len(found) > number:
            return found[number]
        time.sleep(0.1)
    raise SystemExit(f"no bag of rollout {number} was recorded: see the output of the recorder")


def failure_monitor(*arguments: object) -> None:
    command = Path(sys.executable).with_name("failure-monitor")
    subprocess.run([command, *map(str, arguments)], check=True)


def draw(page: Path, picture: Path) -> None:
    """Draw the head of the page and, beside it, its timelines, as a browser shows them."""
    html = page.read_text()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        only = work / "timelines.html"
        only.write_text(html.replace("</style>", f"{ONLY_TIMELINES}</style>"))
        parts = [screenshot(page, work), screenshot(only, work)]
    cv2.imwrite(str(picture), np.hstack(parts), [cv2.IMWRITE_PNG_COMPRESSION, 9])


def screenshot(page: Path, work: Path) -> np.ndarray:
    screen = work / "screen.png"
    subprocess.run(
        [
            *("chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
            *(f"--user-data-dir={work}/profile", f"--window-size={SIZE[0]},{SIZE[1]}"),
            *(f"--screenshot={screen}", page.absolute().as_uri()),
        ],
        check=True,
        capture_output=True,
    )
    return cv2.imread(str(screen))


if __name__ == "__main__":
    main()
