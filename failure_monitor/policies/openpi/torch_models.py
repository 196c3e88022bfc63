# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Samples many chunks from openpi's PyTorch models, whose observation is encoded once.

`PI0Pytorch.sample_actions` takes its batch from the observation, and its noise may have more rows:
all that then has to fit is what `denoise_step` is given of the one observation.
"""

from __future__ import annotations

import copy
from typing import Any

import torch

from failure_monitor.policies.openpi.sampled import (
    Sampled,
    check_unchanged,
    require,
)
from failure_monitor.policies.path_bend import FLOW_BEND, path_bend
from failure_monitor.policies.policy_class import UnsupportedPolicyError


class TorchSampler:
    """Takes the place of a model's `sample_actions` in openpi's policy.

    Attributes:
        extra_names: the names of the extras of every decision.
    """

    extra_names: tuple[str, ...] = (FLOW_BEND,)

    def __init__(self, policy: Any, samples: int) -> None:
        """Shadow the methods of the policy's model that see the encoded observation.

        Raises:
            UnsupportedPolicyError: the model has no such methods; it is as it was.
        """
        model = policy._model
        require(
            model,
            "sample_actions",
            "denoise_step",
            "sample_noise",
            "paligemma_with_expert.forward",
            "config.action_horizon",
            "config.action_dim",
        )
        self._model = model
        self._samples = samples
        self._is_checked = False
        self._generator: torch.Generator | None = None
        self._seen: list[Any] = []
        self._repeated: list[Any] = []
        self._velocities: list[Any] = []
        self._denoise_step = model.denoise_step
        self._forward = model.paligemma_with_expert.forward
        # As a method of the class it is not compiled, where that of the object is.
        self._sample_one = type(model).sample_actions.__get__(model)
        self._sample_rows = self._sample_all
        if "sample_actions" in vars(model):
            mode = getattr(model.config, "pytorch_compile_mode", None)
            self._sample_rows = torch.compile(self._sample_all, mode=mode)
        model.denoise_step = self._denoise_rows
        model.paligemma_with_expert.forward = self._encode

    def close(self) -> None:
        """Give the model back as it was."""
        del self._model.denoise_step
        del self._model.paligemma_with_expert.forward

    def __call__(
        self, device: Any, observation: Any, noise: Any = None, **options: Any
    ) -> Sampled:
        """Return all sampled chunks; the first is that of the unwatched policy.

        Raises:
            UnsupportedPolicyError: it is not, or the observation was encoded otherwise.
        """
        config = self._model.config
        shape = (1, config.action_horizon, config.action_dim)
        if noise is None:
            noise = self._model.sample_noise(shape, device)
        others = torch.randn(
            (self._samples - 1, *shape[1:]),
            generator=self._own_generator(device),
            device=device,
            dtype=noise.dtype,
        )
        with torch.no_grad():
            actions, hidden, mask, velocities = self._sample_rows(
                device, observation, torch.cat([noise, others]), options
            )
            if not self._is_checked:
                unwatched = self._sample_one(device, observation, noise, **options)
                self._check(actions[:1], unwatched)
                self._is_checked = True
            weights = mask[0].to(torch.float32)
            embedding = (hidden[0].to(torch.float32) * weights[:, None]).sum(0) / weights.sum()
        return Sampled(
            executed=actions[:1],
            chunks=actions.detach().to("cpu", torch.float32).numpy(),
            embedding=embedding.cpu().numpy(),
            extras={FLOW_BEND: path_bend(velocities)},
        )

    def _sample_all(self, device: Any, observation: Any, noise: Any, options: Any) -> Any:
        """Return (B, H, D), the encoded observation with its mask, and the first one's steps."""
        self._seen, self._repeated, self._velocities = [], [], []
        actions = self._sample_one(device, observation, noise, **options)
        (hidden, mask), self._seen, self._repeated = self._seen, [], []
        velocities, self._velocities = self._velocities, []
        return actions, hidden, mask, velocities

    def _encode(self, *arguments: Any, **options: Any) -> Any:
        outputs, cache = self._forward(*arguments, **options)
        if outputs[1] is None:
            self._seen = [outputs[0]]
        return outputs, cache

    def _denoise_rows(
        self, state: Any, prefix_pad_masks: Any, past_key_values: Any, x_t: Any, timestep: Any
    ) -> Any:
        velocities = self._step_rows(state, prefix_pad_masks, past_key_values, x_t, timestep)
        self._velocities.append(velocities[:1])
        return velocities

    def _step_rows(
        self, state: Any, prefix_pad_masks: Any, past_key_values: Any, x_t: Any, timestep: Any
    ) -> Any:
        rows = x_t.shape[0]
        if len(self._seen) == 1:
            self._seen.append(prefix_pad_masks)
        if rows == prefix_pad_masks.shape[0]:
            return self._denoise_step(state, prefix_pad_masks, past_key_values, x_t, timestep)
        if not self._repeated:
            self._repeated = [
                state.expand(rows, *state.shape[1:]),
                prefix_pad_masks.expand(rows, *prefix_pad_masks.shape[1:]),
                _repeated(past_key_values, rows),
            ]
        return self._denoise_step(*self._repeated, x_t, timestep.expand(rows))

    def _check(self, chunk: Any, unwatched: Any) -> None:
        kinds = {parameter.dtype for parameter in self._model.parameters()}
        check_unchanged(
            chunk.to("cpu", torch.float32).numpy(),
            unwatched.to("cpu", torch.float32).numpy(),
            is_coarse=bool(kinds & {torch.float16, torch.bfloat16}),
        )

    def _own_generator(self, device: Any) -> torch.Generator:
        """Return random numbers beside the policy's own, which go on as without watching."""
        if self._generator is None:
            self._generator = torch.Generator(device)
            self._generator.seed()
        return self._generator


def _repeated(cache: Any, rows: int) -> Any:
    """Return the keys and values of one observation for so many rows."""
    if hasattr(cache, "batch_repeat_interleave"):
        cache = copy.deepcopy(cache)
        cache.batch_repeat_interleave(rows)
        return cache
    if isinstance(cache, torch.Tensor):
        return cache.expand(rows, *cache.shape[1:])
    if isinstance(cache, list | tuple):
        return type(cache)(_repeated(part, rows) for part in cache)
    raise UnsupportedPolicyError(
        f"the model keeps what it encoded in a {type(cache).__name__}, which cannot be repeated: "
        "it is of another version"
    )
