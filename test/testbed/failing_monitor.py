# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The monitor, which an error ends while a rollout runs."""

from failure_monitor.errors import FailureMonitorError
from failure_monitor.ros.monitor import node

DELAY = 1.5
"""Seconds after which it ends."""


class FailingMonitor(node.MonitorNode):
    """A monitor whose time ends with an error."""

    def __init__(self) -> None:
        super().__init__()
        self.create_timer(DELAY, self._fail)

    def _fail(self) -> None:
        raise FailureMonitorError("something that nothing handles")


if __name__ == "__main__":
    node.MonitorNode = FailingMonitor  # type: ignore[misc]
    node.main()
