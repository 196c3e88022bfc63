# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Loads the real LeRobot policy of a checkpoint, with its processors. LeRobot is imported here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from failure_monitor.missing_package import require_package
from failure_monitor.policies.checkpoint import PROCESSORS, CheckpointError, checkpoint_folder


@dataclass(frozen=True, eq=False)
class LoadedPolicy:
    """A policy that is ready to act.

    Attributes:
        policy: The policy, in evaluation mode.
        preprocessor: From observations to what it takes.
        postprocessor: From what it returns to the robot's actions.
    """

    policy: Any
    preprocessor: Any
    postprocessor: Any


def load_policy(folder: Path, *, purpose: str, instead: str, device: str = "") -> LoadedPolicy:
    """Load the policy of a checkpoint, not compiled.

    Args:
        folder: The folder of the checkpoint.
        purpose: What it is loaded for.
        instead: What can be done without LeRobot.
        device: Where it computes; empty for what its configuration names.

    Raises:
        CheckpointError: The folder holds no checkpoint, or this LeRobot cannot load it.
        MissingPackageError: LeRobot is not installed.
    """
    folder = checkpoint_folder(folder)
    _reject_without_processors(folder)
    require_package("lerobot", purpose=purpose, instead=instead)
    try:
        return _load(folder, device)
    except Exception as error:  # LeRobot, safetensors, torch and draccus have errors of their own
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise CheckpointError(
            f"the LeRobot that is installed cannot load the checkpoint {folder} ({reason}): "
            "install the version that trained it, or name another checkpoint"
        ) from error


def _reject_without_processors(folder: Path) -> None:
    missing = [name for name in PROCESSORS if not (folder / name).is_file()]
    if missing:
        raise CheckpointError(
            f"{folder} has no {' and no '.join(missing)}, so it is of a LeRobot before 0.4: "
            "convert it with lerobot.processor.migrate_policy_normalization"
        )


def _load(folder: Path, device: str) -> LoadedPolicy:
    from lerobot.configs.policies import PreTrainedConfig
    from lerobot.policies.factory import get_policy_class, make_pre_post_processors

    config = PreTrainedConfig.from_pretrained(str(folder), local_files_only=True)
    config.device = device or config.device
    # The checkpoint holds all weights: those that the policy was trained from are not needed.
    for option in ("compile_model", "load_vlm_weights"):
        if hasattr(config, option):
            setattr(config, option, False)
    policy = get_policy_class(config.type).from_pretrained(
        str(folder), config=config, local_files_only=True
    )
    policy.eval()
    preprocessor, postprocessor = make_pre_post_processors(
        config,
        pretrained_path=str(folder),
        preprocessor_overrides={"device_processor": {"device": str(config.device)}},
    )
    return LoadedPolicy(policy, preprocessor, postprocessor)
