# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Executing action chunks: one action per camera frame, and a new decision every few frames."""

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
    """The policy's place in a rollout: which chunk it executes and how far it is.

    It may be steered: slower, by another sample of a decision than the first, and with a new
    decision before so many actions are executed.
    """

    def __init__(
        self, policy: FlowPolicy, rng: np.random.Generator, *, executed_actions: int = 0
    ) -> None:
        """Before the first frame of a rollout.

        Args:
            policy: what decides.
            rng: the noise that action chunks are sampled from.
            executed_actions: actions from one decision to the next; 0 for the policy's own h_exec.
        """
        self._policy = policy
        # The first action of a chunk belongs to the frame of its decision, and is not executed.
        self._most = min(executed_actions or policy.h_exec, policy.horizon - 1)
        self._rng = rng
        self._motion = np.array([name != "gripper" for name in policy.action_names])
        self._frame = 0
        self._decided = 0
        self._frames_to_execute = self._most
        self._chunk = np.empty((0, 0), dtype=np.float32)

    def act(self, speed: float = 1.0) -> npt.NDArray[np.float32] | None:
        """Return the action (D,) for this frame; None before the first decision.

        It comes from a decision of an earlier frame, so that the monitor has time to score a
        decision before the first command of it goes out.

        Args:
            speed: what the motion is multiplied by; the gripper's effort is not.
        """
        if self._frame == 0:
            return None
        action = self._chunk[self._frame - self._decided]
        return np.where(self._motion, np.float32(speed) * action, action)

    def observe(
        self, image: npt.NDArray[np.uint8], joints: npt.NDArray[np.floating]
    ) -> PolicyDecision | None:
        """Take this frame and joint positions (J,); decide at the first, and when it is time."""
        frame, self._frame = self._frame, self._frame + 1
        if 0 < frame < self._decided + self._frames_to_execute:
            return None
        embedding = self._policy.embed(image, joints)
        decision = PolicyDecision(embedding, self._policy.sample(embedding, self._rng))
        self._chunk, self._decided = decision.chunks[0], frame
        self._frames_to_execute = self._most
        return decision

    def choose(self, chunk: npt.NDArray[np.float32]) -> None:
        """Execute this chunk (H, D) of the last decision in place of its first sample."""
        self._chunk = chunk

    def trust(self, horizon: int) -> None:
        """Execute no more than `horizon` leading actions of the chunk before the next decision.

        One of them is, however few are trusted.
        """
        self._frames_to_execute = max(1, min(self._most, horizon - 1))
