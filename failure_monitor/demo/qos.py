# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Quality of service of the simulated robot's sensors: reliable, so that no bag has gaps."""

from rclpy.qos import QoSProfile, ReliabilityPolicy

CAMERA_QOS = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
"""Images from the camera."""

JOINT_QOS = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
"""Joint states."""
