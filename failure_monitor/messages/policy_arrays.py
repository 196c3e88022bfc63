# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What a policy has in its hands as numpy arrays, without loading the policy's library."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_NUMBERS = "biufV"
"""Kinds of dtypes that become float32: bfloat16, which numpy itself does not know, is a V."""


def float_array(values: Any, what: str) -> NDArray[np.float32]:
    """Return numbers as float32.

    Args:
        values: an array of numpy or JAX, a tensor of torch on any device and of any real dtype,
            with or without a gradient, or nested lists.
        what: their name in errors.

    Raises:
        TypeError: they are no real numbers, or cannot be brought to this process's memory.
    """
    try:
        if callable(getattr(values, "detach", None)):
            # A tensor of torch: numpy takes neither a GPU's nor one with a gradient or bfloat16.
            tensor = values.detach()
            values = (tensor if tensor.is_complex() else tensor.float()).cpu().numpy()
        array = np.asarray(values)
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise TypeError(f"{_what(what, values)} cannot be read ({reason}): {_REMEDY}") from None
    if array.dtype.kind not in _NUMBERS or array.dtype.names is not None:
        raise TypeError(f"{_what(what, values)} of {array.dtype} are no real numbers: {_REMEDY}")
    try:
        with np.errstate(over="ignore"):
            floats: NDArray[np.float32] = array.astype(np.float32, copy=False)
    except (TypeError, ValueError):
        # Another V than bfloat16: bytes that no library knows as numbers.
        raise TypeError(
            f"{_what(what, values)} of {array.dtype} are no real numbers: {_REMEDY}"
        ) from None
    return floats


_REMEDY = "pass a numpy array or a torch tensor of real numbers"


def _what(what: str, values: object) -> str:
    kind = type(values)
    return f"the {what}, a {kind.__module__}.{kind.__qualname__},"
