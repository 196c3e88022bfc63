# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The outcome check as arrays, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from failure_monitor.outcome.check import TrueEnds
from failure_monitor.outcome.end_model import EndModel
from failure_monitor.outcome.end_parts import EndFormat
from failure_monitor.thresholds.conformal import Rule, Scale
from failure_monitor.thresholds.paired_threshold import ROUNDING, PairedThreshold

Arrays = Mapping[str, NDArray[np.generic]]

MODEL = ("mean", "deviation", "directions", "weights", "noise")
THRESHOLD = ("limits", "folds", "weights", "needed", "centre", "spread")


class StoredEndsError(ValueError):
    """Arrays that are no ends of true successes."""


def arrays_of(ends: TrueEnds) -> dict[str, NDArray[np.generic]]:
    """Return what is to be stored of the ends of a task."""
    threshold = ends.threshold
    stored: dict[str, NDArray[np.generic]] = {
        "limits": threshold.limits,
        "folds": threshold.folds,
        "weights": threshold.weights,
        "needed": np.array(threshold.needed),
        "centre": threshold.scale.centre,
        "spread": threshold.scale.spread,
    }
    for part, model in ends.models.items():
        stored |= {f"{part}.{name}": getattr(model, name) for name in MODEL}
        stored |= {f"{part}.low": ends.low[part], f"{part}.high": ends.high[part]}
    return stored


def ends_from(arrays: Arrays, parts: Sequence[str], rule: Rule, format_: EndFormat) -> TrueEnds:
    """Return the ends of a task from what was stored.

    Raises:
        StoredEndsError: an array is missing, or no array of finite numbers of its shape.
    """
    models = {part: _model(arrays, part, format_.size(part)) for part in parts}
    own = {name: _array(arrays, name) for name in THRESHOLD}
    folds = own["folds"].astype(np.int64)
    shape = (len(next(iter(models.values())).noise), len(parts))
    if (
        own["centre"].shape != shape
        or own["spread"].shape != shape
        or not (own["spread"] > 0).all()
        or not own["limits"].shape == own["weights"].shape == folds.shape
        or not len(folds)
        or not 0 <= folds.min() <= folds.max() < shape[0]
        or not (own["weights"] >= 0).all()
        or own["needed"].shape != ()
        # With more than there is, nothing would ever be doubted.
        or not 0 < own["needed"] <= own["weights"].sum() + ROUNDING
    ):
        raise StoredEndsError("the limits of ends do not fit their models")
    threshold = PairedThreshold(
        rule,
        Scale(own["centre"], own["spread"]),
        own["limits"],
        folds,
        own["weights"],
        float(own["needed"]),
    )
    low, high = (
        {part: _array(arrays, f"{part}.{name}") for part in parts} for name in ("low", "high")
    )
    if any(each[part].shape != (format_.size(part),) for part in parts for each in (low, high)):
        raise StoredEndsError("the ranges of true ends do not fit the policy")
    return TrueEnds(models, low, high, threshold)


def _model(arrays: Arrays, part: str, size: int) -> EndModel:
    mean, deviation, directions, weights, noise = (
        _array(arrays, f"{part}.{name}") for name in MODEL
    )
    folds = len(noise) if noise.ndim == 1 else 0
    if (
        not folds
        or not mean.shape == deviation.shape == (folds, size)
        or directions.shape != (*weights.shape, size)
        or weights.shape[:-1] != (folds,)
        or not (deviation > 0).all()
        or not (noise > 0).all()
    ):
        raise StoredEndsError(f"the model of the {part} has arrays that do not fit")
    return EndModel(mean, deviation, directions.astype(np.float32), weights, noise)


def _array(arrays: Arrays, name: str) -> NDArray[np.float64]:
    if name not in arrays:
        raise StoredEndsError(f"'{name}' of the ends of true successes is missing")
    if arrays[name].dtype.kind not in "fiu":
        raise StoredEndsError(f"'{name}' of the ends of true successes is no array of numbers")
    array = arrays[name].astype(np.float64)
    if not np.isfinite(array).all():
        raise StoredEndsError(f"'{name}' of the ends of true successes is not finite")
    return array
