# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A demo robot that ages: when the watched promise says so, and what recalibration brings.

In the demo's simulation, without ROS, the camera turns or the gripper weakens a little every day.
The day on which the promise is called broken is the last one of the change; then the bundle is
calibrated again, on the newest successes so far or on as many from after that day, and all three
bundles watch further rollouts of that state.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from itertools import count
from pathlib import Path
from typing import Annotated

from benchmark_parts import one_thread

# isort: split
import numpy as np
import numpy.typing as npt

from failure_monitor.bundle.bundle import Bundle
from failure_monitor.calibration.calibrate import calibrate
from failure_monitor.calibration.settings import CalibrationSettings
from failure_monitor.cli.app import run_alone
from failure_monitor.cli.declaration import Option
from failure_monitor.decision import Rollout
from failure_monitor.demo.perturbation import UNDISTURBED, Perturbation
from failure_monitor.demo.policy import MODELS, FlowPolicy
from failure_monitor.demo.rollout import roll_out
from failure_monitor.demo.simulation import Simulation
from failure_monitor.demo.tasks import ACTION_NAMES
from failure_monitor.evaluation.watched_promise import finished_rollout
from failure_monitor.promise.reference import references
from failure_monitor.promise.watch import PromiseWatch

assert one_thread
SETTINGS = CalibrationSettings(
    scores=("phase_knn", "chunk_lag", "dispersion_profile"), jobs=1, seed=0
)
HASH = "ab" * 32
CHANGES = {"camera": (1.0, 0.0), "gripper": (0.0, 0.05), "none": (0.0, 0.0)}
"""Degrees by which the camera turns every day, and the share of effort that the gripper loses."""


class AgeingRobot(Simulation):
    """A simulation whose camera has turned, and whose gripper has weakened."""

    turned = 0.0
    lost = 0.0

    def reset(self, seed: int, perturbation: Perturbation = UNDISTURBED) -> None:
        """Start over, in today's state."""
        super().reset(seed, perturbation)
        self.camera.azimuth += self.turned

    def step(self, action: npt.ArrayLike) -> None:
        """Execute an action with what the gripper has left."""
        executed = np.array(action, dtype=np.float64)
        executed[ACTION_NAMES.index("gripper")] *= 1 - self.lost
        super().step(executed)


@dataclass
class Course:
    """What came of one change: rollouts are counted from 1, alarms are of successes."""

    change: str
    split: int
    rollouts: int = 0
    failed: int = 0
    doubtful: int | None = None
    broken: int | None = None
    day: int = 0
    mostly: str = ""
    tests: int = 0
    tests_failed: int = 0
    false_alarms: dict[str, int] = field(default_factory=dict)


def recorded(robot: AgeingRobot, policy: FlowPolicy, seeds: Iterator[int]) -> Rollout:
    seed = next(seeds)
    made = roll_out(robot, policy, seed, UNDISTURBED)
    return made.recorded(policy, f"rollout {seed}")


def successes(
    robot: AgeingRobot, policy: FlowPolicy, seeds: Iterator[int], number: int
) -> list[Rollout]:
    found: list[Rollout] = []
    while len(found) < number:
        found += [each for each in [recorded(robot, policy, seeds)] if each.success]
    return found


def alarms(bundle: Bundle, rollouts: list[Rollout]) -> int:
    return sum(bool((bundle.levels(rollout) > 1).any()) for rollout in rollouts)


def main(
    task: Annotated[str, Option(help="of the demo")] = "button-press-topdown-v3",
    splits: Annotated[int, Option(min=1, help="times that all rollouts are drawn")] = 3,
    calibration: Annotated[int, Option(min=10, help="successful rollouts")] = 40,
    days: Annotated[int, Option(min=1, help="that the change takes at most")] = 15,
    per_day: Annotated[int, Option(min=1, help="rollouts a day")] = 10,
    new: Annotated[int, Option(min=10, help="to calibrate again on")] = 20,
    tests: Annotated[int, Option(min=1, help="rollouts after the change")] = 40,
    results: Annotated[Path | None, Option("--json", help="write the figures here")] = None,
) -> None:
    """Measure when the promise is called broken, and false alarms before and after."""
    policy, robot = FlowPolicy(MODELS / task), AgeingRobot(task)
    courses = []
    for split in range(splits):
        seeds = count(10_000 * (split + 1))
        robot.turned = robot.lost = 0.0
        old = successes(robot, policy, seeds, calibration)
        form = policy.format
        before = calibrate(old, form, SETTINGS)
        for change, (degrees, loss) in CHANGES.items():
            course, fresh = Course(change, split), list(old)
            watch = PromiseWatch(references(before.description, HASH))
            while course.day < days and course.broken is None:
                course.day += 1
                robot.turned, robot.lost = course.day * degrees, min(1.0, course.day * loss)
                for _ in range(per_day):
                    rollout = recorded(robot, policy, seeds)
                    course.rollouts += 1
                    if not rollout.success:
                        course.failed += 1
                        continue
                    fresh.append(rollout)
                    finished = finished_rollout(before, rollout)
                    state = watch.add(finished.task, watch.place(finished))
                    if state.word.value != "holds" and course.doubtful is None:
                        course.doubtful = course.rollouts
                    if state.broken_since is not None and course.broken is None:
                        course.broken, course.mostly = course.rollouts, state.mostly
            last = fresh[-new:]
            after = successes(robot, policy, seeds, new)
            bundles = {
                "before": before,
                "newest": calibrate(last, form, SETTINGS),
                "after": calibrate(after, form, SETTINGS),
            }
            further = [recorded(robot, policy, seeds) for _ in range(tests)]
            succeeded = [each for each in further if each.success]
            course.tests, course.tests_failed = len(succeeded), tests - len(succeeded)
            course.false_alarms = {name: alarms(made, succeeded) for name, made in bundles.items()}
            courses.append(asdict(course))
            print(json.dumps(courses[-1]), flush=True)
            if results is not None:
                results.write_text(json.dumps(courses, indent=2) + "\n")
    robot.close()


if __name__ == "__main__":
    run_alone(main)
