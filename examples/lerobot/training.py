# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Trains LeRobot's policies on demonstrations, and saves them as LeRobot saves them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lerobot.configs.types import FeatureType, PolicyFeature
from lerobot.policies.act.configuration_act import ACTConfig
from lerobot.policies.diffusion.configuration_diffusion import DiffusionConfig
from lerobot.policies.factory import get_policy_class, make_pre_post_processors
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from examples.lerobot.demonstrations import Demonstration
from examples.lerobot.environment import ACTION_NAMES, ENVIRONMENT, SIZES, STATE

EXECUTED_ACTIONS = 4
"""Of a chunk of 16: a decision every 0.2 s."""

BATCH = 64
LEARNING_RATE = 1e-3

_FEATURES: dict[str, Any] = {
    "input_features": {
        STATE: PolicyFeature(FeatureType.STATE, (SIZES[STATE],)),
        ENVIRONMENT: PolicyFeature(FeatureType.ENV, (SIZES[ENVIRONMENT],)),
    },
    "output_features": {"action": PolicyFeature(FeatureType.ACTION, (len(ACTION_NAMES),))},
    "device": "cpu",
}


def act() -> ACTConfig:
    """Configure an ACT of half a million parameters."""
    return ACTConfig(
        **_FEATURES,
        chunk_size=16,
        n_action_steps=EXECUTED_ACTIONS,
        dim_model=96,
        n_heads=4,
        dim_feedforward=256,
        n_encoder_layers=3,
        n_vae_encoder_layers=2,
        dropout=0.0,
        pretrained_backbone_weights=None,
    )


def diffusion() -> DiffusionConfig:
    """Configure a Diffusion policy of half a million parameters that denoises in five steps."""
    return DiffusionConfig(
        **_FEATURES,
        n_obs_steps=2,
        horizon=16,
        n_action_steps=EXECUTED_ACTIONS,
        down_dims=(64, 128),
        kernel_size=3,
        diffusion_step_embed_dim=64,
        noise_scheduler_type="DDIM",
        num_inference_steps=5,
        prediction_type="sample",
    )


CONFIGURATIONS: dict[str, Callable[[], ACTConfig | DiffusionConfig]] = {
    "act": act,
    "diffusion": diffusion,
}


def train(
    kind: str,
    demonstrations: Sequence[Demonstration],
    steps: int,
    checkpoint: Path,
    seed: int = 0,
    report: Callable[[str], None] = lambda text: None,
) -> None:
    """Train a policy of that kind and save it with its processors.

    The weights are an exponential moving average over the steps.
    """
    torch.manual_seed(seed)
    config = CONFIGURATIONS[kind]()
    windows = _Windows(demonstrations, config)
    policy = get_policy_class(kind)(config)
    preprocessor, postprocessor = make_pre_post_processors(config, dataset_stats=windows.stats())
    average = AveragedModel(policy, multi_avg_fn=get_ema_multi_avg_fn(0.995), use_buffers=False)
    optimiser = torch.optim.AdamW(policy.parameters(), LEARNING_RATE, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, LEARNING_RATE, total_steps=steps, pct_start=0.05
    )
    policy.train()
    began, losses = time.monotonic(), 0.0
    for step in range(1, steps + 1):
        loss, _ = policy(preprocessor(windows.draw(BATCH)))
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(policy.parameters(), 10.0)
        optimiser.step()
        schedule.step()
        average.update_parameters(policy)
        losses += loss.item()
        if step % max(1, steps // 5) == 0:
            mean = losses / max(1, steps // 5)
            seconds = time.monotonic() - began
            report(f"{kind}: step {step} of {steps}, loss {mean:.4f}, {seconds:.0f} s")
            losses = 0.0
    average.module.eval().save_pretrained(checkpoint)
    preprocessor.save_pretrained(checkpoint)
    postprocessor.save_pretrained(checkpoint)


def load(kind: str, checkpoint: Path) -> tuple[Any, Any, Any]:
    """Load a policy, its preprocessor and its postprocessor, as LeRobot's own commands do."""
    policy = get_policy_class(kind).from_pretrained(checkpoint).eval()
    preprocessor, postprocessor = make_pre_post_processors(policy.config, str(checkpoint))
    return policy, preprocessor, postprocessor


class _Windows:
    """Draws what the policy is trained on: past observations and future actions."""

    def __init__(
        self, demonstrations: Sequence[Demonstration], config: ACTConfig | DiffusionConfig
    ) -> None:
        self._values = {
            name: np.concatenate(
                [[seen[name] for seen in each.observations] for each in demonstrations]
            )
            for name in SIZES
        }
        self._values["action"] = np.concatenate([each.actions for each in demonstrations])
        lengths = [len(each.actions) for each in demonstrations]
        ends = np.cumsum(lengths)
        self._first = np.repeat(ends - lengths, lengths)
        self._last = np.repeat(ends - 1, lengths)
        self._past = config.observation_delta_indices
        self._future = np.array(config.action_delta_indices)

    def stats(self) -> dict[str, dict[str, Tensor]]:
        """Return what the processors normalise by."""
        return {
            name: {
                "mean": torch.from_numpy(values.mean(0)),
                "std": torch.from_numpy(values.std(0)),
                "min": torch.from_numpy(values.min(0)),
                "max": torch.from_numpy(values.max(0)),
            }
            for name, values in self._values.items()
        }

    def draw(self, count: int) -> dict[str, Tensor]:
        """Draw that many windows."""
        rows = torch.randint(len(self._first), (count,)).numpy()
        first, last = self._first[rows], self._last[rows]
        seen = (
            rows if self._past is None else np.maximum(rows[:, None] + self._past, first[:, None])
        )
        wanted = rows[:, None] + self._future
        batch = {name: torch.from_numpy(self._values[name][seen]) for name in SIZES}
        within = np.clip(wanted, first[:, None], last[:, None])
        batch["action"] = torch.from_numpy(self._values["action"][within])
        batch["action_is_pad"] = torch.from_numpy(wanted > last[:, None])
        return batch
