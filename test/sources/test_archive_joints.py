# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What an archive gives of joints, and that it survives being archived."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sources.test_archive import DECISIONS, LENGTHS, meta_json, refusal, write_arrays
from testbed.synthetic import POLICY, synthetic_rollout

from failure_monitor.joint_motion import JointMotion
from failure_monitor.sources.archive import write_archive
from failure_monitor.sources.rollout_set import RolloutSet
from failure_monitor.sources.rollouts import read_rollouts

STARTS = np.cumsum(LENGTHS) - LENGTHS
STEPS = 4
ARM = ("shoulder", "elbow")


def of_steps(seed: int, joints: int = 2) -> NDArray[np.float32]:
    """Steps between decisions, 0 where there was no decision before."""
    steps = np.random.default_rng(seed).normal(1.0, 1.0, (DECISIONS, STEPS, joints))
    steps[STARTS] = 0
    return steps.astype(np.float32)


def motions(path: Path) -> list[JointMotion | None]:
    return [rollout.joints for rollout in read_rollouts([path]).rollouts]


def test_steps_between_decisions_give_means_but_at_first_decisions(tmp_path: Path) -> None:
    steps, torques = of_steps(0), of_steps(1)
    states = steps[:, -1] + 1
    path = write_arrays(
        tmp_path / "arm.npz",
        joint_pos=states,
        joint_pos_hist=steps,
        joint_torque_hist=torques,
        meta_json=meta_json(joint_names=ARM),
    )
    names = ("shoulder/position", "elbow/position", "shoulder/effort", "elbow/effort")
    means = np.concatenate([steps.mean(axis=1), torques.mean(axis=1)], axis=1)
    for motion, start, length in zip(motions(path), STARTS, LENGTHS, strict=True):
        assert motion is not None
        assert motion.names == names
        assert np.isnan(motion.means[0]).all()
        np.testing.assert_allclose(motion.means[1:], means[start + 1 : start + length], rtol=1e-6)
        np.testing.assert_array_equal(motion.states[:, :2], states[start : start + length])
        # Without an array of its own, the newest is that of the last step.
        np.testing.assert_array_equal(
            motion.states[1:, 2:], torques[start + 1 : start + length, -1]
        )


def test_a_step_that_is_nan_was_not_executed(tmp_path: Path) -> None:
    steps = of_steps(0)
    steps[1, 2:] = np.nan
    path = write_arrays(tmp_path / "arm.npz", joint_vel_hist=steps)
    motion = motions(path)[0]
    assert motion is not None
    assert motion.names == ("joint1/velocity", "joint2/velocity")
    np.testing.assert_allclose(motion.means[1], steps[1, :2].mean(axis=0))
    np.testing.assert_allclose(motion.states[1], steps[1, 1])


@pytest.mark.parametrize("named", [None, ["finger"]])
def test_a_gripper_is_read_beside_joints(tmp_path: Path, named: list[str] | None) -> None:
    opening = np.linspace(0, 1, DECISIONS)
    path = write_arrays(
        tmp_path / "arm.npz",
        joint_pos_hist=of_steps(0),
        gripper=opening,
        meta_json=meta_json(joint_names=ARM, gripper_names=named),
    )
    motion = motions(path)[0]
    assert motion is not None
    assert motion.names[-1] == f"{named[0] if named else 'gripper'}/position"
    np.testing.assert_allclose(motion.states[:, -1], opening[: LENGTHS[0]])
    assert np.isnan(motion.means[:, -1]).all()


def test_a_gripper_alone_is_no_joints(tmp_path: Path) -> None:
    path = write_arrays(tmp_path / "arm.npz", gripper=np.zeros(DECISIONS))
    assert motions(path) == [None, None, None]


def test_efforts_that_are_always_zero_were_not_measured(tmp_path: Path) -> None:
    path = write_arrays(
        tmp_path / "arm.npz",
        joint_pos_hist=of_steps(0),
        joint_torque_hist=0 * of_steps(1),
        joint_torque=np.zeros((DECISIONS, 2)),
    )
    for motion in motions(path):
        assert motion is not None
        assert motion.names == ("joint1/position", "joint2/position")


def test_joints_and_commands_survive_being_archived(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    first, second, third = (replace(synthetic_rollout(n), sha256=str(n)) for n in range(3))
    length = len(first)

    def motion(names: tuple[str, ...], commands: tuple[str, ...] = ()) -> JointMotion:
        means = random.normal(size=(length, len(names)))
        means[0] = np.nan
        return JointMotion(
            names,
            random.normal(size=(length, len(names))),
            means,
            commands,
            random.normal(size=(length, len(commands))) if commands else None,
        )

    written = (
        motion(("elbow/position", "elbow/effort"), ("dx", "dy")),
        None,
        motion(("wrist/position", "elbow/position")),
    )
    rollouts = tuple(
        replace(rollout, joints=joints)
        for rollout, joints in zip((first, second, third), written, strict=True)
    )
    path = tmp_path / "set.npz"
    write_archive(path, RolloutSet(POLICY, rollouts))
    for motion_read, joints in zip(motions(path), written, strict=True):
        if joints is None:
            assert motion_read is None
            continue
        assert motion_read is not None
        assert motion_read.command_names == joints.command_names
        assert set(motion_read.names) == set(joints.names)
        selected = motion_read.select(joints.names)
        np.testing.assert_array_equal(selected.states, joints.states)
        np.testing.assert_array_equal(selected.means, joints.means)
        if joints.commands is None:
            assert motion_read.commands is None
        else:
            assert np.isnan(motion_read.commands[0]).all()  # type: ignore[index]
            np.testing.assert_array_equal(motion_read.commands[1:], joints.commands[1:])  # type: ignore[index]


def test_joints_of_another_shape_or_name_are_refused(tmp_path: Path) -> None:
    path = write_arrays(tmp_path / "arm.npz", meta_json=meta_json(joint_topics="/joint_states"))
    assert "'joint_topics' in 'meta_json' is \"/joint_states\", expected a list" in refusal(path)
    path = write_arrays(tmp_path / "sent.npz", meta_json=meta_json(commands_topic="/command"))
    assert "'commands_type' in 'meta_json' is \"\", expected one of geometry_msgs" in refusal(path)
    path = write_arrays(tmp_path / "arm.npz", joint_pos_hist=of_steps(0)[:-1])
    assert "'joint_pos_hist' is float32 (11, 4, 2), expected float (12, K, J)" in refusal(path)
    path = write_arrays(
        tmp_path / "arm.npz",
        joint_pos_hist=of_steps(0),
        meta_json=meta_json(joint_names=["elbow", "elbow"]),
    )
    assert (
        "'joint_names' in 'meta_json' is [\"elbow\", \"elbow\"], expected a list of 2 names, each "
        "another" in refusal(path)
    )


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        (
            {"joint_pos": (DECISIONS, 2), "joint_pos_hist": (DECISIONS, STEPS, 3)},
            "'joint_pos_hist' is float64 (12, 4, 3), expected float (12, K, 2)",
        ),
        (
            {"joint_pos": (DECISIONS, 2), "joint_vel": (DECISIONS, 3)},
            "'joint_vel' is float64 (12, 3), expected float (12, 2)",
        ),
        ({"joint_pos": (DECISIONS,)}, "'joint_pos' is float64 (12,), expected float (12, J)"),
        (
            {"joint_pos_hist": (DECISIONS, STEPS)},
            "'joint_pos_hist' is float64 (12, 4), expected float (12, K, J)",
        ),
        (
            {
                "joint_pos": (DECISIONS, 2),
                "gripper": (DECISIONS, 2),
                "gripper_hist": (DECISIONS, STEPS),
            },
            "'gripper_hist' is float64 (12, 4), expected float (12, K, 2)",
        ),
    ],
)
def test_arrays_of_joints_that_contradict_each_other_are_refused(
    tmp_path: Path, arrays: dict[str, tuple[int, ...]], words: str
) -> None:
    path = write_arrays(tmp_path / "arm.npz", **{k: np.ones(v) for k, v in arrays.items()})
    assert words in refusal(path)


def test_a_joint_without_a_name_is_refused(tmp_path: Path) -> None:
    meta = meta_json(joint_names=["", "elbow"])
    path = write_arrays(tmp_path / "arm.npz", joint_pos_hist=of_steps(0), meta_json=meta)
    assert "expected a list of 2 names, each another" in refusal(path)


def test_no_step_between_decisions_is_as_good_as_none_recorded(tmp_path: Path) -> None:
    steps = of_steps(0)[:, :0]
    path = write_arrays(tmp_path / "arm.npz", joint_pos=of_steps(0)[:, -1], joint_pos_hist=steps)
    for motion in motions(path):
        assert motion is not None
        assert np.isfinite(motion.states).all()
        assert np.isnan(motion.means).all()
    assert motions(write_arrays(tmp_path / "arm.npz", joint_pos_hist=steps)) == [None, None, None]


def test_a_quantity_is_one_of_a_joint(tmp_path: Path) -> None:
    values = np.ones((DECISIONS, 2))
    path = write_arrays(
        tmp_path / "arm.npz",
        joint_states=values,
        joint_means=values,
        meta_json=meta_json(joint_quantities=["elbow/position", "elbow/temperature"]),
    )
    assert "ending with /position or /velocity or /effort" in refusal(path)
