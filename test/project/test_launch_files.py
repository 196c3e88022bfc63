# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Launch and parameter files name what the nodes really have.

The nodes are made for real, as whoever launches them would. `ros2 launch` itself is tried only
where it is installed: in a sourced ROS 2.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import rclpy
import yaml
from rclpy.node import Node
from testbed.repository import ROOT

from failure_monitor.parameters.monitor import MonitorParameters
from failure_monitor.ros.common.parameters import check_parameters, read_parameters
from failure_monitor.ros.gate.gated_command import MAX_STOP_DURATION
from failure_monitor.ros.gate.node import MAX_END

LAUNCH_FILES = sorted((ROOT / "launch").glob("*.launch.xml"))
CONFIG_FILES = sorted((ROOT / "config").glob("*.yaml"))

NODES = {
    "failure_monitor_node": ("failure_monitor.ros.monitor.node", "MonitorNode"),
    "failure_monitor_displays_node": ("failure_monitor.ros.displays.node", "DisplaysNode"),
    "failure_monitor_gate_node": ("failure_monitor.ros.gate.node", "GateNode"),
    "failure_monitor_judge_node": ("failure_monitor.ros.judging.node", "JudgeNode"),
    "failure_monitor_metrics_node": ("failure_monitor.ros.metrics.node", "MetricsNode"),
    "failure_monitor_demo_robot_node": ("failure_monitor.demo.robot_node", "RobotNode"),
    "failure_monitor_demo_policy_node": ("failure_monitor.demo.policy_node", "PolicyNode"),
}
"""The nodes by their executables."""

FILE_OF = {
    "failure_monitor_node": "monitor.yaml",
    "failure_monitor_displays_node": "displays.yaml",
    "failure_monitor_gate_node": "gate.yaml",
}
"""Parameter files that are whole, with every default."""

FOREIGN_PARAMETERS = {"use_sim_time", "start_type_description_service"}
"""Declared by rclpy itself."""

NODE_ATTRIBUTES = {"pkg", "exec", "name", "namespace", "output", "args", "ros_args", "respawn"}
"""Humble refuses a launch file with any other, such as on_exit."""


@contextmanager
def running(executable: str, *ros_args: str) -> Iterator[Node]:
    """The node of an executable, made with these ROS arguments."""
    module, name = NODES[executable]
    rclpy.init(args=["--ros-args", *ros_args])
    try:
        node = getattr(import_module(module), name)()
        try:
            yield node
        finally:
            node.destroy_node()
    finally:
        rclpy.try_shutdown()


def own_parameters(node: Node) -> dict[str, Any]:
    """The values of the parameters that the node itself declares."""
    return {
        name: parameter.value
        for name, parameter in node.get_parameters_by_prefix("").items()
        if name not in FOREIGN_PARAMETERS and not name.startswith("qos_overrides")
    }


def topics(node: Node) -> set[str]:
    """Full names of what the node publishes and subscribes to, now or once it is active."""
    named = {
        value for name, value in own_parameters(node).items() if name.endswith("_topic") and value
    }
    live = {endpoint.topic_name for endpoint in (*node.publishers, *node.subscriptions)}
    return live | {node.resolve_topic_name(name) for name in named}


def sections(config: Path) -> dict[str, dict[str, Any]]:
    """The parameters in a file, by the node's name."""
    content = yaml.safe_load(config.read_text())
    return {name: section["ros__parameters"] for name, section in content.items()}


def launched(launch_file: Path) -> list[ElementTree.Element]:
    return list(ElementTree.parse(launch_file).getroot().iter("node"))


def launched_nodes() -> list[Any]:
    """Every node of every launch file that is one of ours to be made."""
    return [
        pytest.param(launch_file, element, id=f"{launch_file.name}-{element.get('exec')}")
        for launch_file in LAUNCH_FILES
        for element in launched(launch_file)
        if element.get("exec") in NODES
    ]


def executables() -> set[str]:
    setup = (ROOT / "setup.py").read_text()
    return set(re.findall(r'"(failure\S+) = ', setup))


# Parameter files


@pytest.mark.ros
@pytest.mark.parametrize("executable", FILE_OF)
def test_parameter_file_lists_every_parameter_at_its_default(executable):
    config = ROOT / "config" / FILE_OF[executable]
    with running(executable) as node:
        assert sections(config) == {"/**": own_parameters(node)}


@pytest.mark.ros
@pytest.mark.parametrize(
    ("executable", "name"),
    [("failure_monitor_node", "hardware_id"), ("failure_monitor_gate_node", "joint_states_topic")],
)
def test_parameter_file_counts_in_a_namespace_and_under_another_name(executable, name, tmp_path):
    text = (ROOT / "config" / FILE_OF[executable]).read_text()
    config = tmp_path / "changed.yaml"
    config.write_text(re.sub(rf"^( *{name}:).*$", r"\1 changed", text, flags=re.MULTILINE))
    arguments = ["-r", "__ns:=/left", "-r", "__node:=other", "--params-file", str(config)]
    with running(executable, *arguments) as node:
        assert node.get_parameter(name).value == "changed"


@pytest.mark.ros
def test_demo_parameters_are_declared_by_its_nodes_with_these_types():
    config = ROOT / "config" / "demo.yaml"
    names = {
        element.get("name"): element.get("exec")
        for element in launched(ROOT / "launch" / "demo.launch.xml")
    }
    for name, parameters in sections(config).items():
        with running(names[name.lstrip("/")], "--params-file", str(config)) as node:
            declared = own_parameters(node)
            assert parameters.items() <= declared.items()


@pytest.mark.ros
@pytest.mark.parametrize("name", ["monitor_black_box", "monitor_arms", "monitor_pauses"])
def test_parameters_of_a_special_case_are_declared_with_these_types_and_go_together(name):
    config = ROOT / "config" / f"{name}.yaml"
    for node_name, parameters in sections(config).items():
        arguments = ["--params-file", str(config)]
        if node_name != "/**":
            _, namespace, own_name = node_name.split("/")
            arguments += ["-r", f"__ns:=/{namespace}", "-r", f"__node:={own_name}"]
        with running("failure_monitor_node", *arguments) as node:
            assert parameters.items() <= own_parameters(node).items()
            check_parameters(node, read_parameters(node, MonitorParameters))


@pytest.mark.parametrize("config", CONFIG_FILES, ids=lambda path: path.name)
def test_every_parameter_has_a_comment(config):
    lines = config.read_text().splitlines()
    for number, line in enumerate(lines):
        if re.match(r" {4}\w+:", line):
            above = lines[number - 1]
            assert re.match(r" {4}(#|\w+:)", above), f"{config.name}:{number + 1} has no comment"


# Launch files


@pytest.mark.parametrize("launch_file", LAUNCH_FILES, ids=lambda path: path.name)
class TestLaunchFile:
    def test_executables_are_entry_points(self, launch_file):
        names = {
            element.get("exec")
            for element in launched(launch_file)
            if element.get("pkg") == "failure_monitor"
        }
        assert names
        assert names <= executables()

    def test_nodes_have_only_attributes_that_humble_knows(self, launch_file):
        for element in launched(launch_file):
            assert set(element.keys()) <= NODE_ATTRIBUTES

    def test_arguments_are_declared_described_and_used(self, launch_file):
        declared = ElementTree.parse(launch_file).getroot().findall("arg")
        used = set(re.findall(r"\$\(var (\w+)\)", launch_file.read_text()))
        assert {argument.get("name") for argument in declared} == used
        assert all(argument.get("description") for argument in declared)

    @pytest.mark.law(5)
    def test_the_gate_has_the_time_for_its_longest_ramp(self, launch_file):
        root = ElementTree.parse(launch_file).getroot()
        [granted] = [one for one in root.findall("arg") if one.get("name") == "stop_timeout"]
        # Of the whole launch: in a group it would be forgotten by the time of Ctrl-C.
        [let] = root.findall("let")
        assert let.attrib == {"name": "sigterm_timeout", "value": "$(var stop_timeout)"}
        assert float(granted.get("default")) > MAX_STOP_DURATION + MAX_END
        [gate] = [
            one for one in root.iter("node") if one.get("exec") == "failure_monitor_gate_node"
        ]
        given = {one.get("name"): one.get("value") for one in gate.findall("param")}
        assert given["stop_timeout"] == "$(var stop_timeout)"

    def test_files_of_the_package_exist(self, launch_file):
        text = launch_file.read_text()
        files = re.findall(r'\$\(find-pkg-share failure_monitor\)/([^"]+)"', text)
        assert files
        assert [name for name in files if not (ROOT / name).is_file()] == []

    def test_ros2_launch_reads_it(self, launch_file):
        frontend = pytest.importorskip("launch.frontend", reason="needs a sourced ROS 2")
        entity, parser = frontend.Parser.load(str(launch_file))
        assert parser.parse_description(entity).entities


@pytest.mark.ros
@pytest.mark.parametrize(("launch_file", "element"), launched_nodes())
def test_launched_node_has_the_parameters_and_topics_that_are_set(launch_file, element):
    parameters = {param.get("name") for param in element.iter("param") if param.get("name")}
    remapped = {remap.get("from") for remap in element.iter("remap")}
    with running(element.get("exec")) as node:
        assert parameters <= own_parameters(node).keys()
        assert {node.resolve_topic_name(name) for name in remapped} <= topics(node)


def test_default_arguments_are_the_defaults_of_the_nodes():
    launch_file = ROOT / "launch" / "monitor.launch.xml"
    root = ElementTree.parse(launch_file).getroot()
    defaults = {argument.get("name"): argument.get("default") for argument in root.findall("arg")}
    for element in launched(launch_file):
        for remap in element.iter("remap") if element.get("pkg") == "failure_monitor" else ():
            argument = re.fullmatch(r"\$\(var (\w+)\)", remap.get("to")).group(1)
            assert defaults[argument] == remap.get("from")
    assert defaults["command_type"] == sections(ROOT / "config/gate.yaml")["/**"]["command.type"]
