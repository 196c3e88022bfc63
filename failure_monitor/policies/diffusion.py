# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""How LeRobot's DiffusionPolicy is watched."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from failure_monitor.policies.path_bend import DENOISING_BEND, path_bend
from failure_monitor.policies.policy_class import Decided
from failure_monitor.policies.twin import twin

CONDITIONING = "diffusion._prepare_global_conditioning"
SAMPLE = "diffusion.conditional_sample"
PREDICT = "diffusion.unet.forward"


class Diffusion:
    """LeRobot's DiffusionPolicy, with DDPM or DDIM."""

    kind = "diffusion"
    samples = 16
    has_noise = True
    decides = "diffusion.generate_actions"
    records: tuple[str, ...] = (CONDITIONING, SAMPLE)
    follows: tuple[str, ...] = (PREDICT,)
    needs: tuple[str, ...] = (
        "diffusion.unet",
        "diffusion.noise_scheduler",
        "config.n_obs_steps",
        "config.n_action_steps",
        "config.horizon",
        "_queues",
    )

    def encode(self, policy: Any, decided: Decided) -> Any:
        """Return the conditioning of the denoising network, (1, E)."""
        if CONDITIONING in decided.recorded:
            return decided.recorded[CONDITIONING]
        batch = decided.arguments[0] if decided.arguments else decided.named["batch"]
        return twin(policy.diffusion)._prepare_global_conditioning(batch)

    def embedding(self, encoding: Any) -> Any:
        """Return the conditioning."""
        return encoding[0]

    def extra_names(self, policy: Any) -> Sequence[str]:
        """Return the bend of the way from noise; none for DDPM, whose steps add noise."""
        scheduler = getattr(policy.config, "noise_scheduler_type", None)
        return (DENOISING_BEND,) if scheduler == "DDIM" else ()

    def extras(self, policy: Any, decided: Decided) -> Mapping[str, float]:
        """Return the bend of the way on which the executed chunk came about."""
        predicted = [one[0] for one in decided.followed.get(PREDICT, ())]
        named = self.extra_names(policy) if predicted else ()
        return {name: path_bend(predicted) for name in named}

    def tokens(self, policy: Any, decided: Decided, encoding: Any) -> Any:
        """Return none: the denoising network has no tokens."""
        return None

    def chunk(self, policy: Any, decided: Decided) -> Any:
        """Return the actions that were sampled, from the present one on."""
        whole = decided.recorded.get(SAMPLE)
        return decided.result if whole is None else self._from_now(policy, whole)

    def plan(self, policy: Any, decided: Decided, action: Any) -> Any:
        """Return the actions that were sampled: all of them are those of the queue, and more."""
        return self.chunk(policy, decided)

    def sample(
        self, policy: Any, decided: Decided, encoding: Any, rows: int, generator: Any
    ) -> Any:
        """Return further samples for the same conditioning."""
        model = twin(policy.diffusion)
        model._modules["unet"] = twin(model.unet)
        model.noise_scheduler = copy.copy(model.noise_scheduler)
        noise = _noise(decided) if generator is None else None
        sampled = model.conditional_sample(
            rows, global_cond=encoding.expand(rows, -1), generator=generator, noise=noise
        )
        chunks = self._from_now(policy, sampled)
        if decided.result is not None and SAMPLE not in decided.recorded:
            return chunks[:, : decided.result.shape[1]]
        return chunks

    def between(self, policy: Any, batch: Any) -> Decided:
        """Return a decision from the observations that the policy has collected."""
        stacked = {
            name: torch.stack(list(observations), dim=1)
            for name, observations in policy._queues.items()
            if name != "action" and len(observations) > 0
        }
        return Decided((stacked,))

    def queued(self, policy: Any) -> Sequence[Any]:
        """Return the actions of the queue."""
        return list(policy._queues["action"])

    def _from_now(self, policy: Any, sampled: Any) -> Any:
        return sampled[:, policy.config.n_obs_steps - 1 :]


def _noise(decided: Decided) -> Any:
    return decided.arguments[1] if len(decided.arguments) > 1 else decided.named.get("noise")
