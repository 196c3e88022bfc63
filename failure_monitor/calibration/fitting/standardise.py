# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Standardisation as the first layer of a network."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from failure_monitor.scores.base.standardisation import CLIP, Standardisation


class Standardise(nn.Module):
    """`Standardisation` in torch."""

    def __init__(self, standardisation: Standardisation) -> None:
        super().__init__()
        self.register_buffer("varying", torch.from_numpy(standardisation.varying))
        self.register_buffer("mean", torch.from_numpy(standardisation.mean).float())
        self.register_buffer("deviation", torch.from_numpy(standardisation.deviation).float())

    def forward(self, features: Tensor) -> Tensor:
        """Return the features that vary, standardised: (N, F) to (N, V)."""
        varying = torch.index_select(features, 1, self.varying)
        return torch.clamp((varying - self.mean) / self.deviation, -CLIP, CLIP)
