# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Ridge regression, and what it leaves of every rollout when it is fitted on the others."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def ridge_leaving_out(
    inputs: Sequence[NDArray[np.float64]],
    targets: Sequence[NDArray[np.float64]],
    penalty: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return a ridge regression, and its residuals of every rollout when fitted on the others.

    With H = Φ (ΦᵀΦ + λI)⁻¹ Φᵀ of one rollout's features Φ, the residuals of the fit without it are
    (I − H)⁻¹ times those of the fit with it: Allen's PRESS statistic, for several rows at once.

    Args:
        inputs: of every rollout, (T, F).
        targets: of every rollout, (T, V).
        penalty: λ.

    Returns:
        The regression, (F, V), and the residuals, (N, V).
    """
    design, wanted = np.concatenate(inputs), np.concatenate(targets)
    inverse = np.linalg.inv(design.T @ design + penalty * np.eye(design.shape[1]))
    regression = inverse @ (design.T @ wanted)
    residuals = [
        np.linalg.solve(np.eye(len(x)) - x @ inverse @ x.T, y - x @ regression)
        for x, y in zip(inputs, targets, strict=True)
    ]
    return regression, np.concatenate(residuals)
