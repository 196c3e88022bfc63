# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A file that gives the monitor parameters of its displays still counts, under whatever key."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import rclpy

from failure_monitor.errors import UsageError
from failure_monitor.ros.displays.node import DisplaysNode

pytestmark = pytest.mark.ros


@contextmanager
def displays(monkeypatch, *ros_args: str) -> Iterator[DisplaysNode]:
    """The node, as a process with these arguments makes it."""
    monkeypatch.setattr("sys.argv", ["displays_node", "--ros-args", *ros_args])
    rclpy.init(args=["--ros-args", *ros_args])
    try:
        node = DisplaysNode()
        try:
            yield node
        finally:
            node.destroy_node()
    finally:
        rclpy.try_shutdown()


def written(folder: Path, text: str) -> str:
    path = folder / "parameters.yaml"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("key", ["/**", "failure_monitor", "/*", "failure_monitor_displays"])
def test_parameters_of_the_monitor_are_read(key, monkeypatch, tmp_path):
    path = written(
        tmp_path,
        f"{key}:\n  ros__parameters:\n    markers.rate: 7.0\n    overlay: {{image_topic: eye}}\n",
    )
    with displays(monkeypatch, "--params-file", path) as node:
        assert node.get_parameter("markers.rate").value == 7.0
        assert node.get_parameter("overlay.image_topic").value == "eye"


def test_those_of_a_monitor_of_another_name_and_namespace_are_read(monkeypatch, tmp_path):
    path = written(tmp_path, "left/watcher:\n  ros__parameters:\n    markers.rate: 7.0\n")
    arguments = ["-r", "__ns:=/left", "-p", "monitor:=watcher", "--params-file", path]
    with displays(monkeypatch, *arguments) as node:
        assert node.get_parameter("markers.rate").value == 7.0
        topics = {publisher.topic_name for publisher in node.publishers}
        assert {"/left/watcher/markers", "/left/watcher/overlay"} <= topics
        assert "/left/watcher/alarm" in {one.topic_name for one in node.subscriptions}


def test_what_is_given_to_the_displays_counts_more(monkeypatch, tmp_path):
    path = written(
        tmp_path,
        "failure_monitor_displays:\n  ros__parameters:\n    markers.rate: 3.0\n"
        "failure_monitor:\n  ros__parameters:\n    markers.rate: 7.0\n    markers.yaw: 1.0\n",
    )
    with displays(monkeypatch, "--params-file", path) as node:
        assert node.get_parameter("markers.rate").value == 3.0
        assert node.get_parameter("markers.yaw").value == 1.0


def test_those_of_the_monitor_alone_are_left_to_it(monkeypatch, tmp_path, capfd):
    path = written(tmp_path, "/**:\n  ros__parameters:\n    max_decision_age: 2.0\n")
    with displays(monkeypatch, "--params-file", path):
        pass
    assert "max_decision_age" not in capfd.readouterr().err


@pytest.mark.parametrize("key", ["/**", "failure_monitor_displays"])
def test_misspelt_one_is_rejected(key, monkeypatch, tmp_path):
    path = written(tmp_path, f"{key}:\n  ros__parameters:\n    markers.rat: 2.0\n")
    with (
        pytest.raises(UsageError, match=r"'markers.rat': did you mean 'markers.rate'\?"),
        displays(monkeypatch, "--params-file", path),
    ):
        pass
