# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Stand-ins for two of LeRobot's classes, with the attributes that are used of them."""

from __future__ import annotations

from collections import deque
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

ACTIONS = ("pan.pos", "lift.pos")


def configuration(**options: Any) -> SimpleNamespace:
    """Return what every policy's configuration has."""
    settings: dict[str, Any] = {
        "output_features": {"action": SimpleNamespace(shape=(2,))},
        "normalization_mapping": {"ACTION": "MEAN_STD"},
        "n_action_steps": 3,
        "pretrained_path": None,
    }
    return SimpleNamespace(**(settings | options))


def postprocessor(actions: Any) -> Any:
    """Return actions in the units of the robot."""
    return 10 * actions + 1


def observation(seed: int = 0) -> dict[str, Any]:
    """Return an observation as it comes from a preprocessor."""
    return {"observation.state": torch.rand(1, 4, generator=torch.Generator().manual_seed(seed))}


class Queueing(nn.Module):
    """Executes a chunk from a queue."""

    def reset(self) -> None:
        """Forget the queue."""
        self._queues = {"action": deque(), "observation.state": deque(maxlen=2)}

    @property
    def _action_queue(self) -> Any:
        return self._queues["action"]

    @torch.no_grad()
    def select_action(self, batch: dict[str, Any]) -> Any:
        """Return the next action."""
        seen = self._queues["observation.state"]
        seen.extend([batch["observation.state"]] * (1 if seen else 2))
        if not self._action_queue:
            chunk = self.predict_action_chunk(batch)
            self._action_queue.extend(chunk[:, : self.config.n_action_steps].transpose(0, 1))
        return self._action_queue.popleft()


class Encoder(nn.Linear):
    """Makes tokens (S, 1, C) of a state."""

    def forward(self, state: Any) -> Any:
        """Return the tokens."""
        return super().forward(state)[None].expand(5, -1, -1)


class ACT(nn.Module):
    """The network of the first."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Encoder(4, 6)
        self.decoder = nn.Linear(6, 16)

    def forward(self, batch: dict[str, Any]) -> tuple[Any, None]:
        """Return chunks (B, 8, 2)."""
        tokens = self.encoder(batch["observation.state"])
        return self.decoder(tokens.mean(dim=0)).reshape(-1, 8, 2), None


class ACTPolicy(Queueing):
    """Draws no noise."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        options = {"temporal_ensemble_coeff": None, "image_features": []} | options
        self.config = configuration(**options)
        self.model = ACT()
        self.reset()

    @torch.no_grad()
    def predict_action_chunk(self, batch: dict[str, Any]) -> Any:
        """Return a chunk."""
        return self.model(batch)[0]


class DiffusionModel(nn.Module):
    """The network of the second."""

    def __init__(self) -> None:
        super().__init__()
        self.unet = nn.Linear(8, 2)
        self.noise_scheduler = SimpleNamespace()

    def _prepare_global_conditioning(self, batch: dict[str, Any]) -> Any:
        return batch["observation.state"].flatten(start_dim=1)

    def conditional_sample(
        self, batch_size: int, global_cond: Any, generator: Any = None, noise: Any = None
    ) -> Any:
        """Return samples (B, 9, 2)."""
        if noise is None:
            noise = torch.randn(batch_size, 9, 2, generator=generator)
        return noise + self.unet(global_cond)[:, None]

    def generate_actions(self, batch: dict[str, Any], noise: Any = None) -> Any:
        """Return the actions to execute."""
        conditioning = self._prepare_global_conditioning(batch)
        sample = self.conditional_sample(len(conditioning), global_cond=conditioning, noise=noise)
        return sample[:, 1:4]


class DiffusionPolicy(Queueing):
    """Draws noise."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.config = configuration(**({"n_obs_steps": 2, "horizon": 9} | options))
        self.diffusion = DiffusionModel()
        self.reset()

    def predict_action_chunk(self, batch: dict[str, Any]) -> Any:
        """Return a chunk, from what was observed last."""
        stacked = torch.stack(list(self._queues["observation.state"]), dim=1)
        return self.diffusion.generate_actions({"observation.state": stacked})
