# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A second module with the weights of the first, to compute with beside it."""

from __future__ import annotations

import copy
import types
from typing import Any

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

    A cache of transformers is copied: what is computed with it is appended to it.
    """
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if hasattr(value, "batch_repeat_interleave"):
        value = copy.deepcopy(value)
        value.batch_repeat_interleave(rows)
        return value
    if hasattr(value, "expand"):
        return value.expand(rows, *value.shape[1:])
    if isinstance(value, dict):
        return {key: repeat_rows(each, rows) for key, each in value.items()}
    return type(value)(repeat_rows(each, rows) for each in value)
