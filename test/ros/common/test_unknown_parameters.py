# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A parameter that a node does not have is never taken without a word."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from testbed.repository import console_scripts
from testbed.ros_graph import DISCOVERY, NodeProcess

from failure_monitor.parameters.nodes import NODES

pytestmark = pytest.mark.ros

GATE, NAME = "failure_monitor_gate_node", "/failure_monitor_gate"


def rejected(executable: str, *arguments: str) -> str:
    """Return what a node says that does not start."""
    module, function = console_scripts()[executable].split(":")
    start = f"from {module} import {function}; {function}()"
    node = subprocess.run(
        [sys.executable, "-c", start, "--ros-args", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=DISCOVERY,
    )
    assert node.returncode == 2, node.stdout
    assert "Traceback" not in node.stdout
    return node.stdout


@pytest.fixture
def log_of_gate():
    """Start a gate; return what it has logged once it runs."""

    def start(*arguments: str) -> str:
        gate = NodeProcess("failure_monitor.ros.gate.node", *arguments)
        lines = []
        for line in gate.lines():
            lines.append(line)
            if "closed: " in line:
                break
        code, output = gate.end()
        assert code == 0, output
        return "".join(lines)

    return start


def parameter_file(tmp_path: Path, text: str) -> str:
    file = tmp_path / "p.yaml"
    file.write_text(text)
    return str(file)


@pytest.mark.parametrize("node", NODES, ids=lambda node: node.executable)
def test_every_node_names_a_mistyped_parameter_and_the_nearest_that_there_is(node, tmp_path):
    right, _, _ = next(node.defaults())
    wrong = f"{right[:-1]}x{right[-1]}"
    output = rejected(node.executable, "-p", f"{wrong}:=x", "-p", f"output:={tmp_path}")
    assert f"there is no parameter '{wrong}': did you mean '{right}'?" in output


@pytest.mark.parametrize("key", [NAME, NAME[1:], f"/**{NAME}"])
def test_what_stands_in_a_file_under_the_name_of_the_node_is_rejected(key, tmp_path):
    file = parameter_file(tmp_path, f"{key}: {{ros__parameters: {{permit_topic: [a, b]}}}}\n")
    assert f"did you mean 'permit_topics'? (in '{file}' under '{key}')" in rejected(
        GATE, "--params-file", file
    )


def test_a_node_that_was_given_another_name_knows_its_parameters_by_that(tmp_path):
    file = parameter_file(tmp_path, "/arm/gate: {ros__parameters: {permit_topic: [a]}}\n")
    names = ("-r", "__node:=gate", "-r", "__ns:=/arm")
    assert "gate: there is no parameter 'permit_topic'" in rejected(
        GATE, *names, "--params-file", file
    )


def test_what_every_node_is_given_is_named_once_and_does_no_harm(tmp_path, log_of_gate):
    file = parameter_file(
        tmp_path, "/**: {ros__parameters: {permit_lise: 0.1, wheels: 4, use_sim_time: false}}\n"
    )
    log = log_of_gate("--params-file", file)
    (line,) = (line for line in log.splitlines() if "WARN" in line)
    assert "'permit_lise' (did you mean 'permit_lease'?), 'wheels'" in line
    assert file in line


def test_a_file_for_other_nodes_alone_is_named(tmp_path, log_of_gate):
    file = parameter_file(tmp_path, "gate: {ros__parameters: {permit_lease: 0.1}}\n")
    log = log_of_gate("--params-file", file, "-p", "gate:permit_lease:=0.1")
    first, second = (line for line in log.splitlines() if "WARN" in line)
    assert (
        f"'gate:permit_lease' is for the node 'gate', and has no effect on this one, '{NAME}'"
        in (first)
    )
    assert f"'{file}' has no effect: its keys are 'gate', and this node is '{NAME}'" in second


def test_a_file_for_several_nodes_and_what_belongs_to_ros_are_no_reason_for_a_word(
    tmp_path, log_of_gate
):
    file = parameter_file(
        tmp_path,
        "other: {ros__parameters: {a: 1}}\n"
        f"{NAME}: {{ros__parameters: {{permit_lease: 0.3}}}}\n"
        "/**: {ros__parameters: {start_type_description_service: false, use_sim_time: false}}\n",
    )
    assert not re.search("WARN|ERROR", log_of_gate("--params-file", file))


def test_a_monitor_still_takes_the_parameters_of_its_displays(tmp_path):
    output = rejected("failure_monitor_node", "-p", "markers.rate:=2.0", "-p", "overlay.rat:=2.0")
    assert "no parameter 'overlay.rat': did you mean 'overlay.rate'?" in output
