# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A shadow that protects a robot: a copy of the object refuses to run instead of going without."""

from __future__ import annotations

from typing import Any

from failure_monitor.errors import FailureMonitorError
from failure_monitor.policies.shadow import Shadow


class CopiedPolicyError(FailureMonitorError):
    """A copy of a policy was run, which nothing watches."""


class UncopiedShadow(Shadow):
    """A shadow that a copy of its object does not lose."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return _Refusal()

    def __reduce__(self) -> Any:
        return _Refusal, ()


class _Refusal:
    """What is called in place of a method of a copy."""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        raise CopiedPolicyError(
            "this is a copy of a policy that is watched, and nothing watches the copy: run the "
            "policy itself, or watch the copy"
        )
