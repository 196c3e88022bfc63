# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Tries a model when it is loaded: on the same inputs twice, and on each of them alone.

A model that draws random numbers of its own gives other decisions on the robot than in
calibration. One whose result depends on the other observations of its batch, such as by batch
normalisation in training mode, gives nothing that a single observation means.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from failure_monitor.errors import FailureMonitorError
from failure_monitor.policy_models.contract import OnnxContractError
from failure_monitor.policy_models.onnx_file import OnnxFile

Run = Callable[[Mapping[str, NDArray[Any]]], Sequence[NDArray[Any]]]
"""Returns the outputs for some observations, what is scored first."""

RANDOM_OPERATORS = frozenset(
    {
        "Bernoulli",
        "Multinomial",
        "RandomNormal",
        "RandomNormalLike",
        "RandomUniform",
        "RandomUniformLike",
        "com.microsoft.Sampling",
    }
)

DYNAMIC_QUANTISATION = frozenset(
    {
        "DynamicQuantizeLinear",
        "com.microsoft.DynamicQuantizeLSTM",
        "com.microsoft.DynamicQuantizeMatMul",
    }
)
"""Operators that round by the range of the whole batch: one observation alone is what is right."""

MAX_REPEATED = 1e-3
"""Largest difference of a repeated result, relative to how much results differ: graphics cards add
in any order."""

MAX_TOGETHER = 0.05
"""Largest difference between a result alone and in a batch, likewise: batches of other sizes are
multiplied in another order, which deep models in half precision amplify. What observations of a
batch do to one another is far larger."""

_ROUNDING = 1e-5
"""Share of the largest result by which results differ for rounding alone."""


class OnnxModelError(FailureMonitorError):
    """Inputs that do not fit a model, or a model that failed on them."""


def reject_random_operators(file: OnnxFile) -> None:
    """Reject a model with an operator that draws random numbers.

    Raises:
        OnnxContractError: there is one.
    """
    random = sorted(file.operators & RANDOM_OPERATORS)
    if random:
        raise OnnxContractError(
            f"{file.name} draws random numbers of its own (operator {', '.join(random)}), so the "
            f"same observation gives another result each time: {_REMEDY}"
        )


def try_out(file: OnnxFile, run: Run, inputs: Mapping[str, NDArray[Any]]) -> None:
    """Run a model on several observations, together and alone.

    Args:
        file: the model.
        run: runs it.
        inputs: different observations.

    Raises:
        OnnxContractError: a result is another when it is computed again, or beside others.
        OnnxModelError: the model failed.
    """
    count = len(next(iter(inputs.values())))
    alone, again = (_one_by_one(run, inputs, count) for _ in range(2))
    if not np.isfinite(alone[0]).any():
        raise OnnxContractError(
            f"{file.name} gives nothing but NaN or infinite values for random inputs, as a model "
            "in half precision does whose values overflow: export it in float32"
        )
    if any(
        not np.array_equal(np.isfinite(first), np.isfinite(second))
        or _differ(first, second, MAX_REPEATED)
        for first, second in zip(alone, again, strict=True)
    ):
        raise OnnxContractError(
            f"{file.name} gives different results for the same inputs, as it does if it draws "
            f"random numbers of its own, or was exported with dropout in training mode: {_REMEDY}"
        )
    try:
        together = run(inputs)
    except OnnxModelError as error:
        raise OnnxModelError(
            f"{error}: it computes one observation and not {count} together, so the number of "
            "observations N is frozen in its graph; export it with N free"
        ) from None
    if file.operators & DYNAMIC_QUANTISATION:
        return
    if any(_differ(one, other, MAX_TOGETHER) for one, other in zip(alone, together, strict=True)):
        raise OnnxContractError(
            f"{file.name} gives another result for an observation alone than beside others in a "
            "batch, as it does with statistics over the batch (batch normalisation in training "
            "mode, a mean over the first axis): call eval() on the module, let every observation "
            "be computed by itself, and export it again"
        )


def _one_by_one(run: Run, inputs: Mapping[str, NDArray[Any]], count: int) -> list[NDArray[Any]]:
    results = [run({name: array[[at]] for name, array in inputs.items()}) for at in range(count)]
    return [np.concatenate(one_output) for one_output in zip(*results, strict=True)]


_REMEDY = (
    "call eval() on the module, let all randomness come from the input 'noise' of a sampler, and "
    "export it again"
)


def _differ(one: NDArray[Any], other: NDArray[Any], share: float) -> bool:
    """Return whether results differ by more than a share of how much they vary."""
    one, other = one.astype(np.float32, copy=False), other.astype(np.float32, copy=False)
    known = np.isfinite(one) & np.isfinite(other)
    if not known.any() or one.shape != other.shape:
        return one.shape != other.shape
    spread = float(np.ptp(np.where(known, one, np.float32(0)), axis=0).max())
    largest = float(np.abs(one[known]).max())
    return float(np.abs(one - other)[known].max()) > share * spread + _ROUNDING * largest
