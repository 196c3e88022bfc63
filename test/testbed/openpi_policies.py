# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Stand-ins for openpi's policy and models, with the interfaces that were read in its sources.

openpi is no package and its models need JAX: these are as small as they can be, one in PyTorch and
one in numpy for JAX, and say nothing about openpi's own numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

HORIZON, DIMENSIONS, WIDTH, TOKENS, VALID = 4, 3, 8, 6, 4


@dataclass
class Observation:
    """What openpi's Observation holds that is used here, a batch of rows."""

    state: Any
    tokens: Any
    mask: Any

    def changed(self, change: Any) -> Observation:
        return Observation(change(self.state), change(self.tokens), change(self.mask))


def observation_of(state: Any, library: Any = np) -> Observation:
    return Observation(
        library.asarray(state[None]),
        library.asarray(np.arange(TOKENS)[None]),
        library.asarray((np.arange(TOKENS) < VALID)[None]),
    )


class Cache:
    """Keys and values of all layers, as transformers keeps them."""

    def __init__(self, values: torch.Tensor) -> None:
        self.values = values

    def batch_repeat_interleave(self, repeats: int) -> None:
        self.values = self.values.repeat_interleave(repeats, dim=0)


class PaliGemmaWithExpert(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = torch.nn.Linear(WIDTH, WIDTH)
        self.expert = torch.nn.Linear(WIDTH + DIMENSIONS + 1, DIMENSIONS)
        self.encoded = 0

    def forward(self, *, past_key_values, inputs_embeds, use_cache):
        if inputs_embeds[1] is None:
            self.encoded += 1
            hidden = torch.tanh(self.encoder(inputs_embeds[0]))
            return [hidden, None], Cache(hidden.clone())
        prefix = past_key_values.values.mean(dim=1, keepdim=True)
        suffix = inputs_embeds[1]
        joined = torch.cat([prefix.expand(-1, suffix.shape[1], -1), suffix], dim=2)
        return [None, torch.tanh(self.expert(joined))], None


class TorchModel(torch.nn.Module):
    """A flow whose batch is that of the observation, as PI0Pytorch is."""

    def __init__(self, compile_mode: str | None = None, backend: str = "eager") -> None:
        super().__init__()
        torch.manual_seed(7)
        self.config = SimpleNamespace(
            action_horizon=HORIZON, action_dim=DIMENSIONS, pytorch_compile_mode=compile_mode
        )
        self.pi05 = False
        self.paligemma_with_expert = PaliGemmaWithExpert()
        self.embedding = torch.nn.Embedding(TOKENS, WIDTH)
        self.state_proj = torch.nn.Linear(DIMENSIONS, WIDTH)
        if compile_mode is not None:
            self.sample_actions = torch.compile(self.sample_actions, backend=backend)

    def sample_noise(self, shape, device):
        return torch.normal(0.0, 1.0, size=shape, device=device)

    @torch.no_grad()
    def sample_actions(self, device, observation, noise=None, num_steps=4):
        rows = observation.state.shape[0]
        if noise is None:
            noise = self.sample_noise((rows, HORIZON, DIMENSIONS), device)
        prefix = self.embedding(observation.tokens) + self.state_proj(observation.state)[:, None]
        _, cache = self.paligemma_with_expert.forward(
            past_key_values=None, inputs_embeds=[prefix, None], use_cache=True
        )
        step = torch.tensor(-1.0 / num_steps)
        actions, time = noise, torch.tensor(1.0)
        while time >= -step / 2:
            velocity = self.denoise_step(
                observation.state, observation.mask, cache, actions, time.expand(rows)
            )
            actions = actions + step * velocity
            time = time + step
        return actions

    def denoise_step(self, state, prefix_pad_masks, past_key_values, x_t, timestep):
        assert state.shape[0] == prefix_pad_masks.shape[0] == x_t.shape[0] == timestep.shape[0]
        assert past_key_values.values.shape[0] == x_t.shape[0]
        suffix = torch.cat([x_t, timestep[:, None, None].expand(-1, HORIZON, 1)], dim=2)
        outputs, _ = self.paligemma_with_expert.forward(
            past_key_values=past_key_values, inputs_embeds=[None, suffix], use_cache=False
        )
        return outputs[1] + 0.1 * state[:, None]


class JaxModel:
    """A flow whose batch is that of `observation.state`, as Pi0 is; in numpy."""

    LAYERS = 2

    def __init__(self) -> None:
        random = np.random.default_rng(7)
        self.action_horizon, self.action_dim, self.pi05 = HORIZON, DIMENSIONS, True
        self._embedding = random.normal(size=(TOKENS, WIDTH)).astype(np.float32)
        self._weights = random.normal(size=(WIDTH, DIMENSIONS)).astype(np.float32)
        self.encoded: list[int] = []
        self.PaliGemma = SimpleNamespace(llm=self._llm, img=None)

    def embed_prefix(self, observation):
        tokens = self.PaliGemma.llm(observation.tokens, method="embed")
        tokens = tokens + observation.state.sum(axis=1)[:, None, None]
        return tokens, observation.mask, np.zeros(TOKENS, bool)

    def sample_actions(self, rng, observation, *, noise=None, num_steps=4):
        rows = observation.state.shape[0]
        tokens, mask, _ = self.embed_prefix(observation)
        assert tokens.shape[0] == mask.shape[0] == rows
        _, cache = self.PaliGemma.llm(
            [tokens, None], mask=mask, positions=np.cumsum(mask, axis=1) - 1
        )
        assert cache[0].shape == (self.LAYERS, rows, TOKENS, WIDTH)
        actions = noise
        for _ in range(num_steps):
            outputs, _ = self.PaliGemma.llm(
                [None, actions], mask=mask, positions=None, kv_cache=cache
            )
            actions = actions - outputs[1] / num_steps + 0.1 * observation.state[:, None]
        return actions

    def _llm(self, tokens, *, method="", mask=None, positions=None, kv_cache=None):
        if method == "embed":
            return self._embedding[tokens]
        if tokens[1] is None:
            self.encoded.append(tokens[0].shape[0])
            hidden = np.tanh(tokens[0] * mask[:, :, None] + positions[:, :, None])
            return [hidden, None], (np.stack([hidden] * self.LAYERS),) * 2
        keys = kv_cache[0].mean(axis=(0, 2)) @ self._weights
        return [None, np.tanh(tokens[1] + keys[:, None])], None


class Policy:
    """Infers as openpi's Policy does for a model in PyTorch: one observation, a batch of one."""

    def __init__(self, model: TorchModel) -> None:
        self._model = model.eval()
        self._is_pytorch_model = True
        self._sample_kwargs: dict[str, Any] = {"num_steps": 5}
        self._sample_actions = model.sample_actions
        self.metadata = {"reset_pose": [0.0, 1.0]}

    def infer(self, obs, *, noise=None):
        state = np.asarray(obs["observation/state"], np.float32)
        kwargs = dict(self._sample_kwargs)
        if noise is not None:
            kwargs["noise"] = torch.from_numpy(noise)[None]
        observation = observation_of(torch.from_numpy(state), torch)
        actions = self._sample_actions("cpu", observation, **kwargs)
        outputs = {"state": state, "actions": np.asarray(actions[0].detach().cpu())}
        outputs = self._output_transform(outputs)
        outputs["policy_timing"] = {"infer_ms": 1.0}
        return outputs

    def _output_transform(self, data):
        """Absolute actions of the robot's two joints, in place as openpi's transforms do it."""
        actions = data["actions"]
        actions += data["state"][None]
        return {"actions": 10 * actions[:, :2]}
