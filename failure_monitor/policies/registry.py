# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The classes of policies that can be watched, by their names."""

from __future__ import annotations

from typing import Any

from failure_monitor.policies.act import ACT
from failure_monitor.policies.diffusion import Diffusion
from failure_monitor.policies.pi0 import Pi0
from failure_monitor.policies.policy_class import PolicyClass, UnsupportedPolicyError
from failure_monitor.policies.smolvla import SmolVLA

POLICY_CLASSES: dict[str, PolicyClass] = {
    "ACTPolicy": ACT(),
    "DiffusionPolicy": Diffusion(),
    "SmolVLAPolicy": SmolVLA(),
    "PI0Policy": Pi0("pi0"),
    "PI05Policy": Pi0("pi05"),
}

KNOWN_VERSIONS = "LeRobot 0.4.4 and 0.6.1"

NEEDED_OF_ALL = (
    "select_action",
    "reset",
    "config.output_features",
    "config.normalization_mapping",
    "config.n_action_steps",
)


def add_policy_class(name: str, policy_class: PolicyClass) -> None:
    """Let policies of a class be watched.

    Args:
        name: of the class of policies, such as `MyPolicy`; its subclasses are meant too.
        policy_class: how they are watched.
    """
    POLICY_CLASSES[name] = policy_class


def policy_class_of(policy: Any) -> PolicyClass:
    """Return how a policy is watched.

    Raises:
        UnsupportedPolicyError: its class is not known, or has not what is needed.
    """
    for ancestor in type(policy).__mro__:
        found = POLICY_CLASSES.get(ancestor.__name__)
        if found is not None:
            _check_paths(policy, found)
            return found
    raise UnsupportedPolicyError(
        f"a {type(policy).__name__} cannot be watched, only {', '.join(POLICY_CLASSES)}: a class "
        "must offer an observation embedding and chunks sampled from it; docs/lerobot.md, Adding "
        "a policy, says how to add one in one file"
    )


def resolve(policy: Any, path: str) -> tuple[Any, str]:
    """Return the object that an attribute path of a policy ends on, and the attribute's name."""
    *owners, name = path.split(".")
    owner = policy
    for each in owners:
        owner = getattr(owner, each)
        owner = getattr(owner, "_orig_mod", owner)
    return owner, name


def _check_paths(policy: Any, found: PolicyClass) -> None:
    missing = [
        path
        for path in (*NEEDED_OF_ALL, found.decides, *found.records, *found.needs)
        if not _has(policy, path)
    ]
    if missing:
        raise UnsupportedPolicyError(
            f"this {type(policy).__name__} has no {', '.join(missing)}: it is of another version "
            f"than those that can be watched ({KNOWN_VERSIONS}): install one of these, or update "
            "failure_monitor"
        )


def _has(policy: Any, path: str) -> bool:
    try:
        owner, name = resolve(policy, path)
    except AttributeError:
        return False
    return hasattr(owner, name)
