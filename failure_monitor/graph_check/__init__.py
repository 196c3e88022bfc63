# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The live ROS graph against what monitor, gate and bundle need of it; pure."""
