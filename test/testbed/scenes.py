# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What two cameras and three joints show of a robot that moves a little."""

from __future__ import annotations

import numpy as np

from failure_monitor.policy_models.observation import Observation

CAMERAS = {"front": (12, 16), "wrist": (8, 8)}
"""Height and width of their pictures, by their names."""

JOINTS = ("shoulder", "elbow", "gripper")


def scenes(seed: int, count: int = 10) -> list[Observation]:
    """Return the scenes of a rollout."""
    random = np.random.default_rng(seed)
    seen = []
    for index in range(count):
        images = {
            name: (100 + 5 * index + random.integers(0, 40, (height, width, 3))).astype(np.uint8)
            for name, (height, width) in CAMERAS.items()
        }
        joints = (0.1 * index + 0.05 * random.normal(size=len(JOINTS))).astype(np.float32)
        seen.append(Observation(index * 10**8, images, joints))
    return seen
