# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Action-chunk entropy, each dimension for itself (ACE per dimension).

Every position dimension d is counted in cells of its own, and the entropies are summed:

    E_h = −Σ_d Σ_c p_dc log2 p_dc,    p_dc = (samples in cell c of dimension d) / B

with the score the mean of E_h over the chunk's steps, in [0, P·log2 B]. It distinguishes degrees
of disagreement where jointly binned samples never share a cell, and overlooks how dimensions
depend on one another.
Römer et al. (FIPER), NeurIPS 2025, equation of the entropy; its published code bins jointly,
which is `action_chunk_entropy`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from failure_monitor.scores.ace import ActionChunkEntropy, mean_entropy


class ActionChunkEntropyPerDimension(ActionChunkEntropy):
    """Entropy of the samples' positions, summed over the position dimensions."""

    name = "ace_per_dimension"
    meaning = "the sampled actions disagree"

    def _entropy(self, cells: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the entropy of the cells of each dimension, (T, B, H, P) to (T,)."""
        decisions, samples, _, dimensions = cells.shape
        return np.asarray(dimensions * mean_entropy(cells.reshape(decisions, samples, -1)))
