# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The tasks of the simulated robot."""

from dataclasses import dataclass

from failure_monitor.errors import FailureMonitorError

CONTROL_PERIOD = 0.0125
"""Simulated seconds per control step."""

FRAME_STEPS = 4
"""Control steps per camera frame; the policy sends one action per frame."""

FRAME_PERIOD = CONTROL_PERIOD * FRAME_STEPS
"""Simulated seconds per camera frame."""

ACTION_NAMES = ("dx", "dy", "dz", "gripper")
"""Velocity of the gripper's set-point, 0.01 m per control step at 1, and the gripper's effort,
-1 opens, 1 closes."""

POSITION_NAMES = ("dx", "dy", "dz")
"""Those that move the gripper."""


@dataclass(frozen=True)
class Task:
    """A Meta-World task, the camera that watches it, and how long a rollout may take."""

    name: str
    """Name in Meta-World v3."""
    object_body: str
    """MuJoCo body that the task is about; its position is drawn in every rollout."""
    object_joint: str
    """MuJoCo joint that has to be moved."""
    stiff_damping: float
    """Damping (N s/m) that makes this joint too slow to move; large, as the arm is very strong."""
    camera_lookat: tuple[float, float, float]
    """World point in the image's centre, metres."""
    camera_distance: float
    """Metres from that point."""
    camera_azimuth: float
    """Degrees."""
    camera_elevation: float
    """Degrees."""
    travel: float
    """How far this joint has to move, metres."""
    way: tuple[float, float, float]
    """Direction in which the hand moves the object."""
    hand_end: float
    """How far the hand has gone along this way when it is usually done, metres in the world."""
    time_limit: float
    """Simulated seconds after which a rollout has failed."""


TASKS = {
    task.name: task
    for task in (
        Task(
            name="button-press-topdown-v3",
            object_body="box",
            object_joint="btnbox_joint",
            stiff_damping=60_000.0,
            camera_lookat=(0.0, 0.68, 0.15),
            camera_distance=1.1,
            camera_azimuth=140.0,
            camera_elevation=-30.0,
            travel=0.069,
            way=(0.0, 0.0, -1.0),
            hand_end=-0.280,
            time_limit=4.0,
        ),
        Task(
            name="drawer-open-v3",
            object_body="drawer",
            object_joint="goal_slidey",
            stiff_damping=60_000.0,
            camera_lookat=(0.0, 0.70, 0.18),
            camera_distance=1.0,
            camera_azimuth=145.0,
            camera_elevation=-25.0,
            travel=0.16,
            way=(0.0, -1.0, 0.0),
            hand_end=-0.540,
            time_limit=4.0,
        ),
    )
}
"""Every task of the demo by its name."""


def task_named(name: str) -> Task:
    """Return the task of that name, or reject the name."""
    if name not in TASKS:
        raise FailureMonitorError(
            f"there is no demo task '{name}': choose one of {', '.join(TASKS)}."
        )
    return TASKS[name]
