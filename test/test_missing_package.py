# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Whatever is not installed is named with the command that installs it."""

from __future__ import annotations

import ast

import pytest
from testbed.repository import ROOT

from failure_monitor.missing_package import EXTRAS, MissingPackageError, require_package


@pytest.mark.parametrize(
    ("module", "remedy"),
    [
        ("torch.nn", "pip install 'failure_monitor[calibrate]'"),
        ("mujoco", "pip install 'failure_monitor[demo]'"),
        ("rosbags", "pip install rosbags"),
        ("cv2", "pip install opencv-python-headless"),
        ("sensor_msgs.msg", "source its setup file"),
    ],
)
def test_the_error_names_the_package_and_its_remedy(module: str, remedy: str) -> None:
    sentence = str(MissingPackageError(module))
    assert f"the Python package '{module.split('.')[0]}' is needed and not installed" in sentence
    assert sentence.endswith(remedy) or remedy in sentence


def test_a_package_that_is_installed_is_accepted_and_another_rejected() -> None:
    require_package("numpy")
    with pytest.raises(MissingPackageError, match="'no_such_package'"):
        require_package("no_such_package")


def test_every_extra_installs_what_its_error_says() -> None:
    setup = ast.parse((ROOT / "setup.py").read_text())
    lists = {
        node.targets[0].id.lower(): ast.unparse(node.value)  # type: ignore[attr-defined]
        for node in setup.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.List)
    }
    for package, extra in EXTRAS.items():
        assert f"'{package}" in lists[extra]
