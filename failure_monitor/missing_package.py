# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The error about a Python package that is not installed, with the command that installs it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from failure_monitor.errors import FailureMonitorError

EXTRAS = {
    "av": "lerobot",
    "fsspec": "remote",
    "jinja2": "calibrate",
    "matplotlib": "calibrate",
    "metaworld": "demo",
    "mujoco": "demo",
    "onnx": "calibrate",
    "pyarrow": "lerobot",
    "ray": "ray",
    "s3fs": "remote",
    "torch": "calibrate",
}
"""The extra of setup.py that installs a package, by the name under which it is imported."""

DISTRIBUTIONS = {
    "backports": "backports.zstd",
    "cv2": "opencv-python-headless",
    "yaml": "PyYAML",
}
"""What pip calls a package that is imported under another name."""


class MissingPackageError(FailureMonitorError):
    """A Python package that is needed is not installed."""

    def __init__(self, module: str, *, purpose: str = "", instead: str = "") -> None:
        """Name the package and how to install it.

        Args:
            module: The name under which it is imported; a submodule stands for its package.
            purpose: What it is needed for; empty where the command itself needs it.
            instead: What can be done without it.
        """
        package = module.partition(".")[0]
        start = f"for {purpose}, " if purpose else ""
        end = f", or {instead}" if instead else ""
        super().__init__(
            f"{start}the Python package '{package}' is needed and not installed: "
            f"{_remedy(package)}{end}"
        )


def require_package(package: str, *, purpose: str = "", instead: str = "") -> None:
    """Reject a machine on which a package is not installed, without importing it.

    Args:
        package: The name under which it is imported.
        purpose: What it is needed for.
        instead: What can be done without it.

    Raises:
        MissingPackageError: It is not installed.
    """
    if find_spec(package) is None:
        raise MissingPackageError(package, purpose=purpose, instead=instead)


@contextmanager
def missing_packages_named() -> Iterator[None]:
    """Turn the error of an import that fails in the block into one that names the remedy.

    Raises:
        MissingPackageError: A package is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("failure_monitor"):
            raise
        raise MissingPackageError(error.name or str(error)) from error


def _remedy(package: str) -> str:
    if package == "rclpy" or package.endswith(("_msgs", "_srvs", "_interfaces")):
        return (
            "it belongs to ROS 2: source its setup file, such as /opt/ros/jazzy/setup.bash, or "
            "install its wheels (docs/installation.md)"
        )
    if package in EXTRAS:
        return f"pip install 'failure_monitor[{EXTRAS[package]}]'"
    return f"pip install {DISTRIBUTIONS.get(package, package)}"
