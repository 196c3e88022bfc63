# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What ROS does not accept at the start is told in a sentence, for every node."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from failure_monitor.ros.common.start_ros import why_not_started

pytestmark = pytest.mark.ros

NODE = """
from rclpy.node import Node
from failure_monitor.ros.common.run import run_node
run_node(lambda: Node({name!r}))
"""


def started(*arguments: str | bytes, name: str = "idle", **environment: str) -> str:
    """Return what a node says that does not start."""
    done = subprocess.run(
        [sys.executable, "-c", NODE.format(name=name), *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env={**os.environ, **environment},
    )
    assert done.returncode in (1, 2), done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "cannot be read: No such file or directory"),
        ("gate: 1\n", "is rejected (Cannot have a value before ros__parameters at line 1): write"),
        ("/**:\n  ros__parameters:\n    a: [1, b]\n", "should be of same type"),
    ],
)
def test_a_parameter_file_that_is_none(tmp_path: Path, text, words):
    file = tmp_path / "p.yaml"
    if text is not None:
        file.write_text(text)
    said = started("--ros-args", "--params-file", str(file))
    assert f"the parameter file '{file}' {words}" in said or words in said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--ros-args", "-r", "a b"], "the remapping 'a b' is none: write OLD:=NEW"),
        (["--ros-args", "-p", "foo"], "'-p foo' gives no parameter a value"),
        (["--ros-args", "-p", "foo:=[1, a]"], "(Sequence should be of same type"),
        (["--ros-args", "--log-level", "loud"], "there is no log level 'loud': choose debug"),
        (["--ros-args", "--bogus"], "it knows no arguments ['--bogus']"),
        (["--ros-args", "--params-file"], "trailing --params-file"),
        (["permit_lease:=0.3"], "takes no argument 'permit_lease:=0.3', only those of ROS"),
        (["--params-file", "f"], "takes no argument '--params-file f', only those of ROS"),
        (["--ros-args", "-p", b"a:=\xff"], "an argument is not UTF-8"),
    ],
)
def test_arguments_that_have_no_meaning(arguments, words):
    assert words in started(*arguments)


@pytest.mark.parametrize("domain", ["abc", "500", "-1"])
def test_a_domain_that_does_not_exist(domain):
    assert f"ROS_DOMAIN_ID is '{domain}': choose a number from 0 to 232" in started(
        ROS_DOMAIN_ID=domain
    )


def test_a_log_folder_that_cannot_be_made():
    said = started("--ros-args", "--enable-external-lib-logs", ROS_LOG_DIR="/proc/no")
    assert "log directory '/proc/no'" in said
    assert "let ROS_LOG_DIR name a folder that can be written" in said


def test_an_error_without_a_reason_names_where_to_look():
    assert "ROS_SECURITY_" in why_not_started(RuntimeError("failed: error not set"))
