# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Who names a parameter, and for which nodes, is read as ROS reads it."""

from __future__ import annotations

from pathlib import Path

import pytest
import rclpy
import yaml
from rclpy.context import Context
from rclpy.node import Node

from failure_monitor.ros.common.given_parameters import Given, given_by


def test_what_names_parameters_is_found_among_the_arguments(tmp_path: Path):
    file = tmp_path / "all.yaml"
    file.write_text(
        "/**: {ros__parameters: {a: 1}}\n"
        "robot:\n"
        "  gate: {ros__parameters: {b: {c: 1, d: 2}, e.f: 3}}\n"
        "robot/monitor: {ros__parameters: {}}\n"
        "robot: {arm: {ros__parameters: {g: 1}}}\n"
    )
    arguments = "node -p no:=1 --ros-args -p x:=1 -r a:=b --param gate:y:=2 -- -p no:=1"
    assert given_by([*arguments.split(), "--ros-args", "--params-file", str(file)]) == [
        Given("", "/**", ("x",)),
        Given("", "gate", ("y",)),
        Given(str(file), "/**", ("a",)),
        Given(str(file), "robot/gate", ("b.c", "b.d", "e.f")),
        Given(str(file), "robot/monitor", ()),
        Given(str(file), "robot/arm", ("g",)),
    ]


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe", b"a: [", b"- 1", b"1: 2", b"a: b"])
def test_a_file_that_says_nothing_names_nothing(tmp_path: Path, content):
    file = tmp_path / "file.yaml"
    if content is not None:
        file.write_bytes(content)
    assert given_by(["node", "--ros-args", "--params-file", str(file)]) == []


KEYS = [
    "/**",
    "**",
    "/*",
    "*",
    "/**/gate",
    "/*/gate",
    "*/gate",
    "/a/**",
    "a/**",
    "/a/*",
    "/gate",
    "gate",
    "/a/gate",
    "a/gate",
    "/*/*",
    "/**/*",
    "/other",
    "a",
    "/a/**/gate",
]


@pytest.mark.ros
@pytest.mark.parametrize("namespace", ["/", "/a", "/a/b"])
def test_a_key_is_for_the_nodes_that_ros_gives_its_parameters_to(tmp_path: Path, namespace):
    file = tmp_path / "keys.yaml"
    file.write_text(
        yaml.safe_dump({key: {"ros__parameters": {f"p{n}": 1}} for n, key in enumerate(KEYS)})
    )
    arguments = ["--ros-args", "--params-file", str(file), "-r", f"__ns:={namespace}"]
    context = Context()
    rclpy.init(args=arguments, context=context)
    node = Node("gate", context=context, automatically_declare_parameters_from_overrides=True)
    try:
        for given in given_by(["node", *arguments]):
            name = given.names[0]
            assert given.is_for(node.get_fully_qualified_name()) == node.has_parameter(name), given
    finally:
        node.destroy_node()
        rclpy.shutdown(context=context)
