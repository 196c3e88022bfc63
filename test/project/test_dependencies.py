# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What the package imports is what setup.py and package.xml declare, and no more."""

from __future__ import annotations

import ast
import re
import runpy
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch
from xml.etree import ElementTree

import pytest
from testbed.repository import ROOT

PACKAGE = ROOT / "failure_monitor"


@dataclass(frozen=True)
class Declared:
    """What installs a module.

    Attributes:
        pip: its distribution on PyPI, as setup.py names it; empty for packages of ROS.
        rosdep: its key in package.xml; empty where there is none, and pip is needed.
    """

    pip: str = ""
    rosdep: str = ""


ROS_PACKAGES = (
    "action_msgs",
    "ament_index_python",
    "builtin_interfaces",
    "diagnostic_msgs",
    "geometry_msgs",
    "lifecycle_msgs",
    "rcl_interfaces",
    "rosgraph_msgs",
    "rclpy",
    "ros2cli",
    "sensor_msgs",
    "std_msgs",
    "std_srvs",
    "trajectory_msgs",
    "visualization_msgs",
)

MODULES = {
    "av": Declared("av"),
    "backports": Declared("backports.zstd"),
    "cv2": Declared("opencv-python-headless", "python3-opencv"),
    "fsspec": Declared("fsspec"),
    "jinja2": Declared("jinja2"),
    "lz4": Declared("lz4"),
    "markupsafe": Declared("markupsafe"),
    "matplotlib": Declared("matplotlib"),
    "metaworld": Declared("metaworld"),
    "mujoco": Declared("mujoco"),
    "numpy": Declared("numpy", "python3-numpy"),
    "onnx": Declared("onnx"),
    "onnxruntime": Declared("onnxruntime"),
    "pyarrow": Declared("pyarrow"),
    "rich": Declared("rich", "python3-rich"),
    "rosbags": Declared("rosbags"),
    "ray": Declared("ray"),
    "scipy": Declared("scipy", "python3-scipy"),
    "torch": Declared("torch"),
    "yaml": Declared("PyYAML", "python3-yaml"),
    **{name: Declared(rosdep=name) for name in ROS_PACKAGES},
}
"""What installs each module that the package imports."""

BY_HAND = {"backports", "lz4", "onnxruntime", "rosbags"}
"""Modules that no Debian package holds: a released package may not depend on what pip installs."""

DO_WITHOUT = {
    # Python's own from 3.14 on.
    "compression",
    # Brought by rosbags before 0.11.2, in place of backports.zstd.
    "zstandard",
    # Named in a message about frames where ROS has it.
    "tf2_msgs",
    # Who is driven by a policy server of openpi has its client, and that has websockets; who
    # serves a policy with it has JAX.
    "flax",
    "jax",
    "openpi_client",
    # LeRobot has it, and has downloaded the checkpoint with it.
    "huggingface_hub",
    "lerobot",
    "websockets",
}
"""Modules that are used where they are installed, and declared nowhere."""

FOUND_BY_ADDRESS = {"s3fs"}
"""What fsspec imports for an address; no module imports them."""

STARTED = {"launch_xml", "ros2launch"}
"""Packages of ROS that read launch files; no module imports them."""

ROOMS_OF_EXTRAS = {
    "calibrate": (
        "calibration",
        "demo",
        "fleet/fleet_page.py",
        "policy_models/export.py",
        "policy_models/torch_to_onnx.py",
        "report",
    ),
    "demo": ("demo",),
    "lerobot": ("sources", "policies"),
    "ray": ("executors/ray_cluster.py", "executors/ray_executor.py"),
    "remote": ("sources/addresses.py",),
}
"""Rooms and files that may import what only an extra installs."""

BROUGHT = {"torch": ("policies", "ros/lerobot_tap.py", "sources/lerobot_replay.py")}
"""What a policy brings, wherever it is watched."""


def setup_arguments() -> dict[str, object]:
    """Return the arguments with which setup.py calls `setup`."""
    with patch("setuptools.setup") as setup:
        runpy.run_path(str(ROOT / "setup.py"))
    return setup.call_args.kwargs


def distributions(requirements: list[str]) -> set[str]:
    return {re.match(r"[\w.-]+", requirement).group() for requirement in requirements}


SETUP = setup_arguments()
INSTALLED = distributions(SETUP["install_requires"])
EXTRAS = {extra: distributions(SETUP["extras_require"][extra]) for extra in ROOMS_OF_EXTRAS}
MANIFEST = ElementTree.parse(ROOT / "package.xml").getroot()
EXEC_DEPENDS = {depend.text for depend in MANIFEST.iter("exec_depend")}


def imports_of(path: Path) -> Iterator[str]:
    """Yield the top-level names that a file imports, anywhere and in any way."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            names = [node.module]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(
            ("import_module", "__import__")
        ):
            names = [node.args[0].value] if isinstance(node.args[0], ast.Constant) else []
        yield from (name.split(".")[0] for name in names)


def third_party_imports() -> dict[str, set[str]]:
    """Return the files, relative to the package, that import each module of others."""
    found: dict[str, set[str]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        for name in imports_of(path):
            if name not in sys.stdlib_module_names and name != PACKAGE.name:
                found.setdefault(name, set()).add(path.relative_to(PACKAGE).as_posix())
    return {name: files for name, files in found.items() if name not in DO_WITHOUT}


IMPORTS = third_party_imports()


def outside(files: set[str], rooms: tuple[str, ...]) -> set[str]:
    return {file for file in files if not f"{file}/".startswith(tuple(f"{r}/" for r in rooms))}


def test_the_table_has_every_module_that_is_imported_and_no_other():
    assert set(IMPORTS) == set(MODULES)


@pytest.mark.parametrize("module", sorted(module for module in MODULES if MODULES[module].pip))
def test_a_module_is_installed_by_setup_py_wherever_it_is_imported(module: str):
    distribution = MODULES[module].pip
    if distribution in INSTALLED:
        return
    rooms = BROUGHT.get(module, ()) + tuple(
        room
        for extra, names in EXTRAS.items()
        if distribution in names
        for room in ROOMS_OF_EXTRAS[extra]
    )
    assert rooms, f"setup.py does not require {distribution}"
    assert not outside(IMPORTS[module], rooms), f"{distribution} is only in an extra"


@pytest.mark.parametrize("module", sorted(MODULES))
def test_a_module_is_a_dependency_of_the_ros_package_unless_only_extras_need_it(module: str):
    declared = MODULES[module]
    if declared.rosdep:
        assert declared.rosdep in EXEC_DEPENDS
    elif module in BY_HAND:
        installation = (ROOT / "docs" / "installation.md").read_text()
        assert declared.pip in installation
    else:
        assert declared.pip not in INSTALLED


def test_nothing_is_declared_that_is_not_imported():
    used = {MODULES[module] for module in IMPORTS}
    pips = {declared.pip for declared in used}
    assert pips >= INSTALLED
    assert pips | FOUND_BY_ADDRESS >= set.union(*EXTRAS.values())
    assert {declared.rosdep for declared in used} - {""} | STARTED == EXEC_DEPENDS


def test_no_key_of_the_ros_package_is_for_pip():
    """A package that is released for ROS may depend on Debian packages alone."""
    assert not [depend for depend in MANIFEST.iter() if (depend.text or "").endswith("-pip")]


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import numpy.linalg as la", ["numpy"]),
        ("def f():\n    from torch import nn", ["torch"]),
        ("from importlib import import_module\nimport_module('tf2_msgs.msg')", ["tf2_msgs"]),
        ("import importlib\nimportlib.import_module('onnx')", ["onnx"]),
        ("if TYPE_CHECKING:\n    import mujoco", ["mujoco"]),
    ],
)
def test_every_way_to_import_is_seen(tmp_path: Path, source: str, found: list[str]):
    (tmp_path / "module.py").write_text(source)
    seen = [name for name in imports_of(tmp_path / "module.py") if "importlib" not in name]
    assert seen == found
