# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""LeRobot's policies as two torch modules each, an encoder and a sampler, for their export.

The modules run the methods of the policy itself, between what the robot sees and its own units.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

STATE, IMAGES = "observation.state", "observation.images"
TOKENS, TOKENS_MASK = "observation.language.tokens", "observation.language.attention_mask"


def channels_first(pixels: Tensor) -> Tensor:
    """Return pixels (…, height, width, 3) as numbers from 0 to 1, (…, 3, height, width)."""
    last = pixels.ndim - 1
    return pixels.float().permute(*range(last - 2), last, last - 2, last - 1) / 255


class Preprocessing(nn.Module):  # type: ignore[misc]
    """What the preprocessor does with images and joints: names and normalisation."""

    def __init__(
        self,
        cameras: Sequence[str],
        policy_names: Sequence[str],
        normalise: Callable[[dict[str, Tensor]], dict[str, Tensor]],
        *,
        has_joints: bool,
    ) -> None:
        """Create the module.

        Args:
            cameras: the names of the cameras.
            policy_names: what the policy calls their images.
            normalise: normalises an observation.
            has_joints: whether joint positions follow the images.
        """
        super().__init__()
        self.cameras = tuple(cameras)
        self.policy_names = tuple(policy_names)
        self._normalise = normalise
        self._has_joints = has_joints

    def forward(self, *inputs: Tensor) -> dict[str, Tensor]:
        """Return the normalised observation of images (N, …, height, width, 3) and joints."""
        seen = {
            name: channels_first(image)
            for name, image in zip(self.policy_names, inputs, strict=False)
        }
        if self._has_joints:
            seen[STATE] = inputs[len(self.policy_names)]
        return self._normalise(seen)


Units = Callable[[Tensor], Tensor]
"""Turns normalised actions into the robot's units."""


class DiffusionEncoder(nn.Module):  # type: ignore[misc]
    """The global conditioning of a DiffusionPolicy."""

    def __init__(self, policy: Any, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.model = policy.diffusion
        self.preprocessing = preprocessing
        self.has_history = policy.config.n_obs_steps > 1

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return the global conditioning of observations."""
        if not self.has_history:
            inputs = tuple(one[:, None] for one in inputs)
        seen = self.preprocessing(*inputs)
        images = [seen[name] for name in self.preprocessing.policy_names]
        batch = {STATE: seen[STATE], IMAGES: torch.stack(images, dim=-4)}
        # Torchvision rounds a picture's sides, which are no plain numbers while torch records.
        with patch("torchvision.transforms.functional.center_crop", _cropped):
            conditioning: Tensor = self.model._prepare_global_conditioning(batch)
        return conditioning


def _cropped(picture: Tensor, size: Sequence[int]) -> Tensor:
    """Return the middle of a picture whose size is fixed."""
    top, left = (
        round((int(side) - wanted) / 2)
        for side, wanted in zip(picture.shape[-2:], size, strict=True)
    )
    return picture[..., top : top + size[0], left : left + size[1]]


class DiffusionSampler(nn.Module):  # type: ignore[misc]
    """The denoising of a DiffusionPolicy; with DDPM the noise of every step is an input."""

    def __init__(self, policy: Any, to_units: Units) -> None:
        super().__init__()
        self.model = policy.diffusion
        self.first = policy.config.n_obs_steps - 1
        self.to_units = to_units
        actions = policy.config.action_feature.shape[0]
        self.chunk_shape = policy.config.horizon, actions
        self.draws = self._count_draws()
        """How often noise is drawn beside the first; with DDIM never."""

    @property
    def noise_shape(self) -> tuple[int, ...]:
        """The shape of the noise for one chunk."""
        return (1 + self.draws, *self.chunk_shape) if self.draws else self.chunk_shape

    def forward(self, embedding: Tensor, noise: Tensor) -> Tensor:
        """Return chunks that are denoised from noise."""
        rows = _for_each_sample(embedding, noise)
        flat = noise.flatten(0, 1)
        first, *further = flat.unbind(1) if self.draws else [flat]
        with drawn_instead(iter(further)):
            chunks = self.model.conditional_sample(len(flat), global_cond=rows, noise=first)
        return self.to_units(chunks[:, self.first :]).unflatten(0, noise.shape[:2])

    def _count_draws(self) -> int:
        drawn: list[Tensor] = []

        def draw() -> Iterator[Tensor]:
            while True:
                drawn.append(torch.zeros(1, *self.chunk_shape))
                yield drawn[-1]

        conditioning = torch.zeros(1, _conditioning_size(self.model))
        with torch.no_grad(), drawn_instead(draw()):
            noise = torch.zeros(1, *self.chunk_shape)
            self.model.conditional_sample(1, global_cond=conditioning, noise=noise)
        return len(drawn)


@contextmanager
def drawn_instead(noise: Iterator[Tensor]) -> Iterator[None]:
    """Have the schedulers of diffusers take the noise of their steps from here."""
    places = [f"diffusers.schedulers.scheduling_{kind}.randn_tensor" for kind in ("ddpm", "ddim")]

    def take(*_: Any, **__: Any) -> Tensor:
        return next(noise)

    with patch(places[0], take), patch(places[1], take):
        yield


class ACTEncoder(nn.Module):  # type: ignore[misc]
    """The tokens of an ACTPolicy's encoder, and their mean."""

    def __init__(self, policy: Any, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.model = policy.model
        self.preprocessing = preprocessing

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean of the tokens, and the tokens (N, S, C)."""
        tokens: list[Tensor] = []
        hook = self.model.encoder.register_forward_hook(lambda *call: tokens.append(call[-1]))
        try:
            self.model(self.batch(*inputs))
        finally:
            hook.remove()
        return tokens[0].mean(dim=0), tokens[0].transpose(0, 1)

    def batch(self, *inputs: Tensor) -> dict[str, Any]:
        """Return the normalised observation as the model takes it."""
        seen = self.preprocessing(*inputs)
        return {**seen, IMAGES: [seen[name] for name in self.preprocessing.policy_names]}


class ACTSampler(nn.Module):  # type: ignore[misc]
    """The decoder of an ACTPolicy: one chunk for each observation."""

    def __init__(
        self, policy: Any, encoder: ACTEncoder, inputs: Sequence[Tensor], to_units: Units
    ):
        """Create the module.

        Args:
            policy: the policy.
            encoder: its encoder.
            inputs: an observation, which determines where the tokens are.
            to_units: turns normalised actions into the robot's units.
        """
        super().__init__()
        self.model = policy.model
        self.to_units = to_units
        places: list[Tensor] = []

        def remember(_: Any, __: Any, named: Mapping[str, Tensor]) -> None:
            places.append(named["encoder_pos_embed"])

        hook = self.model.decoder.register_forward_pre_hook(remember, with_kwargs=True)
        try:
            with torch.no_grad():
                self.model(encoder.batch(*inputs))
        finally:
            hook.remove()
        self.register_buffer("places", places[0][:, :1].clone())

    def forward(self, embedding: Tensor, tokens: Tensor) -> Tensor:
        """Return the chunk of each observation."""
        model = self.model
        start = tokens.new_zeros(model.config.chunk_size, tokens.shape[0], tokens.shape[2])
        decoded = model.decoder(
            start,
            tokens.transpose(0, 1),
            encoder_pos_embed=self.places,
            decoder_pos_embed=model.decoder_pos_embed.weight.unsqueeze(1),
        )
        return self.to_units(model.action_head(decoded.transpose(0, 1)))[:, None]


class SmolVLAEncoder(nn.Module):  # type: ignore[misc]
    """What the network of a SmolVLAPolicy makes of an observation and its task."""

    def __init__(
        self, policy: Any, preprocessing: Preprocessing, inputs: Sequence[Tensor]
    ) -> None:
        """Create the module.

        Args:
            policy: the policy.
            preprocessing: of its observations.
            inputs: an observation, which determines where the patches of pictures are.
        """
        super().__init__()
        self.policy = policy
        self.preprocessing = preprocessing
        vision = policy.model.vlm_with_expert.get_vlm_model().vision_model.embeddings
        self.patches = vision.patch_embedding
        self._vision = [vision]
        places: list[Tensor] = []
        hook = vision.position_embedding.register_forward_hook(
            lambda *call: places.append(call[-1])
        )
        try:
            with torch.no_grad():
                self._read(inputs)
        finally:
            hook.remove()
        self.register_buffer("places", places[0][:1].clone())

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the mean of the valid tokens, which are valid, and what is remembered."""
        # A picture's size is fixed, so its patches need not be looked for by masks.
        with patch.object(self._vision[0], "forward", self._embed_picture), exportable_sums():
            (tokens, _), remembered, is_valid = self._read(inputs)
        weights = is_valid.to(tokens.dtype)[..., None]
        embedding = (tokens * weights).sum(1) / weights.sum(1)
        layers = [
            torch.stack([layer["key_states"], layer["value_states"]], dim=1)
            for _, layer in sorted(remembered.items())
        ]
        return embedding, is_valid, torch.stack(layers, dim=1)

    def _embed_picture(self, pixel_values: Tensor, patch_attention_mask: Tensor) -> Tensor:
        return self.patches(pixel_values).flatten(2).transpose(1, 2) + self.places

    def _read(self, inputs: Sequence[Tensor]) -> tuple[Any, Any, Tensor]:
        """Return the tokens, what the network remembers of them, and which are valid."""
        *seen, tokens, mask = inputs
        from lerobot.policies.smolvla.modeling_smolvla import make_att_2d_masks

        batch = self.preprocessing(*seen)
        images, are_there = self.policy.prepare_images(batch)
        model = self.policy.model
        prefix, is_valid, attends = model.embed_prefix(
            images, are_there, tokens, mask, state=self.policy.prepare_state(batch)
        )
        read, remembered = model.vlm_with_expert.forward(
            attention_mask=make_att_2d_masks(is_valid, attends),
            position_ids=torch.cumsum(is_valid, dim=1) - 1,
            past_key_values=None,
            inputs_embeds=[prefix, None],
            use_cache=True,
            fill_kv_cache=True,
        )
        return read, remembered, is_valid


class SmolVLASampler(nn.Module):  # type: ignore[misc]
    """The flow of a SmolVLAPolicy from noise to chunks."""

    def __init__(self, policy: Any, to_units: Units) -> None:
        super().__init__()
        self.model = policy.model
        self.actions = policy.config.action_feature.shape[0]
        self.to_units = to_units

    def forward(self, embedding: Tensor, valid: Tensor, memory: Tensor, noise: Tensor) -> Tensor:
        """Return chunks that flow from noise."""
        rows, is_valid = _for_each_sample(memory, noise), _for_each_sample(valid, noise)
        remembered = {
            number: {"key_states": layer[:, 0], "value_states": layer[:, 1]}
            for number, layer in enumerate(rows.unbind(1))
        }
        chunks, steps = noise.flatten(0, 1), self.model.config.num_steps
        with exportable_sums():
            for step in range(steps):
                time = torch.ones_like(chunks[:, 0, 0]) * (1.0 - step / steps)
                velocity = self.model.denoise_step(
                    x_t=chunks,
                    prefix_pad_masks=is_valid,
                    past_key_values=remembered,
                    timestep=time,
                )
                chunks = chunks - velocity / steps
        return self.to_units(chunks[..., : self.actions]).unflatten(0, noise.shape[:2])


@contextmanager
def exportable_sums() -> Iterator[None]:
    """Have running sums of masks be of numbers: ONNX has none of truth values."""
    cumsum = torch.cumsum

    def of_numbers(values: Tensor, *args: Any, **named: Any) -> Tensor:
        return cumsum(values.long() if values.dtype == torch.bool else values, *args, **named)

    with patch("torch.cumsum", of_numbers):
        yield


def _for_each_sample(values: Tensor, noise: Tensor) -> Tensor:
    """Return a row of values (N, …) for each of N·B samples."""
    samples = noise.shape[1]
    sides = (-1,) * (values.ndim - 1)
    return values[:, None].expand(-1, samples, *sides).flatten(0, 1)


def _conditioning_size(model: Any) -> int:
    config = model.config
    size = config.robot_state_feature.shape[0]
    encoders = model.rgb_encoder if config.use_separate_rgb_encoder_per_camera else None
    feature = (encoders[0] if encoders is not None else model.rgb_encoder).feature_dim
    return int(config.n_obs_steps * (size + len(config.image_features) * feature))
