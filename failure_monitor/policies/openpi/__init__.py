# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Policies that openpi serves: `client` beside the robot, `server` around the served policy."""
