# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Every node's parameters as frozen dataclasses, without ROS, one file per node or group."""
