# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Executing action chunks: one action per camera frame, a new decision every h_exec frames."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from failure_monitor.demo.policy import FlowPolicy


@dataclass(frozen=True)
class PolicyDecision:
    """What the policy computed at a decision: embedding (E,) and action chunks (B, H, D)."""

    embedding: npt.NDArray[np.float32]
    chunks: npt.NDArray[np.float32]


class ChunkExecution:
    """The policy's place in a rollout: which chunk it executes and how far it is."""

    def __init__(self, policy: FlowPolicy, rng: np.random.Generator) -> None:
        self._policy = policy
        self._rng = rng
        self._frame = 0
        self._chunk = np.empty((0, 0), dtype=np.float32)

    def observe(
        self, image: npt.NDArray[np.uint8], joints: npt.NDArray[np.floating]
    ) -> tuple[npt.NDArray[np.float32], PolicyDecision | None]:
        """Take a camera frame and joint positions (J,); return the action (D,) to execute.

        The decision comes with the frames at which one is taken: the first, then every h_exec-th.
        """
        decision = None
        place = self._frame % self._policy.h_exec
        if place == 0:
            embedding = self._policy.embed(image, joints)
            decision = PolicyDecision(embedding, self._policy.sample(embedding, self._rng))
            self._chunk = decision.chunks[0]
        self._frame += 1
        return self._chunk[place], decision
