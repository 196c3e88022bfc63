# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from failure_monitor.demo.claimer import PUSHING_STEPS, Claimer
from failure_monitor.demo.effects import EFFECTS
from failure_monitor.demo.expert import Expert
from failure_monitor.demo.perturbation import AT_START, KINDS, UNDISTURBED, Perturbation
from failure_monitor.demo.policy import FlowPolicy
from failure_monitor.demo.rollout import roll_out
from failure_monitor.demo.simulation import Simulation
from failure_monitor.demo.tasks import CONTROL_PERIOD, TASKS
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


@pytest.mark.parametrize(
    "kind", ["camera", "light", "occlusion", "object_range", "displacement", "nearer"]
)
def test_what_the_camera_sees_changes_more_with_more_strength(simulation: Simulation, kind: str):
    nothing, some, more = (
        mean_change(simulation, Perturbation(kind, strength, 0.0)) for strength in (0.0, 0.3, 1.0)
    )
    # Strength 0 of object_range still puts the object at the edge of the range.
    assert nothing == 0 or kind == "object_range"
    assert nothing < some < more


AT_ONSET = [kind for kind in KINDS if kind not in ("none", *AT_START)]


@pytest.mark.parametrize("kind", AT_ONSET)
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


def roll_out_claimed(simulation: Simulation, policy: FlowPolicy, kind: str, **more: float):
    """A rollout that ends as success is claimed, of a seed that no other test uses."""
    perturbation = Perturbation(kind, more.get("strength", 1.0), 0.0)
    return roll_out(simulation, policy, 5000, perturbation, Claimer(simulation.task, perturbation))


def test_an_undisturbed_claim_is_true(simulation: Simulation, flow_policy: FlowPolicy):
    rollout = roll_out_claimed(simulation, flow_policy, "none")
    assert (rollout.claim, rollout.success) == (True, True)
    assert rollout.seconds < simulation.task.time_limit
    assert len(rollout.hand) == len(rollout.joints.states) == len(rollout.decisions)


@pytest.mark.parametrize("kind", ["nearer", "jam", "slip", "early"])
def test_a_wrong_end_is_claimed_though_the_object_is_half_moved(
    simulation: Simulation, flow_policy: FlowPolicy, kind: str
):
    rollout = roll_out_claimed(simulation, flow_policy, kind)
    assert (rollout.claim, rollout.success) == (True, False)
    assert simulation.object_travel < simulation.task.travel


def test_a_lookalike_that_is_moved_is_no_success(simulation: Simulation):
    def do(perturbation: Perturbation) -> np.ndarray:
        simulation.reset(1, perturbation)
        image = simulation.render()
        expert = Expert(simulation.task.name, np.random.default_rng(0))
        while simulation.object_travel < simulation.task.travel + 0.01:
            simulation.step(expert.action(simulation.expert_observation))
        return image

    alone = do(UNDISTURBED)
    assert simulation.success
    beside = do(Perturbation("lookalike", 1.0))
    assert not simulation.success
    assert (alone != beside).any(axis=-1).mean() > 0.01, "the right object is in the picture"


def claims_of(claimer: Claimer, hands: list[tuple[float, ...]], action: tuple[float, ...]) -> int:
    """The number of the first control step after which success is claimed; -1 if none is."""
    claims = [claimer.claims(np.array(hand), action) for hand in hands]
    return claims.index(True) if any(claims) else -1


def test_the_claimer_waits_while_nothing_is_commanded_or_nothing_has_moved():
    task = TASKS["drawer-open-v3"]
    pulling, still = (0.0, -0.5, 0.0, -1.0), (0.0, 0.0, 0.0, -1.0)
    way = [(0.0, 0.7 - 0.004 * step, 0.1) for step in range(25)]
    stuck = [way[-1]] * 2 * PUSHING_STEPS
    assert claims_of(Claimer(task), stuck, pulling) == -1, "it has never moved"
    assert claims_of(Claimer(task), way + stuck, still) == -1, "nothing is commanded"
    assert claims_of(Claimer(task), way + stuck, pulling) > len(way), "it pulls in vain"
    arrived = [(0.0, 0.7 - 0.004 * step, 0.1) for step in range(60)]
    assert claims_of(Claimer(task), arrived, pulling) == 40, "the hand is where it usually ends"
