# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What displays show of a monitor at one moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from failure_monitor.display.state_text import StateText
from failure_monitor.monitoring.score_history import ScoreHistory
from failure_monitor.monitoring.unfamiliarity import Unfamiliarity


@dataclass(frozen=True, eq=False)
class SampledChunks:
    """The action chunks of a decision, as they were published.

    Attributes:
        names: the names of the action dimensions.
        chunks: float32 (B, H, D).
        positions: the measured positions of the robot; None if they are unknown.
        chosen: the number of the sample that is executed.
        trusted: how many of its actions are trusted; None if unknown.
    """

    names: tuple[str, ...]
    chunks: NDArray[np.float32]
    positions: NDArray[np.float32] | None = None
    chosen: int = 0
    trusted: int | None = None


@dataclass(frozen=True, eq=False)
class MonitorView:
    """A monitor at one moment.

    Attributes:
        text: its state.
        history: the scores of the last seconds.
        levels: the normalised scores of the last decision by name; empty if they are unknown.
        sampled: the chunks of the last decision; None if they are unknown.
        unfamiliarity: where the picture is unfamiliar; None if unknown.
    """

    text: StateText
    history: ScoreHistory
    levels: Mapping[str, float] = field(default_factory=dict)
    sampled: SampledChunks | None = None
    unfamiliarity: Unfamiliarity | None = None
