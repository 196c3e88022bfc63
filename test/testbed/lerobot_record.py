# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""LeRobot's own `lerobot-record` with a robot that only writes down what it is told.

python -m testbed.lerobot_record --robot.type=paper --robot.path=FILE ...
"""

from __future__ import annotations

import json
import sys
import types
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from lerobot.robots.config import RobotConfig
from lerobot.robots.robot import Robot

from testbed.lerobot_policies import ACTIONS, IMAGE


@RobotConfig.register_subclass("paper")
@dataclass
class PaperConfig(RobotConfig):
    """Where the robot writes, one JSON list for every action."""

    path: Path = Path("actions.jsonl")


class Paper(Robot):
    """A robot whose observations depend on their number alone."""

    config_class = PaperConfig
    name = "paper"

    def __init__(self, config: PaperConfig) -> None:
        super().__init__(config)
        self._path = config.path
        self._seen = 0
        self._is_connected = False
        self.cameras: dict[str, Any] = {}

    @property
    def observation_features(self) -> dict[str, Any]:
        channels, height, width = IMAGE
        return {**dict.fromkeys(ACTIONS, float), "front": (height, width, channels)}

    @property
    def action_features(self) -> dict[str, Any]:
        return dict.fromkeys(ACTIONS, float)

    @property
    def is_connected(self) -> bool:
        return self._is_connected

    def connect(self, calibrate: bool = True) -> None:
        self._is_connected = True
        self._path.touch()

    @property
    def is_calibrated(self) -> bool:
        return True

    def calibrate(self) -> None:
        pass

    def configure(self) -> None:
        pass

    def get_observation(self) -> dict[str, Any]:
        self._seen += 1
        generator = np.random.default_rng(self._seen)
        channels, height, width = IMAGE
        image = generator.integers(0, 255, (height, width, channels), dtype=np.uint8)
        return {**{name: float(generator.random()) for name in ACTIONS}, "front": image}

    def send_action(self, action: dict[str, Any]) -> dict[str, Any]:
        with self._path.open("a") as file:
            file.write(json.dumps([float(action[name]) for name in ACTIONS]) + "\n")
        return action

    def disconnect(self) -> None:
        self._is_connected = False


def main() -> None:
    """Run lerobot-record."""
    # It imports this for a display that is not used.
    sys.modules.setdefault("rerun", types.ModuleType("rerun"))
    # The robot's class is looked for in the module of its configuration's.
    sys.modules["testbed.lerobot_record"] = sys.modules["__main__"]
    from lerobot.scripts.lerobot_record import main

    main()


if __name__ == "__main__":
    main()
