# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A LeRobot policy at work in the simulation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from examples.lerobot.environment import Observation, PickPlace
from examples.lerobot.plan import Plan
from examples.lerobot.training import load


@dataclass(frozen=True)
class Outcome:
    """How a rollout ended: whether with success, and after how many seconds."""

    plan: Plan
    success: bool
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Return it in JSON's own types."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Outcome:
        """Return what `to_json` wrote."""
        return cls(**{**content, "plan": Plan(**content["plan"])})


class RobotPolicy:
    """A policy with its processors, as a program that runs a robot has them."""

    def __init__(self, kind: str, checkpoint: Path) -> None:
        self.kind, self.checkpoint = kind, checkpoint
        self.policy: Any
        self.policy, self.preprocessor, self.postprocessor = load(kind, checkpoint)

    def start_rollout(self, plan: Plan) -> None:
        """Forget the last rollout; the policy's noise follows from the seed."""
        self.policy.reset()
        torch.manual_seed(plan.seed)

    def action(self, observation: Observation) -> NDArray[np.float32]:
        """Choose the next action (4,)."""
        batch = {name: torch.from_numpy(values) for name, values in observation.items()}
        with torch.inference_mode():
            chosen = self.policy.select_action(self.preprocessor(batch))
        action: NDArray[np.float32] = self.postprocessor(chosen)[0].numpy()
        return action


def roll_out(
    policy: RobotPolicy,
    environment: PickPlace,
    plan: Plan,
    before_action: Callable[[float], None] = lambda seconds: None,
) -> Outcome:
    """Run one rollout to its end, as fast as the computer can.

    Args:
        policy: decides.
        environment: where it runs.
        plan: what is run.
        before_action: is called with the seconds since the start before each action is chosen.
    """
    observation = environment.reset(plan.seed, plan.kind)
    policy.start_rollout(plan)
    while not environment.is_over:
        before_action(environment.time)
        observation = environment.step(policy.action(observation))
    return Outcome(plan, environment.success, environment.time)
