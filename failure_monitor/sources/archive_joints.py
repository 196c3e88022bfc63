# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What the joints did, in the arrays of a rollout archive.

Either as it was worked out, of Q quantities whose names are `joint_quantities` of meta_json:

    joint_states        (N, Q)     float, the newest values at the decision
    joint_means         (N, Q)     float, means since the decision before
    command_means       (N, C)     float, likewise of the commands sent: `command_names`

or as it was measured, of J joints whose names are `joint_names` of meta_json, in the K control
steps from the decision before to this one, the oldest first; a step that is NaN was not executed:

    joint_pos_hist, joint_vel_hist, joint_torque_hist   (N, K, J)  float
    joint_pos, joint_vel, joint_torque                  (N, J)     float, at the decision
    gripper_hist, gripper                               (N, K, G), (N, G); without the last axis
                                                        for one. Read beside those of joints.

At a rollout's first decision means and steps are not read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from failure_monitor.joint_motion import (
    QUANTITY_KINDS,
    JointMotion,
    QuantityKind,
    alike,
    quantity_names,
)
from failure_monitor.sources.archive_arrays import FLOATS, ArchiveArrays, Array, Size
from failure_monitor.sources.archive_meta import ArchiveMeta

MEASURED: Mapping[str, QuantityKind] = {
    "joint_pos": "position",
    "joint_vel": "velocity",
    "joint_torque": "effort",
}
"""What was measured of joints, by the name of its array."""

GRIPPER = "gripper"
KINDS = tuple(f"/{kind}" for kind in QUANTITY_KINDS)
"""With what the name of a quantity ends."""


def read_joints(
    arrays: ArchiveArrays, meta: ArchiveMeta, slices: Sequence[slice], decisions: int
) -> list[JointMotion | None]:
    """Return what the joints did in each rollout; None for each of which nothing is known.

    Args:
        arrays: those of the archive.
        meta: what meta_json states.
        slices: the decisions of each rollout.
        decisions: how many there are.
    """
    motion = _worked_out(arrays, meta, decisions) or _measured(arrays, meta, decisions)
    if motion is None:
        return [None] * len(slices)
    starts = [part.start for part in slices]
    motion.means[starts] = np.nan
    if motion.commands is not None:
        motion.commands[starts] = np.nan
    return [motion.at(part).given() for part in slices]


def written_joints(
    motions: Sequence[JointMotion | None], lengths: Sequence[int]
) -> tuple[dict[str, Array], dict[str, Sequence[str]]]:
    """Return the arrays of an archive, and the names for meta_json; empty without joints.

    Args:
        motions: what the joints did in each rollout.
        lengths: the number of decisions of each.
    """
    known = alike(motions, lengths)
    arrays: dict[str, Array] = {}
    named: dict[str, Sequence[str]] = {}
    if known[0].names:
        arrays["joint_states"] = np.concatenate([motion.states for motion in known])
        arrays["joint_means"] = np.concatenate([motion.means for motion in known])
        named["joint_quantities"] = known[0].names
    sent = [motion.commands for motion in known if motion.commands is not None]
    if sent:
        arrays["command_means"] = np.concatenate(sent)
        named["command_names"] = known[0].command_names
    return arrays, named


def _worked_out(arrays: ArchiveArrays, meta: ArchiveMeta, decisions: int) -> JointMotion | None:
    if "joint_states" not in arrays:
        return None
    states = arrays.read("joint_states", FLOATS, (decisions, "Q")).astype(np.float64)
    means = arrays.read("joint_means", FLOATS, states.shape).astype(np.float64)
    quantities = meta.names("joint_quantities", states.shape[1], (), KINDS)
    motion = JointMotion(quantities, states, means)
    if "command_means" not in arrays:
        return motion
    commands = arrays.read("command_means", FLOATS, (decisions, "C")).astype(np.float64)
    return replace(
        motion,
        command_names=meta.names("command_names", commands.shape[1], ()),
        commands=commands,
    )


def _measured(arrays: ArchiveArrays, meta: ArchiveMeta, decisions: int) -> JointMotion | None:
    """Return what was measured at decisions and in the steps between them."""
    parts = []
    size: Size = "J"
    for name, kind in MEASURED.items():
        if (of_joints := _states_and_means(arrays, name, decisions, size)) is not None:
            size = of_joints[0].shape[1]
            joints = meta.names(
                "joint_names", of_joints[0].shape[1], _numbered("joint", of_joints)
            )
            parts.append((quantity_names(joints, kind), *of_joints))
    if not parts:
        return None
    if (of_gripper := _states_and_means(arrays, GRIPPER, decisions, "G")) is not None:
        one = of_gripper[0].shape[1] == 1
        default = (GRIPPER,) if one else _numbered(GRIPPER, of_gripper)
        fingers = meta.names("gripper_names", of_gripper[0].shape[1], default)
        parts.append((quantity_names(fingers, "position"), *of_gripper))
    return JointMotion(
        tuple(name for some, _, _ in parts for name in some),
        np.concatenate([states for _, states, _ in parts], axis=1),
        np.concatenate([means for _, _, means in parts], axis=1),
    )


def _numbered(name: str, measured: tuple[Array, Array]) -> list[str]:
    return [f"{name}{number}" for number in range(1, measured[0].shape[1] + 1)]


def _states_and_means(
    arrays: ArchiveArrays, name: str, decisions: int, size: Size
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Return the values at each decision and their means over the steps before it, (N, J)."""
    steps_name = f"{name}_hist"
    states, steps = None, None
    if name in arrays:
        axes = _last_axis(arrays, name, 1, size)
        states = arrays.read(name, FLOATS, (decisions, *axes)).reshape(decisions, -1)
        size = states.shape[1]
    if steps_name in arrays:
        axes = _last_axis(arrays, steps_name, 2, size)
        steps = arrays.read(steps_name, FLOATS, (decisions, "K", *axes)).astype(np.float64)
        steps = steps[..., np.newaxis] if not axes else steps
    if steps is None or not steps.shape[1]:
        if states is None:
            return None
        return states.astype(np.float64), np.full(states.shape, np.nan)
    if states is None:
        states = _newest(steps)
    return states.astype(np.float64), _means(steps)


def _last_axis(arrays: ArchiveArrays, name: str, before: int, size: Size) -> tuple[Size, ...]:
    """Return the axis of joints behind so many; none where one gripper joint has none."""
    has_none = size in ("G", 1) and name.startswith(GRIPPER) and arrays.dimensions(name) == before
    return () if has_none else (size,)


def _means(steps: NDArray[np.float64]) -> NDArray[np.float64]:
    is_known = ~np.isnan(steps)
    counts = is_known.sum(axis=1)
    sums = np.where(is_known, steps, 0.0).sum(axis=1)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def _newest(steps: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the values of the newest step that was executed."""
    newest = steps[:, -1].copy()
    for step in range(steps.shape[1] - 2, -1, -1):
        newest = np.where(np.isnan(newest), steps[:, step], newest)
    return newest
