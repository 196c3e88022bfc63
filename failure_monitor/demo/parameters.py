# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The parameters of the demo's robot and policy."""

from __future__ import annotations

from dataclasses import dataclass

from failure_monitor.demo.perturbation import KINDS, MAX_STRENGTH
from failure_monitor.demo.tasks import TASKS
from failure_monitor.errors import UsageError
from failure_monitor.parameters.parameter import Settable, parameter

FIRST_TASK = next(iter(TASKS))

ANY_TIME = Settable.ANY_TIME
"""While no rollout runs: the node rejects a change in a rollout."""


@dataclass(frozen=True)
class RobotParameters:
    """All parameters of the robot node; they describe the next rollout."""

    task: str = parameter(FIRST_TASK, "Task of the arm.", choices=tuple(TASKS), settable=ANY_TIME)
    seed: int = parameter(
        0, "Seed of the scene and of every random choice of a rollout.", settable=ANY_TIME
    )
    perturbation: str = parameter(
        "none", "What is perturbed in a rollout.", choices=KINDS, settable=ANY_TIME
    )
    strength: float = parameter(
        1.0,
        "Strength of the perturbation; at 1 most rollouts fail.",
        bounds=(0.0, MAX_STRENGTH),
        settable=ANY_TIME,
    )
    onset: float = parameter(
        0.5, "Simulated seconds until the perturbation.", bounds=(0.0, 60.0), settable=ANY_TIME
    )
    real_time_factor: float = parameter(
        1.0,
        "Simulated seconds per second; less where the machine is too slow.",
        bounds=(0.05, 20.0),
        settable=ANY_TIME,
    )
    claims: bool = parameter(
        False,
        "Whether a rollout ends where a caller that sees only hand and commands claims success.",
        settable=ANY_TIME,
    )
    time_limit: float = parameter(
        0.0,
        "Simulated seconds after which a rollout has failed; 0 for the task's own limit.",
        bounds=(0.0, 600.0),
        settable=ANY_TIME,
    )


@dataclass(frozen=True)
class PolicyParameters:
    """All parameters of the policy node."""

    task: str = parameter(FIRST_TASK, f"Task that the policy was trained for: {', '.join(TASKS)}.")
    models: str = parameter(
        "", "Folder of the policy's ONNX models; empty for those of the package."
    )
    seed: int = parameter(0, "Seed of the noise that action chunks are sampled from.")
    executed_actions: int = parameter(
        0, "Number of actions from one decision to the next; 0 for the policy's own number."
    )
    states_checkpoint: bool = parameter(
        True,
        "Whether policy/format states the checkpoint; without it, rollouts of two tasks may count "
        "as of one policy.",
    )
    obey_speed_scale: bool = parameter(False, "Whether to follow the monitor's speed scale.")
    obey_trusted_horizon: bool = parameter(
        False, "Whether to decide again after the actions that the samples agree on."
    )
    obey_chosen_chunk: bool = parameter(
        False, "Whether to execute the sample that the monitor chooses."
    )

    def check(self) -> None:
        """Reject a negative number of actions.

        Raises:
            UsageError: names the parameter.
        """
        if self.executed_actions < 0:
            raise UsageError(
                f"the parameter 'executed_actions' is {self.executed_actions}: choose 1 or more, "
                "or 0 for the policy's own number"
            )
