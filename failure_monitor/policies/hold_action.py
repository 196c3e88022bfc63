# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The action that holds a robot, in the normalised space in which a LeRobot policy answers.

For absolute positions it is the last action that was executed. For velocities and deltas it is
the action that becomes zero once the postprocessor has turned it into the robot's units; actions
beside them, such as a gripper's opening, keep their last value.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from failure_monitor.decision import PolicyFormat
from failure_monitor.errors import FailureMonitorError

HARMLESS_STEPS = (
    "DeviceProcessorStep",
    "IdentityProcessorStep",
    "RenameObservationsProcessorStep",
    "UnnormalizerProcessorStep",
)
"""Steps of a postprocessor whose result depends on the action alone."""

TOLERANCE = 1e-4
"""Share of an action's range of normalisation by which a held action may miss zero."""


class InexpressibleHoldError(FailureMonitorError):
    """No action of the policy makes the robot hold."""


class HoldAction:
    """What a robot executes while it is held."""

    def __init__(self, policy: PolicyFormat, postprocessor: Any) -> None:
        """Find the action.

        Args:
            policy: the meaning of its actions.
            postprocessor: turns the policy's actions into the robot's.

        Raises:
            InexpressibleHoldError: there is none.
        """
        _check_steps(postprocessor)
        self._moving: tuple[int, ...] = (
            () if policy.action_kind == "position" else policy.position_indices
        )
        self._zeros = _zeros(postprocessor, policy.action_names, self._moving)
        self.needs_last = len(self._moving) < len(policy.action_names)
        """Whether an action must have been executed before."""

    def after(self, action: Any) -> Any:
        """Return the action that holds after an action, as a tensor of the same shape (..., D)."""
        held = action.detach().clone()
        if self._moving:
            moving = list(self._moving)
            held[..., moving] = self._zeros.to(device=held.device, dtype=held.dtype)[moving]
        return held


def _check_steps(postprocessor: Any) -> None:
    others = [
        type(step).__name__
        for step in getattr(postprocessor, "steps", ())
        if type(step).__name__ not in HARMLESS_STEPS and getattr(step, "enabled", True)
    ]
    if others:
        raise InexpressibleHoldError(
            f"the postprocessor's step {', '.join(others)} may depend on more than the action, so "
            "no action of the policy is known to hold the robot: guard it with on_alarm='raise', "
            "or by the gate of failure_monitor's ROS nodes"
        )


def _zeros(postprocessor: Any, names: Sequence[str], moving: Sequence[int]) -> Any:
    """Return a normalised action, (D,), whose moving dimensions are zero for the robot."""
    import torch

    def robot_action(normalised: Any) -> Any:
        return postprocessor(normalised[None].float())[0].detach().cpu().double()

    with torch.no_grad():
        at_zero, at_one = (
            robot_action(torch.full((len(names),), float(value))) for value in (0, 1)
        )
        slope = at_one - at_zero
        zeros = torch.where(slope == 0, torch.zeros_like(slope), -at_zero / slope)
        reached = robot_action(zeros).abs()
    # What is not finite is not below a limit either.
    wrong = [
        names[index]
        for index in moving
        if not float(reached[index]) <= TOLERANCE * abs(float(slope[index]))
    ]
    if wrong:
        raise InexpressibleHoldError(
            f"no action of the policy is zero for the robot in {', '.join(wrong)}, as its "
            "postprocessor is: guard it with on_alarm='raise', or by the gate of "
            "failure_monitor's ROS nodes"
        )
    return zeros
