# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The paths of sampled action chunks through space, if their actions are Cartesian.

Joint actions have no path: this would need the robot's kinematics.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from failure_monitor.decision import PolicyFormat
from failure_monitor.display.view import SampledChunks
from failure_monitor.errors import UsageError
from failure_monitor.scores.base.reached_positions import sums_over_steps

MAX_DISTANCE = 1e3
"""Metres from the origin beyond which a path is left out: no robot reaches it, and it would exceed
the arithmetic of graphics cards."""

_ROTATION = re.compile(
    r"(r|w|q|rot.*|ang.*|ori.*|euler.*|rpy.*|quat.*|omega.*)[._/]?", re.IGNORECASE
)


@dataclass(frozen=True)
class CartesianAxes:
    """The action dimensions that move the tool, and their unit.

    Attributes:
        names: the actions along x, y and possibly z.
        metres: the length of an action of 1, in metres.
        start: where deltas and velocities start if positions are not measured, in metres.
    """

    names: tuple[str, ...]
    metres: float = 1.0
    start: tuple[float, float, float] = (0.0, 0.0, 0.0)


def axes_among(action_names: Sequence[str]) -> tuple[str, ...]:
    """Return the actions named like the axes of space, such as dx, dy and dz; empty without any.

    Names of rotations, such as rx, ry and rz, do not count.
    """
    for name in action_names:
        if name[-1:] not in ("x", "X") or _ROTATION.fullmatch(name[:-1]):
            continue
        others = ("y", "z") if name.endswith("x") else ("Y", "Z")
        axes = [name, *(name[:-1] + letter for letter in others)]
        found = tuple(axis for axis in axes if axis in action_names)
        if len(found) >= 2 and found[1] == axes[1]:
            return found
    return ()


def check_axes(names: Sequence[str], action_names: Sequence[str]) -> None:
    """Reject axes that are no actions, or not two or three.

    Raises:
        UsageError: names the axes, and the policy's actions.
    """
    unknown = [name for name in names if name not in action_names]
    if unknown or len(names) not in (2, 3):
        raise UsageError(
            f"the axes {', '.join(names)} are not two or three of the policy's actions "
            f"{', '.join(action_names)}: name those that move the tool along x, y and z"
        )


def paths(
    sampled: SampledChunks, policy: PolicyFormat, axes: CartesianAxes
) -> NDArray[np.float64]:
    """Return the paths of sampled chunks from their start, in metres, (B, 1 + H, 3).

    Paths that are not finite, or lead beyond `MAX_DISTANCE`, are NaN throughout. The path of
    absolute positions starts at the measured position, or if there is none at its first position.
    """
    indices = [policy.action_names.index(name) for name in axes.names]
    moves = np.zeros((*sampled.chunks.shape[:2], 3))
    with np.errstate(over="ignore", invalid="ignore"):
        moves[:, :, : len(indices)] = axes.metres * sampled.chunks[:, :, indices]
        start = _start(sampled, policy, axes)
        if policy.action_kind != "position":
            moves = (np.zeros(3) if start is None else start) + sums_over_steps(moves)
        first = moves[:, :1] if start is None else np.broadcast_to(start, (len(moves), 1, 3))
        found = np.concatenate([first, moves], axis=1)
        found[~(np.abs(found) < MAX_DISTANCE).all(axis=(1, 2))] = np.nan
    return found


def disagreement(found: NDArray[np.float64], apart: float) -> NDArray[np.float64]:
    """Return the distance of each point of each path from the median path, (B, 1 + H).

    Args:
        found: the paths, (B, 1 + H, 3); paths that are NaN stay NaN.
        apart: the distance in metres that is 1 in the result.
    """
    known = ~np.isnan(found[:, 0, 0])
    result = np.full(found.shape[:2], np.nan)
    if known.any():
        middle = np.median(found[known], axis=0)
        result[known] = np.linalg.norm(found[known] - middle, axis=2) / apart
    return result


def _start(
    sampled: SampledChunks, policy: PolicyFormat, axes: CartesianAxes
) -> NDArray[np.float64] | None:
    """Return where the tool is: as measured, otherwise as configured for deltas and velocities."""
    places = [policy.action_names[index] for index in policy.position_indices]
    if sampled.positions is not None and set(axes.names) <= set(places):
        measured = np.zeros(3)
        for axis, name in enumerate(axes.names):
            measured[axis] = axes.metres * sampled.positions[places.index(name)]
        return measured
    return None if policy.action_kind == "position" else np.array(axes.start)
