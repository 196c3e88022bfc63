# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""How much the way bends on which a chunk came about from noise: a by-product of sampling it.

A flow's chunk is noise that was moved in equal steps along velocities v:

    bend = 1 − ‖Σ v‖ / Σ ‖v‖,

one minus the distance from start to end over the length of the way. It is 0 for a straight way,
where the network knows from the first step on where to go, and nearer to 1 the more it changes its
mind on the way. Long steps count for more, other than in a mean angle between steps, which the
short ones of an undecided start would rule.

The steps of DDIM have no common length; but the noise (or the sample) that the network predicts
is the same at every step just where its way is straight, so that v are its predictions. The steps
of DDPM add noise of their own, which bends every way: they have no bend.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

FLOW_BEND = "flow_bend"
"""The name of the extra that is the bend of a flow's way."""

DENOISING_BEND = "denoising_bend"
"""The name of the extra that is the bend of DDIM's way."""


def path_bend(velocities: Sequence[Any]) -> float:
    """Return the bend of a way, from 0 to 1.

    Args:
        velocities: of its steps, tensors of one shape.
    """
    steps = torch.stack([velocity.detach().float().flatten() for velocity in velocities])
    length = float(steps.norm(dim=1).sum())
    return 1 - float(steps.sum(dim=0).norm()) / length if length else 0.0
