# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Where the demo's models and bags lie: in the repository, and in a workspace that was built."""

from __future__ import annotations

from pathlib import Path

from failure_monitor.errors import FailureMonitorError

IN_REPOSITORY = Path(__file__).parent / "demo"


class NoDemoDataError(FailureMonitorError):
    """The demo's models and bags are not installed."""


def _folder() -> Path:
    if (IN_REPOSITORY / "models").is_dir():
        return IN_REPOSITORY
    try:
        from ament_index_python.packages import get_package_share_directory

        return Path(get_package_share_directory("failure_monitor")) / "demo"
    # Without ROS, outside of a workspace, or without any.
    except (ImportError, LookupError, OSError):
        return IN_REPOSITORY


DEMO_DATA = _folder()
"""The folder of the models and bags."""


def require_demo_data() -> None:
    """Reject an installation without the demo's models and bags.

    Raises:
        NoDemoDataError: they are missing.
    """
    if not (DEMO_DATA / "models").is_dir():
        raise NoDemoDataError(
            "the demo's models and bags are not part of what pip installs: clone the repository "
            "of failure_monitor and run `make demo` in it, or build it in a ROS 2 workspace"
        )
