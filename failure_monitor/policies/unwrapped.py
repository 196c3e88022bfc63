# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The policy itself within what others have put around it."""

from __future__ import annotations

from typing import Any


def unwrapped(policy: Any) -> Any:
    """Return a policy out of `torch.compile` and out of PEFT; its methods are theirs too."""
    while True:
        if hasattr(policy, "_orig_mod"):
            policy = policy._orig_mod
        elif hasattr(policy, "get_base_model") and hasattr(policy, "peft_config"):
            policy = policy.get_base_model()
        else:
            return policy
