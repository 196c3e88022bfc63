# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Tiny policies of LeRobot's real classes, with their processors and observations; no downloads.

They are for LeRobot 0.4.4 and 0.6.1. Their weights are random.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any
from unittest.mock import patch

import torch

from testbed.tiny_language import byte_tokenizer, smolvlm_folder

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
    joints: int = JOINTS
    image: tuple[int, int, int] = IMAGE

    def batch(self, seed: int = 0) -> dict[str, Any]:
        """Return an observation as it comes from the preprocessor."""
        return self.preprocessor(observation(seed, self.joints, self.image))

    def act(self, seed: int = 0) -> Any:
        """Return the action for an observation in the robot's units, as LeRobot runs a policy."""
        return self.postprocessor(self.policy.select_action(self.batch(seed)))


def observation(
    seed: int = 0, joints: int = JOINTS, image: tuple[int, int, int] = IMAGE
) -> dict[str, Any]:
    """Return an observation as it comes from a robot."""
    generator = torch.Generator().manual_seed(seed)
    return {
        "observation.state": torch.rand(joints, generator=generator),
        CAMERA: torch.rand(*image, generator=generator),
        "task": "take the cube",
    }


def statistics(joints: int = JOINTS) -> dict[str, dict[str, Any]]:
    """Return those of a data set whose actions are far from normalised."""
    vector = torch.arange(1.0, joints + 1)
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


def smolvla_policy(**options: Any) -> LeRobotPolicy:
    """Return a SmolVLAPolicy with chunks of 10 actions, of which 4 are executed."""
    from lerobot.policies.smolvla.configuration_smolvla import SmolVLAConfig
    from lerobot.policies.smolvla.modeling_smolvla import SmolVLAPolicy

    settings: dict[str, Any] = {
        "chunk_size": 10,
        "n_action_steps": 4,
        "max_state_dim": 8,
        "max_action_dim": 8,
        "num_steps": 3,
        "num_vlm_layers": 2,
        "self_attn_every_n_layers": 2,
        "resize_imgs_with_padding": (32, 32),
        "vlm_model_name": smolvlm_folder(),
        "load_vlm_weights": False,
        "tokenizer_max_length": 24,
    }
    return _with_processors(SmolVLAPolicy, SmolVLAConfig, settings | options)


def pi0_policy(**options: Any) -> LeRobotPolicy:
    """Return a PI0Policy of LeRobot 0.6 with chunks of 10 actions, of which 4 are executed."""
    return _pi_policy("pi0", "PI0", options)


def pi05_policy(**options: Any) -> LeRobotPolicy:
    """Return a PI05Policy of LeRobot 0.6 with chunks of 10 actions, of which 4 are executed."""
    return _pi_policy("pi05", "PI05", options)


def has_pi_policies() -> bool:
    """Return whether this LeRobot's pi0 runs with the transformers that is installed."""
    try:
        return tuple(map(int, version("lerobot").split(".")[:2])) >= (0, 6)
    except PackageNotFoundError:
        return False


def _pi_policy(module: str, name: str, options: dict[str, Any]) -> LeRobotPolicy:
    folder = f"lerobot.policies.{module}"
    configuration = import_module(f"{folder}.configuration_{module}")
    modelling = import_module(f"{folder}.modeling_{module}")
    processor = import_module(f"{folder}.processor_{module}")
    settings: dict[str, Any] = {
        "chunk_size": 10,
        "n_action_steps": 4,
        "max_state_dim": 8,
        "max_action_dim": 8,
        "num_inference_steps": 3,
        "image_resolution": (32, 32),
        "tokenizer_max_length": 40,
        "dtype": "float32",
    }
    options = dict(options)
    sizes = _tiny_gemma(modelling, options.pop("gemma", {}))
    network = "PaliGemmaForConditionalGenerationWithPiGemma"
    step = partial(processor.TokenizerProcessorStep, tokenizer=byte_tokenizer())

    def tokenizer_step(*, tokenizer_name: str, **kwargs: Any) -> Any:
        return step(**kwargs)

    with (
        patch.object(modelling, "get_gemma_config", sizes),
        patch.object(modelling, "CONFIG_MAPPING", _tiny_paligemma(modelling.CONFIG_MAPPING)),
        patch.object(modelling, network, _tiny_vision(getattr(modelling, network))),
        patch.object(processor, "TokenizerProcessorStep", tokenizer_step),
    ):
        return _with_processors(
            getattr(modelling, f"{name}Policy"),
            getattr(configuration, f"{name}Config"),
            settings | options,
        )


def _tiny_gemma(modelling: Any, sizes: dict[str, dict[str, int]]) -> Any:
    """Return what states the sizes of the two language models, by the names of their variants."""
    tiny = {"width": 32, "depth": 2, "mlp_dim": 48, "head_dim": 8}
    return lambda variant: modelling.GemmaConfig(
        **tiny | sizes.get(variant, {}), num_heads=8, num_kv_heads=1
    )


def _tiny_paligemma(mapping: Any) -> Any:
    """Return the configurations of transformers, with a tiny vision network for PaliGemma."""
    vision = {
        "model_type": "siglip_vision_model",
        "hidden_size": 16,
        "num_attention_heads": 2,
        "num_hidden_layers": 1,
        "patch_size": 16,
        "image_size": 32,
    }
    paligemma = partial(
        mapping["paligemma"], projection_dim=32, hidden_size=32, vision_config=vision
    )
    return {"paligemma": paligemma, "gemma": mapping["gemma"]}


def _tiny_vision(network: Any) -> Any:
    """Return what makes a PaliGemma, with sizes that the policy sets for itself made tiny."""

    def made(config: Any) -> Any:
        config.vision_config.projection_dim = config.text_config.hidden_size
        config.vision_config.intermediate_size = 32
        return network(config=config)

    return made


def _with_processors(policy_class: Any, config_class: Any, settings: Any) -> LeRobotPolicy:
    from lerobot.policies.factory import make_pre_post_processors

    torch.manual_seed(0)
    joints = settings.pop("joints", JOINTS)
    image = settings.pop("image", IMAGE)
    config = config_class(**features(joints, image), device="cpu", push_to_hub=False, **settings)
    policy = policy_class(config).eval()
    before, after = make_pre_post_processors(config, dataset_stats=statistics(joints))
    return LeRobotPolicy(policy, before, after, joints, image)


def features(joints: int = JOINTS, image: tuple[int, int, int] = IMAGE) -> dict[str, Any]:
    """Return the features of observations and actions, for a policy's configuration."""
    from lerobot.configs.types import FeatureType, PolicyFeature

    return {
        "input_features": {
            "observation.state": PolicyFeature(type=FeatureType.STATE, shape=(joints,)),
            CAMERA: PolicyFeature(type=FeatureType.VISUAL, shape=image),
        },
        "output_features": {"action": PolicyFeature(type=FeatureType.ACTION, shape=(joints,))},
    }
