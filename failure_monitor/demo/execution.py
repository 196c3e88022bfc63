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
        self._decided = 0
        self._chunk = np.empty((0, 0), dtype=np.float32)

    def act(self) -> npt.NDArray[np.float32] | None:
        """Return the action (D,) for this frame; None before the first decision.

        It comes from a decision of an earlier frame, so that no command goes out before the
        decision that it comes from can have been judged.
        """
        if self._frame == 0:
            return None
        return self._chunk[self._frame - self._decided]

    def observe(
        self, image: npt.NDArray[np.uint8], joints: npt.NDArray[np.floating]
    ) -> PolicyDecision | None:
        """Take this frame and joint positions (J,); decide at the first and every h_exec-th."""
        frame, self._frame = self._frame, self._frame + 1
        if frame % self._policy.h_exec:
            return None
        embedding = self._policy.embed(image, joints)
        decision = PolicyDecision(embedding, self._policy.sample(embedding, self._rng))
        self._chunk, self._decided = decision.chunks[0], frame
        return decision
