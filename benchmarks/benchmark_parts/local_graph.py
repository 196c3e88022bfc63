# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Import it before rclpy: a ROS domain that no other graph joins, and the tests' nodes."""

import os
import random
import sys
from pathlib import Path

os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
os.environ.setdefault("ROS_DOMAIN_ID", str(random.SystemRandom().randint(20, 100)))
TEST_FOLDER = str(Path(__file__).parents[2] / "test")
sys.path.insert(0, TEST_FOLDER)
# Processes that a benchmark starts find the tests' nodes as well.
os.environ["PYTHONPATH"] = os.pathsep.join(
    [TEST_FOLDER, *filter(None, [os.environ.get("PYTHONPATH")])]
)
