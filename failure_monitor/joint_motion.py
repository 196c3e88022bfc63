# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What a robot's joints did from one decision to the next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from failure_monitor.errors import FailureMonitorError
from failure_monitor.listed_names import list_names

QuantityKind = Literal["position", "velocity", "effort"]
QUANTITY_KINDS: tuple[QuantityKind, ...] = get_args(QuantityKind)


MAX_UNKNOWN_SHARE = 0.1
"""Share of decisions without a mean of a quantity above which it is stated too seldom."""


class JointMotionError(FailureMonitorError):
    """Joints that lack a quantity that is needed of them."""


def quantity_names(joints: Sequence[str], kind: QuantityKind) -> tuple[str, ...]:
    """Return the names of one kind of quantity of some joints."""
    return tuple(f"{joint}/{kind}" for joint in joints)


def is_of_kind(quantity: str, kind: QuantityKind) -> bool:
    """Return whether a quantity is of a kind."""
    return quantity.endswith(f"/{kind}")


@dataclass(frozen=True, eq=False)
class JointMotion:
    """Measured quantities of the joints, at one decision (Q,) or at every decision (T, Q).

    A quantity is a joint's position, velocity or effort, in the units of its messages.

    Attributes:
        names: the names of the Q quantities, as `<joint>/position`, `<joint>/velocity` or
            `<joint>/effort`.
        states: float64, the newest values at the stamp of the decision.
        means: float64, the mean over all values after the stamp of the decision before, up to
            this one's; NaN at a rollout's first decision, and where no value came in between.
        command_names: the names of the C values of a command, as sent to the robot; empty if
            commands were not recorded.
        commands: float64 (C,) or (T, C), the mean over the commands sent since the stamp of the
            decision before; NaN where none was. None if they were not recorded.
    """

    names: tuple[str, ...]
    states: NDArray[np.float64]
    means: NDArray[np.float64]
    command_names: tuple[str, ...] = ()
    commands: NDArray[np.float64] | None = None

    def at(self, decisions: int | slice) -> JointMotion:
        """Return that of one decision, or of several in a row, of those of all decisions."""
        return replace(
            self,
            states=self.states[decisions],
            means=self.means[decisions],
            commands=None if self.commands is None else self.commands[decisions],
        )

    def as_rollout(self) -> JointMotion:
        """Return that of one decision as that of a rollout of one decision."""
        return replace(
            self,
            states=self.states[np.newaxis],
            means=self.means[np.newaxis],
            commands=None if self.commands is None else self.commands[np.newaxis],
        )

    def spread(self, names: Sequence[str]) -> JointMotion:
        """Return quantities in this order, NaN where these joints have none of that name."""
        if tuple(names) == self.names:
            return self
        columns = [names.index(name) for name in self.names]
        states, means = (np.full((*self.states.shape[:-1], len(names)), np.nan) for _ in range(2))
        states[..., columns], means[..., columns] = self.states, self.means
        return replace(self, names=tuple(names), states=states, means=means)

    def select(self, names: Sequence[str]) -> JointMotion:
        """Return some of the quantities, in this order.

        Raises:
            JointMotionError: one is missing.
        """
        if tuple(names) == self.names:
            return self
        missing = [name for name in names if name not in self.names]
        if missing:
            raise JointMotionError(
                f"the joints lack {list_names(missing)}; they have {list_names(self.names)}: "
                "publish and record the same of them as in calibration"
            )
        return self._of([self.names.index(name) for name in names])

    def select_commands(self, names: Sequence[str]) -> NDArray[np.float64]:
        """Return some of the values of commands, in this order; NaN where none was sent.

        Raises:
            JointMotionError: one is missing, or commands were not recorded.
        """
        if self.commands is None:
            raise JointMotionError(
                f"the commands as sent are not known ({list_names(names)}): publish and record "
                "them as in calibration (--commands-topic, 'commands_topic'), or calibrate again"
            )
        if tuple(names) == self.command_names:
            return self.commands
        missing = [name for name in names if name not in self.command_names]
        if missing:
            raise JointMotionError(
                f"the commands as sent lack {list_names(missing)}; they have "
                f"{list_names(self.command_names)}: send and record the same as in calibration"
            )
        return self.commands[..., [self.command_names.index(name) for name in names]]

    def given(self) -> JointMotion | None:
        """Return, of a rollout, the quantities that the robot gave; None if it gave none.

        One that is never a finite number was not given. Neither were efforts if all of them are
        0 all the time: drivers write that where they measure none. Commands were not if none is
        ever known.
        """
        values = np.concatenate([self.states, self.means])
        is_given = np.isfinite(values).any(axis=0)
        are_efforts = np.array([is_of_kind(name, "effort") for name in self.names], bool)
        if not np.nan_to_num(values[:, are_efforts]).any():
            is_given &= ~are_efforts
        if not is_given.any():
            return None
        given = self if is_given.all() else self._of(np.flatnonzero(is_given).tolist())
        # At a first decision no command is known, though they may have been recorded.
        if self.commands is not None and len(self.commands) > 1 and np.isnan(self.commands).all():
            given = replace(given, command_names=(), commands=None)
        return given

    def _of(self, columns: list[int]) -> JointMotion:
        return replace(
            self,
            names=tuple(self.names[column] for column in columns),
            states=self.states[..., columns],
            means=self.means[..., columns],
        )


def stacked(motions: Sequence[JointMotion]) -> JointMotion:
    """Return those of single decisions in a row; of quantities, those that any of them has.

    Args:
        motions: at least one.
    """
    names = max((motion.names for motion in motions), key=len)
    names += tuple(dict.fromkeys(n for m in motions for n in m.names if n not in names))
    spread = [motion.spread(names) for motion in motions]
    sent = tuple(dict.fromkeys(name for motion in motions for name in motion.command_names))
    commands = np.full((len(motions), len(sent)), np.nan)
    for row, motion in zip(commands, motions, strict=True):
        if motion.commands is not None:
            row[[sent.index(name) for name in motion.command_names]] = motion.commands
    return JointMotion(
        names,
        np.stack([motion.states for motion in spread]),
        np.stack([motion.means for motion in spread]),
        sent,
        commands if sent else None,
    )


def alike(motions: Sequence[JointMotion | None], lengths: Sequence[int]) -> list[JointMotion]:
    """Return those of several rollouts with the same quantities, NaN where one has none.

    Args:
        motions: at least one; None where nothing is known.
        lengths: the number of decisions of each rollout.
    """
    there = [motion for motion in motions if motion is not None]
    names = tuple(dict.fromkeys(name for motion in there for name in motion.names))
    sent = tuple(dict.fromkeys(name for motion in there for name in motion.command_names))
    result = []
    for motion, length in zip(motions, lengths, strict=True):
        nothing = np.empty((length, 0))
        known = JointMotion((), nothing, nothing) if motion is None else motion
        commands = np.full((length, len(sent)), np.nan)
        if known.commands is not None:
            commands[:, [sent.index(name) for name in known.command_names]] = known.commands
        result.append(
            replace(known.spread(names), command_names=sent, commands=commands if sent else None)
        )
    return result


def seldom_stated(motions: Sequence[JointMotion], names: Sequence[str]) -> tuple[str, ...]:
    """Return the quantities of which too often no value came between two decisions of rollouts.

    Those whose means are never known, as where none were recorded, are not among them.
    """
    if not names:
        return ()
    means = np.concatenate([motion.select(names).means[1:] for motion in motions])
    unknown = np.isnan(means).mean(axis=0) if len(means) else np.zeros(len(names))
    return tuple(
        name for name, share in zip(names, unknown, strict=True) if MAX_UNKNOWN_SHARE < share < 1
    )


def share_without_command(motions: Sequence[JointMotion], names: Sequence[str]) -> float:
    """Return before which share of decisions of rollouts no command was sent since the last."""
    if not names:
        return 0.0
    sent = np.concatenate([motion.select_commands(names)[1:] for motion in motions])
    return float(np.isnan(sent).any(axis=1).mean()) if len(sent) else 0.0
