# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Chunks in the units of the robot, by the policy's own postprocessor."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch

from failure_monitor.policies.policy_class import UnsupportedPolicyError

Postprocessor = Callable[[Any], Any]

FORGETFUL = (
    "UnnormalizerProcessorStep",
    "DeviceProcessorStep",
    "AbsoluteActionsProcessorStep",
    "IdentityProcessorStep",
)
"""LeRobot's steps that remember nothing of what they saw."""

THE_OTHER = (
    "give the postprocessor that belongs to this policy, the second of "
    "make_pre_post_processors(policy.config, pretrained_path=...)"
)


def in_robot_units(postprocessor: Postprocessor, chunks: Any) -> Any:
    """Return chunks (B, H, D) in the units of the robot, float32.

    Raises:
        UnsupportedPolicyError: the postprocessor does not return as many actions.
    """
    robot = postprocessor(chunks)
    shape = tuple(getattr(robot, "shape", ()))
    if shape != tuple(chunks.shape):
        raise UnsupportedPolicyError(
            f"the postprocessor makes {list(shape)} of chunks of the shape "
            f"{list(chunks.shape)}: {THE_OTHER}"
        )
    return robot.detach().to("cpu", torch.float32).numpy().copy()


def unobserved(postprocessor: Postprocessor) -> Postprocessor:
    """Return a postprocessor of which its owner sees nothing.

    What its owner has hooked to it is left out. A step that may remember what it saw is copied.

    Raises:
        UnsupportedPolicyError: such a step cannot be copied.
    """
    if not hasattr(postprocessor, "steps"):
        return postprocessor
    quiet = copy.copy(postprocessor)
    vars(quiet).update(
        before_step_hooks=[], after_step_hooks=[], steps=[_own(step) for step in quiet.steps]
    )
    return quiet


def _own(step: Any) -> Any:
    name = type(step).__name__
    if name in FORGETFUL:
        return step
    try:
        return copy.deepcopy(step)
    except Exception as error:
        raise UnsupportedPolicyError(
            f"the postprocessor's step {name} cannot be copied ({error}), and it may remember "
            "what it saw: leave it out of the postprocessor that is given here"
        ) from error


def depends_on_observation(postprocessor: Any) -> bool:
    """Return whether actions are made absolute by the observation that was seen last."""
    return any(
        getattr(step, "enabled", False) and getattr(step, "relative_step", None) is not None
        for step in getattr(postprocessor, "steps", ())
    )


def check_postprocessor(postprocessor: Any, policy: Any) -> None:
    """Reject a postprocessor that is not that of a policy, as far as one can see.

    Raises:
        UnsupportedPolicyError: it is not.
    """
    if not callable(postprocessor):
        raise UnsupportedPolicyError(
            f"a {type(postprocessor).__name__} is no postprocessor: {THE_OTHER}"
        )
    action = policy.config.output_features["action"]
    for step in getattr(postprocessor, "steps", ()):
        _check_step(step, action, policy)
    if depends_on_observation(postprocessor):
        return  # it needs one first
    chunks = torch.zeros(1, 1, *action.shape)
    try:
        in_robot_units(postprocessor, chunks)
    except UnsupportedPolicyError:
        raise
    except Exception as error:
        raise UnsupportedPolicyError(
            f"the postprocessor does not take chunks of {action.shape[0]} actions "
            f"({type(error).__name__}: {error}): {THE_OTHER}"
        ) from error


def _check_step(step: Any, action: Any, policy: Any) -> None:
    features = getattr(step, "features", None) or {}
    of_step = features.get("action") if isinstance(features, dict) else None
    if of_step is not None and tuple(of_step.shape) != tuple(action.shape):
        raise UnsupportedPolicyError(
            f"the postprocessor is for {of_step.shape[0]} actions, the policy has "
            f"{action.shape[0]}: {THE_OTHER}"
        )
    modes = getattr(step, "norm_map", None) or {}
    own = {_word(kind): _word(mode) for kind, mode in modes.items()}.get("ACTION")
    wanted = policy.config.normalization_mapping.get("ACTION")
    if own is not None and wanted is not None and own != _word(wanted):
        raise UnsupportedPolicyError(
            f"the postprocessor undoes a normalisation by {own}, the policy's is "
            f"{_word(wanted)}: {THE_OTHER}"
        )


def _word(value: Any) -> str:
    return str(getattr(value, "value", value))
