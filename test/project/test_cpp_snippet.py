# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What the pages show in C++ builds the messages that the monitor reads.

Compiled with the headers of the message packages; `rclcpp` is needed for publishing alone.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from testbed.repository import ROOT

from failure_monitor.messages.point_cloud import read_action_chunks, read_embedding
from failure_monitor.parameters.topics import POLICY_FORMAT_TOPIC
from failure_monitor.policy_description import PolicyDescription

PAGE = ROOT / "docs" / "monitor_node.md"
FORMAT_PAGE = ROOT / "docs" / "policy_format.md"
PREFIXES = [sys.prefix, *filter(None, os.environ.get("AMENT_PREFIX_PATH", "").split(":"))]
INCLUDES = [folder for prefix in PREFIXES for folder in Path(prefix, "include").glob("*")]

MAIN = """
#include <iostream>

void print(const sensor_msgs::msg::PointCloud2 & message)
{
  std::cout << "{\\"fields\\": [";
  for (const auto & field : message.fields) {
    std::cout << (&field == &message.fields.front() ? "" : ", ")
              << "{\\"name\\": \\"" << field.name
              << "\\", \\"offset\\": " << field.offset << ", \\"count\\": " << field.count
              << ", \\"datatype\\": " << +field.datatype << "}";
  }
  std::cout << "], \\"height\\": " << message.height << ", \\"width\\": " << message.width
            << ", \\"point_step\\": " << message.point_step
            << ", \\"row_step\\": " << message.row_step
            << ", \\"is_bigendian\\": " << +message.is_bigendian << ", \\"stamp\\": "
            << message.header.stamp.sec << ", \\"data\\": [";
  for (size_t i = 0; i < message.data.size(); ++i) {
    std::cout << (i ? ", " : "") << +message.data[i];
  }
  std::cout << "]}" << std::endl;
}

int main()
{
  std_msgs::msg::Header header;
  header.stamp.sec = 7;
  print(cloud(header, 1, 1, {"embedding"}, 3, {0.5f, -1.0f, 2.0f}));
  std::vector<float> chunks;
  for (int i = 0; i < 2 * 3 * 2; ++i) {
    chunks.push_back(0.25f * i);
  }
  print(cloud(header, 2, 3, {"dx", "dy"}, 1, chunks));
}
"""


FORMAT_MAIN = """
#include <iostream>

int main()
{
  std::cout << policy_format().data << std::endl;
}
"""

needs_compiler = pytest.mark.skipif(
    shutil.which("g++") is None
    or not any((folder / "sensor_msgs/msg/point_cloud2.hpp").exists() for folder in INCLUDES),
    reason="needs g++ and the C++ headers of sensor_msgs",
)


def snippets(page: Path = PAGE) -> list[str]:
    return re.findall(r"```cpp\n(.*?)```", page.read_text(), re.DOTALL)


def output_of(code: str, folder: Path) -> str:
    """Compile a program and return what it prints."""
    source = folder / "policy.cpp"
    source.write_text(code)
    warnings = ["-Wall", "-Wextra", "-Werror", "-std=c++17"]
    include = [f"-isystem{folder}" for folder in INCLUDES]
    command = ["g++", *warnings, *include, str(source), "-o", str(folder / "policy")]
    compiled = subprocess.run(command, capture_output=True, text=True)
    assert compiled.returncode == 0, compiled.stderr
    return subprocess.run([folder / "policy"], capture_output=True, text=True).stdout


@needs_compiler
def test_the_page_builds_the_messages_that_the_monitor_reads(tmp_path: Path) -> None:
    output = output_of(snippets()[0] + MAIN, tmp_path)
    embedding, chunks = (
        json.loads(line, object_hook=lambda content: SimpleNamespace(**content))
        for line in output.splitlines()
    )
    for message in (embedding, chunks):
        message.data = bytes(message.data)
        assert message.stamp == 7
    np.testing.assert_array_equal(read_embedding(embedding), np.float32([0.5, -1, 2]))
    names, values = read_action_chunks(chunks)
    assert names == ("dx", "dy")
    expected = 0.25 * np.arange(12, dtype=np.float32).reshape(2, 3, 2)
    np.testing.assert_array_equal(values, expected)


def test_the_page_publishes_where_the_monitor_listens() -> None:
    from failure_monitor.parameters.topics import ACTION_CHUNKS_TOPIC, EMBEDDING_TOPIC

    publishing = snippets()[1]
    for topic in (EMBEDDING_TOPIC, ACTION_CHUNKS_TOPIC):
        assert f'create_publisher<sensor_msgs::msg::PointCloud2>("{topic}", 10)' in publishing


@needs_compiler
def test_the_page_states_a_format_that_is_read(tmp_path: Path) -> None:
    stated = PolicyDescription.from_json(
        output_of(snippets(FORMAT_PAGE)[0] + FORMAT_MAIN, tmp_path)
    )
    assert stated == PolicyDescription(
        action_names=("dx", "dy", "dz", "gripper"),
        action_kind="delta",
        position_names=("dx", "dy", "dz"),
        executed_actions=8,
        control_period=0.05,
    )


def test_the_page_publishes_the_format_latched_where_it_is_read() -> None:
    publishing = snippets(FORMAT_PAGE)[1]
    assert (
        f'create_publisher<std_msgs::msg::String>("{POLICY_FORMAT_TOPIC}", '
        "rclcpp::QoS(1).transient_local())" in publishing
    )


def test_the_page_names_every_field_of_the_format() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", FORMAT_PAGE.read_text(), re.MULTILINE)
    assert rows == [field.name for field in fields(PolicyDescription)]
