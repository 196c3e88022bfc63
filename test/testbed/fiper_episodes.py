# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Small episodes as FIPER saves them."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np


def metadata(*, success: bool = True, **changes: Any) -> dict[str, Any]:
    return {
        "metadata": True,
        "task": "sorting",
        "episode": 0,
        "num_robots": 1,
        "rollout_type": "test",
        "rollout_subtype": "id",
        "action_prediction_horizon": 5,
        "action_execution_horizon": 2,
        "action_batch_size": 4,
        "action_mappings": {"pos": None, "vel": [0, 1], "gripper": [2]},
        "successful": success,
    } | changes


def steps(decisions: int = 6, *, seed: int = 0, **changes: Any) -> list[dict[str, Any]]:
    random = np.random.default_rng(seed)
    made = []
    for index in range(decisions):
        chunks = random.normal(size=(4, 5, 3))
        made.append(
            {
                "rgb": np.zeros((8, 8, 3), np.uint8),
                "action": chunks[index % 4],
                "action_pred": chunks,
                "agent_pos": random.normal(size=3).astype(np.float32),
                "obs_embedding": random.normal(size=6).astype(np.float32),
                "state_embedding": None,
                "timestamp": np.float64(0.14 * index),
                "step": index,
            }
            | changes
        )
    return made


def episode(**changes: Any) -> dict[str, Any]:
    return {"metadata": metadata(), "rollout": steps()} | changes


def write_episode(path: Path, content: Any, protocol: int | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content, protocol))
    return path


def write_folder(folder: Path) -> Path:
    """Write two calibration episodes, one of them failed, and two test episodes."""
    for seed, (place, success, subtype) in enumerate(
        [
            ("calibration/episode_s_0000", True, "ca"),
            ("calibration/episode_f_0001", False, "ca"),
            ("test/episode_f_0000", False, "eb"),
            ("test/episode_s_0001", True, "id"),
        ]
    ):
        content = episode(
            metadata=metadata(success=success, rollout_subtype=subtype),
            rollout=steps(3 + seed, seed=seed),
        )
        write_episode(folder / f"{place}.pkl", content)
    return folder
