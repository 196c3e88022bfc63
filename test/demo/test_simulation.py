# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import gc

import mujoco
import numpy as np
import pytest

from failure_monitor.demo.expert import Expert
from failure_monitor.demo.perturbation import KINDS, Perturbation
from failure_monitor.demo.simulation import Simulation
from failure_monitor.demo.tasks import CONTROL_PERIOD
from failure_monitor.errors import FailureMonitorError

ACTION = (0.3, 0.4, -0.2, 1.0)


def state_after(simulation: Simulation, steps: int) -> tuple[np.ndarray, np.ndarray]:
    for _ in range(steps):
        simulation.step(ACTION)
    return simulation.joint_positions, simulation.render()


def test_a_seed_decides_the_whole_rollout(simulation: Simulation):
    simulation.reset(5)
    joints, image = state_after(simulation, 12)
    simulation.reset(5)
    same_joints, same_image = state_after(simulation, 12)
    simulation.reset(6)
    _, other_image = state_after(simulation, 12)
    np.testing.assert_array_equal(joints, same_joints)
    np.testing.assert_array_equal(image, same_image)
    assert (image != other_image).any()


def test_the_object_starts_within_the_training_range_of_every_seed(simulation: Simulation):
    positions = []
    for seed in range(20):
        simulation.reset(seed)
        positions.append(simulation.object_position[0])
    assert -0.1 <= min(positions) < -0.02
    assert 0.02 < max(positions) <= 0.1


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "none"])
def test_a_reset_leaves_nothing_of_a_perturbation(simulation: Simulation, kind: str):
    simulation.reset(3)
    joints, image = state_after(simulation, 8)
    simulation.reset(3, Perturbation(kind, 1.0, onset=2 * CONTROL_PERIOD))
    state_after(simulation, 8)
    assert simulation.perturbed
    simulation.reset(3)
    again, image_again = state_after(simulation, 8)
    np.testing.assert_array_equal(joints, again)
    np.testing.assert_array_equal(image, image_again)


def test_images_are_what_the_policy_takes(simulation: Simulation):
    image = simulation.render()
    assert image.shape == (96, 96, 3)
    assert image.dtype == np.uint8
    assert image.std() > 20


def test_joints_are_the_arms_own_with_position_and_velocity(simulation: Simulation):
    simulation.reset(0)
    before = simulation.joint_positions
    for _ in range(20):
        simulation.step(ACTION)
    assert simulation.joint_names[:7] == tuple(f"right_j{i}" for i in range(7))
    assert simulation.joint_velocities.shape == before.shape == (9,)
    assert np.abs(simulation.joint_positions - before)[:7].max() > 0.01
    assert np.abs(simulation.joint_velocities)[:7].max() > 0.01


def test_time_counts_control_steps_since_the_reset(simulation: Simulation):
    simulation.reset(0)
    for _ in range(4):
        simulation.step(ACTION)
    assert simulation.time == pytest.approx(0.05)


def test_the_expert_succeeds(simulation: Simulation):
    simulation.reset(1)
    expert = Expert(simulation.task.name, np.random.default_rng(0))
    while not simulation.success and simulation.time < simulation.task.time_limit:
        simulation.step(expert.action(simulation.expert_observation))
    assert simulation.success


def test_an_unknown_task_is_refused_with_those_that_exist():
    with pytest.raises(FailureMonitorError, match=r"'fold-laundry'.*drawer-open-v3"):
        Simulation("fold-laundry")


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupt_while_the_renderer_is_made_leaves_nothing_to_complain_of(
    monkeypatch: pytest.MonkeyPatch,
):
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(mujoco.renderer._render, "MjrContext", interrupted)
    with pytest.raises(KeyboardInterrupt):
        Simulation("drawer-open-v3")
    gc.collect()
