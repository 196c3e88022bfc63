# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What the joints did, in the columns of a LeRobotDataset.

Either as this package wrote it, for each decision, or as it was measured at every frame: the
values of `observation.state`, whose names may end in `.pos`, `.vel` or `.torque`, and those of
columns that are called after what they hold, such as `observation.velocity`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from failure_monitor.joint_motion import JointMotion, QuantityKind
from failure_monitor.sources.lerobot_metadata import STATE, Feature

JOINT_STATES = "failure_monitor.joint_states"
JOINT_MEANS = "failure_monitor.joint_means"
COMMAND_MEANS = "failure_monitor.command_means"
JOINT_COLUMNS = (JOINT_STATES, JOINT_MEANS, COMMAND_MEANS)
"""Columns of what the joints did up to a decision, and of the commands that were sent."""

KINDS: Mapping[str, QuantityKind] = {
    **dict.fromkeys(("pos", "position", "positions"), "position"),
    **dict.fromkeys(("vel", "velocity", "velocities"), "velocity"),
    **dict.fromkeys(("effort", "efforts", "torque", "torques"), "effort"),
}
"""What is measured, by the ends of the names of columns and of their values."""


def written_joints(
    features: Mapping[str, Feature], columns: Mapping[str, NDArray[np.float64]]
) -> JointMotion | None:
    """Return what the joints did at the decisions of an episode, as this package wrote it.

    Args:
        features: those of the dataset.
        columns: the columns of joints at its decisions, as far as there are any.
    """
    if JOINT_STATES not in columns or JOINT_MEANS not in columns:
        return None
    means = columns[JOINT_MEANS].copy()
    means[0] = np.nan
    sent = columns.get(COMMAND_MEANS)
    if sent is not None:
        sent = sent.copy()
        sent[0] = np.nan
    return JointMotion(
        features[JOINT_STATES].names,
        columns[JOINT_STATES],
        means,
        features[COMMAND_MEANS].names if sent is not None else (),
        sent,
    ).given()


def measured_joints(
    features: Mapping[str, Feature],
    observations: Mapping[str, NDArray[np.float32]],
    decided: Sequence[int] | NDArray[np.int64],
    sent: NDArray[np.float32] | None = None,
    sent_names: tuple[str, ...] = (),
) -> JointMotion | None:
    """Return what the joints did up to each decision, of measurements at every frame.

    Args:
        features: those of the dataset.
        observations: the columns of vectors at every frame of an episode, (frames, …).
        decided: at which frames the decisions were taken.
        sent: the actions that were sent from each frame to the next, (frames, D); None for a
            motion without commands.
        sent_names: the names of these D actions.
    """
    values: dict[str, NDArray[np.float64]] = {}
    for column, observed in observations.items():
        for index, quantity in enumerate(_quantities(column, features[column])):
            values.setdefault(quantity, observed[:, index].astype(np.float64))
    if not values:
        return None
    frames = np.stack([*values.values()], axis=1)
    means = np.full((len(decided), len(values)), np.nan)
    for number, (before, now) in enumerate(pairwise(decided), 1):
        if now > before:
            means[number] = frames[before + 1 : now + 1].mean(axis=0)
    motion = JointMotion(tuple(values), frames[decided], means)
    if sent is not None:
        motion = replace(motion, command_names=sent_names, commands=_sent_means(sent, decided))
    return motion.given()


def _sent_means(
    sent: NDArray[np.float32], decided: Sequence[int] | NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the mean of what was sent since the decision before, NaN where nothing was."""
    means = np.full((len(decided), sent.shape[1]), np.nan)
    for number, (before, now) in enumerate(pairwise(decided), 1):
        if now > before:
            means[number] = sent[before:now].astype(np.float64).mean(axis=0)
    return means


def _quantities(column: str, feature: Feature) -> list[str]:
    """Return what the values of a column measure; none if they have no names."""
    kind = KINDS.get(column.rpartition(".")[2])
    if len(feature.shape) != 1 or (column != STATE and kind is None):
        return []
    quantities = []
    for name in feature.names:
        joint, dot, end = name.rpartition(".")
        if dot and end in KINDS:
            quantities.append(f"{joint}/{KINDS[end]}")
        else:
            quantities.append(f"{name}/{kind or 'position'}")
    return quantities
