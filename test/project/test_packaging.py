# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The package as colcon and pip see it."""

import ast
import configparser
import re
import shutil
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path
from xml.etree import ElementTree

import pytest
from testbed.repository import ROOT, console_scripts, entry_points, setup_arguments

import failure_monitor

PACKAGE = ROOT / "failure_monitor"


def manifest() -> ElementTree.Element:
    return ElementTree.parse(ROOT / "package.xml").getroot()


def test_version_is_the_same_everywhere():
    version = failure_monitor.__version__
    assert manifest().findtext("version") == version
    assert ast.literal_eval(setup_arguments()["version"]) == version


def test_changelog_is_one_that_ros_can_read():
    headings = re.findall(
        r"^(\S.*)\n-+$", (ROOT / "CHANGELOG.rst").read_text(), flags=re.MULTILINE
    )
    assert headings
    assert all(
        re.fullmatch(r"Forthcoming|\d+\.\d+\.\d+ \(\d{4}-\d{2}-\d{2}\)", heading)
        for heading in headings
    )


@pytest.mark.parametrize("target", console_scripts().values(), ids=console_scripts())
def test_executable_starts_a_function_that_is_there(target):
    module, function = target.split(":")
    spec = find_spec(module)
    assert spec is not None, f"there is no module {module}"
    tree = ast.parse(Path(spec.origin).read_text())
    assert function in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_colcon_puts_executables_where_ros2_run_looks_for_them():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    folder = f"$base/lib/{PACKAGE.name}"
    assert config["develop"]["script_dir"] == folder
    assert config["install"]["install_scripts"] == folder


@pytest.fixture(scope="session")
def wheel(tmp_path_factory) -> zipfile.ZipFile:
    """The wheel, built from a copy: building leaves files beside setup.py."""
    copy = tmp_path_factory.mktemp("source")
    for name in ("setup.py", "setup.cfg", "pyproject.toml", "package.xml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    for name in ("failure_monitor", "resource", "launch", "config"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--wheel-dir", str(copy / "dist"), str(copy)], check=True)
    [path] = (copy / "dist").iterdir()
    return zipfile.ZipFile(path)


def shared_files(names: list[str]) -> set[str]:
    """What a wheel installs outside the package, relative to the prefix."""
    return {name.split(".data/data/")[1] for name in names if ".data/data/" in name}


def test_names_on_the_path_begin_with_that_of_the_package():
    """Others have nodes, too: `gate_node` could be anyone's."""
    nodes = {name for name in console_scripts() if name.endswith("_node")}
    assert len(nodes) == 9
    assert all(re.fullmatch(r"failure_monitor(_[a-z]+)*_node", name) for name in nodes)
    assert set(console_scripts()) - nodes == {"failure-monitor", "failure_monitor_demo_director"}


def test_wheel_holds_code_and_types_and_leaves_out_the_demos_models_and_bags(wheel):
    names = set(wheel.namelist())
    expected = [
        path.relative_to(ROOT).as_posix()
        for pattern in ("**/*.py", "py.typed", "demo/demo.yaml")
        for path in PACKAGE.glob(pattern)
        if not any(part.startswith(".") for part in path.relative_to(ROOT).parts)
    ]
    assert set(expected) <= names
    assert not [name for name in names if name.startswith(("test/", "benchmarks/"))]
    assert not [name for name in names if re.search("demo/(models|bags)", name)]
    assert sum(file.compress_size for file in wheel.infolist()) < 2_000_000


def test_wheel_shares_launch_and_parameter_files(wheel):
    share = "share/failure_monitor"
    expected = {
        f"{share}/{path.relative_to(ROOT).as_posix()}"
        for path in [*ROOT.glob("launch/*.launch.xml"), *ROOT.glob("config/*.yaml")]
    }
    assert expected
    assert expected | {f"{share}/package.xml"} <= shared_files(wheel.namelist())


def test_wheel_puts_executables_on_the_path(wheel):
    [listed] = [name for name in wheel.namelist() if name.endswith("entry_points.txt")]
    config = configparser.ConfigParser()
    config.read_string(wheel.read(listed).decode())
    # pip makes an executable in `bin` of each; a script of the wheel itself would go elsewhere.
    assert dict(config["console_scripts"]) == console_scripts()
    assert dict(config["ros2cli.command"]) == entry_points("ros2cli.command")
    assert not [name for name in wheel.namelist() if ".data/scripts/" in name]
