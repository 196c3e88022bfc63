# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Checks a snapshot of a ROS graph against what monitor, gate and bundle need; pure."""
