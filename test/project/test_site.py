# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The site shows every page once, and what is made from the code is as the code is.

`make site`, a stage of .ci/run, builds it; a warning is an error there.
"""

from __future__ import annotations

import re
from collections import Counter
from xml.etree import ElementTree

import yaml
from testbed.repository import ROOT

import failure_monitor
from failure_monitor.cli import COMMANDS, reference_page
from failure_monitor.cli.declaration import Remainder, parameters_of

DOCS = ROOT / "docs"


def listed() -> list[str]:
    """The pages in the tables of contents, by their places."""
    index = (DOCS / "index.rst").read_text(encoding="utf-8")
    return re.findall(r"^   (\w[\w/]*)$", index, re.MULTILINE)


def test_every_page_is_in_the_index_once():
    pages = {path.relative_to(DOCS).with_suffix("").as_posix() for path in DOCS.rglob("*.md")}
    count = Counter(listed())
    assert set(count) == pages, "docs/index.rst lists the pages of docs/ by their chapters"
    assert set(count.values()) == {1}


def test_every_page_begins_with_its_only_title():
    for path in DOCS.rglob("*.md"):
        text = re.sub(r"^```.*?^```$", "", path.read_text("utf-8"), flags=re.M | re.S)
        assert text.startswith("# "), path
        assert len(re.findall(r"^# ", text, re.MULTILINE)) == 1, path


def test_the_command_line_s_page_is_up_to_date():
    written = reference_page.PAGE.read_text(encoding="utf-8")
    assert written == reference_page.reference_page(), "docs/command_line.md: make reference"


def test_the_command_line_s_page_has_every_option_of_every_command():
    *sections, shared = re.split(r"^## ", reference_page.reference_page(), flags=re.MULTILINE)[1:]
    panels = dict(re.findall(r"^### (.+)\n\n((?:\|.*\n)+)", shared, re.MULTILINE))
    assert len(panels) > 3
    for command, section in zip(COMMANDS, sections, strict=True):
        linked = "".join(table for panel, table in panels.items() if f"[{panel}](#" in section)
        for parameter in parameters_of(command):
            label = parameter.label.replace("|", r"\|")
            is_there = f"`{label}`" in section + linked
            assert is_there or isinstance(parameter.declaration, Remainder), (section, label)


def test_the_python_reference_has_all_that_the_package_exports():
    page = (DOCS / "python_reference.md").read_text(encoding="utf-8")
    for name in set(failure_monitor.__all__) - {"__version__"}:
        assert re.search(rf"^\.\. auto\w+:: failure_monitor\.{name}$", page, re.MULTILINE)


def test_docs_ros_org_finds_the_pages():
    [named] = ElementTree.parse(ROOT / "package.xml").iter("rosdoc2")
    _, settings = yaml.safe_load_all((ROOT / named.text).read_text(encoding="utf-8"))
    [builder] = settings["builders"]
    folder = ROOT / builder["sphinx"]["sphinx_sourcedir"]
    assert (folder / "conf.py").is_file()
    assert (folder / "index.rst").is_file()
