# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Stands around the policy that openpi serves, and puts into every answer what it is watched by.

policy = WatchedPolicy(create_trained_policy(config, checkpoint), checkpoint=checkpoint)
WebsocketPolicyServer(policy=policy, metadata=policy.metadata).serve_forever()
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from failure_monitor.decision import ActionKind
from failure_monitor.policies.openpi.messages import ACTIONS, KEY
from failure_monitor.policies.openpi.sampled import Sampled, require
from failure_monitor.policies.policy_class import UnsupportedPolicyError
from failure_monitor.policy_description import PolicyDescription

__all__ = ["UnsupportedPolicyError", "WatchedPolicy", "checkpoint_hash"]

logger = logging.getLogger(__name__)

CHECKPOINT_PARTS = ("model.safetensors", "params", "assets")
"""What of a checkpoint makes the policy: its weights, of PyTorch or JAX, and its normalisation."""


class WatchedPolicy:
    """openpi's policy, whose answers also hold an embedding and all sampled chunks.

    Attributes:
        description: what the policy states about itself.
    """

    def __init__(
        self,
        policy: Any,
        *,
        samples: int = 16,
        checkpoint: Path | str | None = None,
        action_names: Sequence[str] = (),
        action_kind: ActionKind | None = None,
        control_period: float | None = None,
    ) -> None:
        """Watch a policy.

        Args:
            policy: openpi's `Policy`, of a pi0 or pi0.5 in PyTorch or JAX.
            samples: the number of chunks per observation, the executed one among them.
            checkpoint: the local folder that it was loaded from; None leaves it unknown.
            action_names: the names of the action dimensions, in order.
            action_kind: the meaning of an action.
            control_period: the seconds from one executed action to the next.

        Raises:
            UnsupportedPolicyError: it cannot be watched; it is as it was.
        """
        if samples < 1:
            raise UnsupportedPolicyError(f"samples is {samples}: give 1 or more")
        require(policy, "_model", "_sample_actions", "_output_transform", "_is_pytorch_model")
        self._policy = policy
        self._sampler = _sampler(policy, samples)
        self._sample_actions = policy._sample_actions
        self._sampled: Sampled | None = None
        self._state: Any = None
        self._fault = ""
        self._is_given_up = False
        policy._sample_actions = self._sample
        self.description = PolicyDescription(
            policy="pi05" if getattr(policy._model, "pi05", False) else "pi0",
            checkpoint=checkpoint_hash(Path(checkpoint)) if checkpoint is not None else "",
            checkpoint_name=str(checkpoint or ""),
            action_names=tuple(action_names),
            action_kind=action_kind,
            unit="robot",
            control_period=control_period,
            dispersion_of="noise" if samples > 1 else "nothing",
            extras=self._sampler.extra_names,
        )

    @property
    def metadata(self) -> dict[str, Any]:
        """The policy's metadata and its description, for the server."""
        return {**self._policy.metadata, KEY: self.description.to_json()}

    def infer(self, obs: Mapping[str, Any], *, noise: Any = None) -> dict[str, Any]:
        """Return what the policy answers, and what it is watched by."""
        observation = dict(obs)
        asked = observation.pop(KEY, None)
        request = asked.get("request") if isinstance(asked, Mapping) else None
        self._sampled, self._fault = None, ""
        options = {} if noise is None else {"noise": noise}
        answer = dict(self._policy.infer(observation, **options))
        answer[KEY] = {"request": request, **self._watched(answer)}
        return answer

    def reset(self) -> None:
        """Start a rollout."""
        self._policy.reset()

    def close(self) -> None:
        """Give the policy back as it was."""
        self._policy._sample_actions = self._sample_actions
        self._sampler.close()

    def _sample(self, first: Any, observation: Any, *arguments: Any, **options: Any) -> Any:
        """Stand for the policy's `sample_actions`: of all chunks it gets the one it would have."""
        if not self._is_given_up:
            try:
                self._sampled = self._sampler(first, observation, *arguments, **options)
                self._state = _array(observation.state)[0]
                return self._sampled.executed
            except UnsupportedPolicyError as error:
                self._is_given_up = True
                self._fault = str(error)
                logger.error("the policy is no longer watched: %s", error)
            except Exception as error:
                self._fault = f"{type(error).__name__}: {error}"
                logger.exception("sampling further chunks failed, this decision is not watched")
            self._sampled = None
        return self._sample_actions(first, observation, *arguments, **options)

    def _watched(self, answer: Mapping[str, Any]) -> dict[str, Any]:
        """Return embedding and chunks in the robot's units, or why they are missing."""
        sampled = self._sampled
        if sampled is None:
            return {"error": self._fault or "the policy is no longer watched"}
        try:
            others = [self._in_robot_units(chunk) for chunk in sampled.chunks[1:]]
            chunks = np.stack([np.asarray(answer[ACTIONS]), *others]).astype(np.float32)
        except Exception as error:
            logger.exception("a decision is not watched: the output transforms failed")
            return {"error": f"{type(error).__name__}: {error}"}
        return {
            "embedding": sampled.embedding,
            "chunks": chunks,
            "extras": dict(sampled.extras),
        }

    def _in_robot_units(self, chunk: NDArray[np.float32]) -> Any:
        # Copies: openpi's transforms change their inputs in place.
        outputs = {"state": np.array(self._state), ACTIONS: np.array(chunk)}
        return np.asarray(self._policy._output_transform(outputs)[ACTIONS])


def checkpoint_hash(folder: Path) -> str:
    """Return the SHA-256 of a checkpoint's weights and normalisation, as hexadecimal.

    Raises:
        UnsupportedPolicyError: the folder is no checkpoint of openpi.
    """
    files = [
        path
        for part in CHECKPOINT_PARTS
        for path in sorted([folder / part, *(folder / part).rglob("*")])
        if path.is_file()
    ]
    if not any(path.relative_to(folder).parts[0] != "assets" for path in files):
        raise UnsupportedPolicyError(
            f"{folder}: is no checkpoint of openpi, it has neither model.safetensors nor params: "
            "give the folder of one training step, on this machine"
        )
    whole = hashlib.sha256()
    for path in files:
        of_file = hashlib.sha256()
        with path.open("rb") as content:
            while piece := content.read(1 << 20):
                of_file.update(piece)
        whole.update(f"{path.relative_to(folder).as_posix()} {of_file.hexdigest()}\n".encode())
    return whole.hexdigest()


def _sampler(policy: Any, samples: int) -> Any:
    if policy._is_pytorch_model:
        from failure_monitor.policies.openpi.torch_models import TorchSampler

        return TorchSampler(policy, samples)
    from failure_monitor.policies.openpi.jax_models import JaxSampler

    return JaxSampler(policy, samples)


def _array(values: Any) -> Any:
    return np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)
