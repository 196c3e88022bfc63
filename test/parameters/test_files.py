# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Parameter files and their reference are as the dataclasses are."""

from __future__ import annotations

import pytest
import yaml

from failure_monitor.parameters.config_file import config_file, yaml_value
from failure_monitor.parameters.nodes import NODES
from failure_monitor.parameters.parameter import specification
from failure_monitor.parameters.record import RecordParameters
from failure_monitor.parameters.write_files import ROOT, files


@pytest.mark.parametrize("path", files(), ids=lambda path: path.name)
def test_written_files_are_up_to_date(path):
    name = path.relative_to(ROOT)
    assert path.read_text(encoding="utf-8") == files()[path], (
        f"{name} is old: run 'make parameters'"
    )


@pytest.mark.parametrize("node", NODES, ids=lambda node: node.executable)
def test_a_parameter_file_holds_every_default_with_its_type(node):
    written = yaml.safe_load(config_file(node))["/**"]["ros__parameters"]
    defaults = {name: default for name, _, default in node.defaults()}
    assert written.keys() == defaults.keys()
    for name, default in defaults.items():
        value = tuple(written[name]) if isinstance(written[name], list) else written[name]
        assert value == default
        assert type(value) is type(default)


def test_no_line_of_a_parameter_file_is_too_long():
    for node in NODES:
        assert all(len(line) <= 100 for line in config_file(node).splitlines())


@pytest.mark.parametrize("node", NODES, ids=lambda node: node.executable)
def test_every_parameter_is_described_in_whole_sentences(node):
    for name, about, default in node.reference():
        assert about.description[0].isupper(), name
        assert about.description.endswith("."), name
        if about.bounds is not None:
            assert about.bounds[0] <= default <= about.bounds[1], name
        if about.choices:
            assert default in about.choices or default == "", name


@pytest.mark.parametrize("node", NODES, ids=lambda node: node.executable)
def test_no_parameter_is_there_twice(node):
    names = [name for name, _, _ in node.reference()]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("go", "go"),
        ("", '""'),
        ("no", '"no"'),
        ("a b", '"a b"'),
        (True, "true"),
        (1.0, "1.0"),
        (("",), '[""]'),
        (("/tf", "x/*"), "[/tf, x/*]"),
    ],
)
def test_defaults_are_written_so_that_yaml_reads_them_as_they_are(value, written):
    assert yaml_value(value) == written
    read = yaml.safe_load(written)
    assert (tuple(read) if isinstance(read, list) else read) == value


def test_types_are_named():
    assert specification(RecordParameters, "topics").type == "list of strings"
    assert specification(RecordParameters, "tail").type == "float"
