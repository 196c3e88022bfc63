# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A second module with the weights of the first, to compute with beside it."""

from __future__ import annotations

import copy
import types
from typing import Any

import torch

from failure_monitor.policies.shadow import plain

OWN = ("_modules", "_parameters", "_buffers")


def twin(module: Any) -> Any:
    """Return a module that shares weights and submodules with another, and nothing else.

    It is neither shadowed nor compiled, and what is set on it does not show on the other. It is
    good for one decision: the other's weights may move to another device afterwards.
    """
    module = getattr(module, "_orig_mod", module)
    other = copy.copy(module)
    own = vars(other)
    own.update({name: dict(own[name]) for name in OWN if name in own})
    if "_compiled_call_impl" in own:
        own["_compiled_call_impl"] = None
    for name, value in list(own.items()):
        method = plain(value)
        if getattr(method, "__self__", None) is module:
            own[name] = types.MethodType(method.__func__, other)
        elif method is not value:
            own[name] = method
    return other


def repeat_rows(value: Any, rows: int) -> Any:
    """Return tensors of one row as tensors of many equal ones, in any container of them.

    A cache of transformers is another one afterwards: what is computed with it is added to it.
    """
    if isinstance(value, torch.Tensor):
        return value.detach().expand(rows, *value.shape[1:])
    if hasattr(value, "layers"):
        return _repeat_cache(value, rows)
    if isinstance(value, dict):
        return {key: repeat_rows(each, rows) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(repeat_rows(each, rows) for each in value)
    return value


def _repeat_cache(cache: Any, rows: int) -> Any:
    other = copy.copy(cache)
    other.layers = [copy.copy(layer) for layer in cache.layers]
    for layer in other.layers:
        layer.keys = repeat_rows(layer.keys, rows)
        layer.values = repeat_rows(layer.values, rows)
    return other
