# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A policy of history, tasks and conditioning: from its bags to the monitor beside the robot."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from std_msgs.msg import Header
from testbed.bags import BEGIN, SUCCESS, BagBuilder
from testbed.black_box_robot import MONITOR, Robot
from testbed.command_line import run_here
from testbed.exported_second_version import PICK, PLACE, export_second_version
from testbed.ros_graph import node_process, observing
from testbed.scenes import scenes
from testbed.seen_bags import MILLISECOND, TOPICS, write_scene

from failure_monitor.bundle.bundle import UnknownTaskError
from failure_monitor.bundle.folder import load
from failure_monitor.evaluation.from_sources import evaluate_bundle
from failure_monitor.parameters.monitor import MonitorParameters
from failure_monitor.ros.monitor.monitored_bundle import load_monitored_bundle

pytestmark = pytest.mark.ros

SPACING = 100 * MILLISECOND
SHOWN = 99


@pytest.fixture(scope="module", params=[False, True], ids=["noise", "deterministic"])
def calibrated(request, tmp_path_factory) -> Path:
    """The bundle that the command makes of bags of what the robot saw."""
    folder = tmp_path_factory.mktemp("chain")
    encoder, sampler = export_second_version(folder, is_deterministic=request.param)
    for seed in [*range(12), SHOWN]:
        with BagBuilder(folder / ("shown" if seed == SHOWN else "bags") / f"{seed}") as bag:
            bag.text("/rollout/task", PICK, BEGIN - 1)
            for at, seen in enumerate(scenes(seed)):
                write_scene(bag, seen, BEGIN + at * SPACING)
            bag.flag(SUCCESS, True, BEGIN + 20 * SPACING)
    result = run_here(
        "calibrate",
        folder / "bags",
        "--output",
        folder / "bundle",
        "--encoder",
        encoder,
        "--sampler",
        sampler,
        *(f"--image-topic={name}:={topic}" for name, topic in TOPICS.items()),
        *([] if request.param else ["--samples", "8"]),
        "--noise-seed=3",
        "--scores=knn,one_step" if request.param else "--scores=knn,ace",
        "--rule=any",
        "--window=2",
        "--folds=3",
        "--jobs=1",
    )
    assert result.exit_code == 0, result.output
    for model in (encoder, sampler):
        model.unlink()  # what runs is in the bundle
    return folder


def parameters(folder: Path, task: str) -> dict:
    return {
        "bundle": str(folder / "bundle"),
        "task": task,
        "rollout_boundaries": "none",
        "max_joint_state_age": 1.0,
        "max_decision_age": 5.0,
        "max_stamp_age": 30.0,
        "max_stamp_lead": 5.0,
    }


@pytest.fixture
def robot():
    with observing(Robot, SimpleNamespace(observations=scenes(SHOWN))) as robot:
        yield robot


def test_the_monitor_scores_what_evaluate_scores(robot, calibrated: Path):
    found = evaluate_bundle(calibrated / "bundle", [calibrated / "shown"])
    (rollout,) = found.rollout_set.rollouts
    monitor = load(calibrated / "bundle").monitor(PICK)
    with node_process(MONITOR, **parameters(calibrated, PICK)):
        robot.wait_until_seen()
        begin = time.time_ns()
        for number, decision in enumerate(rollout.decisions()):
            expected = monitor.update(decision)
            # Which moments belong together is by their stamps, however slow this machine is.
            stamp = begin + number * SPACING
            robot.show(number, Header(stamp=Time(sec=stamp // 10**9, nanosec=stamp % 10**9)))
            robot.wait_for(
                lambda n=str(number): robot.alarm_values().get("decision") == n, "the verdict"
            )
            values = robot.alarm_values()
            for score in expected.scores:
                shown = values[score.name]
                if np.isnan(score.windowed):
                    assert shown == "undefined"
                else:
                    assert float(shown) == pytest.approx(score.windowed, rel=2e-3, abs=1e-6)


def test_a_task_whose_tokens_are_not_held_is_refused(calibrated: Path):
    settings = MonitorParameters(bundle=str(calibrated / "bundle"), rollout_boundaries="none")
    monitored = load_monitored_bundle(settings)  # the bundle's only task need not be named
    monitored.set_task(PICK)
    # As if it had been calibrated on rollouts without a task.
    monitored.bundle = SimpleNamespace(promise=lambda task: SimpleNamespace(task=""))
    monitored.set_task(PLACE)
    for task in ("fly", ""):
        with pytest.raises(UnknownTaskError, match=f"holds the tokens of '{PICK}', '{PLACE}'"):
            monitored.set_task(task)
    assert monitored.task == PLACE
