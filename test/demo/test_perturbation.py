# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from failure_monitor.demo.effects import EFFECTS
from failure_monitor.demo.perturbation import KINDS, UNDISTURBED, Perturbation
from failure_monitor.demo.simulation import Simulation
from failure_monitor.demo.tasks import CONTROL_PERIOD
from failure_monitor.errors import FailureMonitorError

ONSET = 4 * CONTROL_PERIOD
STILL = np.zeros(4)


def image_after(simulation: Simulation, perturbation: Perturbation, steps: int) -> np.ndarray:
    simulation.reset(2, perturbation)
    for _ in range(steps):
        simulation.step(STILL)
    return simulation.render()


def mean_change(simulation: Simulation, perturbation: Perturbation, steps: int = 6) -> float:
    undisturbed = image_after(simulation, UNDISTURBED, steps).astype(float)
    return float(np.abs(image_after(simulation, perturbation, steps) - undisturbed).mean())


def test_every_kind_has_an_effect():
    assert set(EFFECTS) == set(KINDS)


@pytest.mark.parametrize("kind", ["camera", "light", "occlusion", "object_range", "displacement"])
def test_what_the_camera_sees_changes_more_with_more_strength(simulation: Simulation, kind: str):
    nothing, some, more = (
        mean_change(simulation, Perturbation(kind, strength, 0.0)) for strength in (0.0, 0.3, 1.0)
    )
    # Strength 0 of object_range still puts the object at the edge of the range.
    assert nothing == 0 or kind == "object_range"
    assert nothing < some < more


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("none", "object_range")])
def test_nothing_changes_before_the_onset(simulation: Simulation, kind: str):
    perturbation = Perturbation(kind, 1.0, onset=ONSET)
    assert mean_change(simulation, perturbation, steps=3) == 0
    assert not simulation.perturbed
    simulation.step(STILL)
    assert simulation.perturbed


@pytest.mark.parametrize("strength", [0.2, 1.0])
def test_object_range_starts_beyond_the_training_range(simulation: Simulation, strength: float):
    for seed in range(8):
        simulation.reset(seed, Perturbation("object_range", strength))
        beyond = abs(simulation.object_position[0]) - 0.1
        assert 0.8 * 0.3 * strength <= beyond + 1e-9 <= 0.3 * strength + 2e-9


def test_displacement_moves_object_and_goal_together(simulation: Simulation):
    simulation.reset(2, Perturbation("displacement", 1.0, onset=ONSET))
    before = simulation.object_position
    for _ in range(4):
        simulation.step(STILL)
    moved = simulation.object_position - before
    assert abs(moved[0]) == pytest.approx(0.35)
    assert np.sign(moved[0]) == np.sign(before[0])
    assert not simulation.success


def test_dynamics_keep_the_object_from_moving_as_fast(simulation: Simulation):
    def object_travel(strength: float) -> float:
        simulation.reset(2, Perturbation("dynamics", strength, 0.0))
        joint = simulation.data.joint(simulation.task.object_joint)
        start = joint.qpos[0]
        for _ in range(30):
            joint.qfrc_applied[:] = -50.0
            simulation.step(STILL)
        joint.qfrc_applied[:] = 0.0
        return abs(joint.qpos[0] - start)

    assert object_travel(1.0) < 0.2 * object_travel(0.0)


def test_actuation_moves_the_arm_off_its_commanded_course(simulation: Simulation):
    def course(perturbation: Perturbation) -> np.ndarray:
        simulation.reset(2, perturbation)
        for _ in range(20):
            simulation.step(STILL)
        return simulation.joint_positions

    still = course(UNDISTURBED)
    assert np.abs(course(Perturbation("actuation", 1.0, 0.0)) - still).max() > 0.02


def test_a_wrong_perturbation_is_refused_with_what_is_right():
    with pytest.raises(FailureMonitorError, match=r"'earthquake'.*occlusion"):
        Perturbation("earthquake")
    with pytest.raises(FailureMonitorError, match=r"strength .* 7.0.*\[0, 2.0\]"):
        Perturbation("light", 7.0)
    with pytest.raises(FailureMonitorError, match=r"onset .* nan"):
        Perturbation("light", 1.0, float("nan"))
