# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The parts of a rollout's end that are compared, each as a row of numbers with names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from failure_monitor.decision import PolicyFormat
from failure_monitor.joint_motion import JointMotionError
from failure_monitor.outcome.rollout_end import RolloutEnd

LAST = 3
"""Number of last decisions that are compared: a shorter rollout is not judged."""


class EndError(ValueError):
    """An end that lacks a part, or in which one is no number."""


@dataclass(frozen=True)
class EndFormat:
    """What the ends of a policy's rollouts are made of.

    Attributes:
        policy: the format of the decisions.
        joints: the names of the quantities of joints that are compared.
    """

    policy: PolicyFormat
    joints: tuple[str, ...] = ()

    def values(self, part: str, end: RolloutEnd) -> NDArray[np.float64]:
        """Return a part of an end, (V,).

        Raises:
            EndError: the end lacks it, or a value is NaN or infinite.
        """
        values = PARTS[part].values(self, end)
        if not np.isfinite(values).all():
            raise EndError(f"at its end the {PARTS[part].title} are NaN or infinite")
        return values

    def size(self, part: str) -> int:
        """Return V, the number of a part's values."""
        return len(self.names(part)) or self.policy.embedding_size

    def names(self, part: str) -> tuple[str, ...]:
        """Return the names of a part's values; none where only the whole has a meaning."""
        return PARTS[part].names(self)


@dataclass(frozen=True)
class EndPart:
    """A part of an end: how to get it, and what it is called.

    Attributes:
        title: what it is, in the plural, for the operator.
        values: returns its values.
        names: returns their names.
    """

    title: str
    values: Callable[[EndFormat, RolloutEnd], NDArray[np.float64]]
    names: Callable[[EndFormat], tuple[str, ...]]


def _embedding(format_: EndFormat, end: RolloutEnd) -> NDArray[np.float64]:
    return end.decisions[-1].embedding.astype(np.float64)


def _positions(format_: EndFormat, end: RolloutEnd) -> NDArray[np.float64]:
    """Return where the robot is, and how far it moved over the last decisions."""
    last = [decision.positions for decision in end.decisions[-LAST:]]
    known = [each.astype(np.float64) for each in last if each is not None]
    if len(known) < len(last):
        raise EndError("at its end no positions were measured")
    return np.concatenate([known[-1], known[-1] - known[0]])


def _position_names(format_: EndFormat) -> tuple[str, ...]:
    policy = format_.policy
    names = tuple(policy.action_names[index] for index in policy.position_indices)
    return (
        *(f"the position {name}" for name in names),
        *(f"the last motion of {name}" for name in names),
    )


def _joints(format_: EndFormat, end: RolloutEnd) -> NDArray[np.float64]:
    joints = end.decisions[-1].joints
    if joints is None:
        raise EndError("at its end no joint states were received")
    try:
        return np.asarray(joints.select(format_.joints).states, dtype=np.float64)
    except JointMotionError as error:
        raise EndError(f"at its end {error}") from None


def _actions(format_: EndFormat, end: RolloutEnd) -> NDArray[np.float64]:
    return np.array(end.decisions[-1].chunks[0], dtype=np.float64).ravel()


def _action_names(format_: EndFormat) -> tuple[str, ...]:
    policy = format_.policy
    return tuple(
        f"the commanded action {name}"
        for _ in range(policy.horizon)
        for name in policy.action_names
    )


def _length(format_: EndFormat, end: RolloutEnd) -> NDArray[np.float64]:
    return np.log([float(end.length)])


PARTS: Mapping[str, EndPart] = {
    "embedding": EndPart("embeddings", _embedding, lambda format_: ()),
    "positions": EndPart("measured positions", _positions, _position_names),
    "joints": EndPart("joint states", _joints, lambda format_: format_.joints),
    "actions": EndPart("last actions", _actions, _action_names),
    "length": EndPart("numbers of decisions", _length, lambda format_: ("length",)),
}
"""The parts by name."""


def rows(part: str, format_: EndFormat, ends: Sequence[RolloutEnd]) -> NDArray[np.float64]:
    """Return a part of several ends, (n, V).

    Raises:
        EndError: an end lacks it.
    """
    return np.stack([format_.values(part, end) for end in ends])
