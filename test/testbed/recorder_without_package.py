# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The recorder on a machine where geometry_msgs is not installed."""

import sys

from failure_monitor.ros.recording import record_node

if __name__ == "__main__":
    sys.modules["geometry_msgs.msg"] = None  # type: ignore[assignment]
    record_node.main()
