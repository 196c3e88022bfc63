# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Tiny policies of LeRobot's real classes, with their processors and observations; no downloads.

They are for LeRobot 0.4.4 and 0.6.1. Their weights are random.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

JOINTS = 3
ACTIONS = ("shoulder.pos", "elbow.pos", "gripper.pos")
CAMERA = "observation.images.front"
IMAGE = (3, 64, 64)


@dataclass(frozen=True)
class LeRobotPolicy:
    """A policy with its pre- and postprocessor."""

    policy: Any
    preprocessor: Any
    postprocessor: Any

    def batch(self, seed: int = 0) -> dict[str, Any]:
        """Return an observation as it comes from the preprocessor."""
        return self.preprocessor(observation(seed))

    def act(self, seed: int = 0) -> Any:
        """Return the action for an observation in the robot's units, as LeRobot runs a policy."""
        return self.postprocessor(self.policy.select_action(self.batch(seed)))


def observation(seed: int = 0) -> dict[str, Any]:
    """Return an observation as it comes from a robot."""
    generator = torch.Generator().manual_seed(seed)
    return {
        "observation.state": torch.rand(JOINTS, generator=generator),
        CAMERA: torch.rand(*IMAGE, generator=generator),
        "task": "take the cube",
    }


def statistics() -> dict[str, dict[str, Any]]:
    """Return those of a data set whose actions are far from normalised."""
    vector = torch.arange(1.0, JOINTS + 1)
    of_vectors = {
        "mean": 10 * vector,
        "std": vector,
        "min": -20 * vector,
        "max": 30 * vector,
        "q01": -19 * vector,
        "q99": 29 * vector,
    }
    one = torch.ones(3, 1, 1)
    of_images = {"mean": 0.5 * one, "std": 0.3 * one, "min": 0 * one, "max": one}
    return {"observation.state": of_vectors, "action": of_vectors, CAMERA: of_images}


def act_policy(**options: Any) -> LeRobotPolicy:
    """Return an ACTPolicy with chunks of 12 actions, of which 5 are executed."""
    from lerobot.policies.act.configuration_act import ACTConfig
    from lerobot.policies.act.modeling_act import ACTPolicy

    settings: dict[str, Any] = {
        "chunk_size": 12,
        "n_action_steps": 5,
        "dim_model": 32,
        "n_heads": 2,
        "dim_feedforward": 48,
        "n_encoder_layers": 1,
        "n_vae_encoder_layers": 1,
        "latent_dim": 4,
        "pretrained_backbone_weights": None,
    }
    return _with_processors(ACTPolicy, ACTConfig, settings | options)


def diffusion_policy(**options: Any) -> LeRobotPolicy:
    """Return a DiffusionPolicy with chunks of 16 actions, of which 6 are executed."""
    from lerobot.policies.diffusion.configuration_diffusion import DiffusionConfig
    from lerobot.policies.diffusion.modeling_diffusion import DiffusionPolicy

    settings: dict[str, Any] = {
        "n_obs_steps": 2,
        "horizon": 16,
        "n_action_steps": 6,
        "down_dims": (16, 32),
        "n_groups": 4,
        "kernel_size": 3,
        "diffusion_step_embed_dim": 16,
        "spatial_softmax_num_keypoints": 6,
        "crop_shape": None,
        "num_train_timesteps": 20,
        "num_inference_steps": 4,
        "pretrained_backbone_weights": None,
    }
    return _with_processors(DiffusionPolicy, DiffusionConfig, settings | options)


def _with_processors(policy_class: Any, config_class: Any, settings: Any) -> LeRobotPolicy:
    from lerobot.policies.factory import make_pre_post_processors

    torch.manual_seed(0)
    config = config_class(**features(), device="cpu", push_to_hub=False, **settings)
    policy = policy_class(config).eval()
    before, after = make_pre_post_processors(config, dataset_stats=statistics())
    return LeRobotPolicy(policy, before, after)


def features() -> dict[str, Any]:
    """Return the features of observations and actions, for a policy's configuration."""
    from lerobot.configs.types import FeatureType, PolicyFeature

    return {
        "input_features": {
            "observation.state": PolicyFeature(type=FeatureType.STATE, shape=(JOINTS,)),
            CAMERA: PolicyFeature(type=FeatureType.VISUAL, shape=IMAGE),
        },
        "output_features": {
            "action": PolicyFeature(type=FeatureType.ACTION, shape=(len(ACTIONS),))
        },
    }
