# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Every command line that a page shows has the arguments that the command takes."""

from __future__ import annotations

import argparse
import re
import shlex

import pytest
from testbed.pages import FENCE, PAGES

from failure_monitor.cli import add_commands

COMMAND = re.compile(r"^\s*(?:\$ )?(?:failure-monitor|ros2 failure_monitor) (.*)$", re.MULTILINE)

LINES = [
    pytest.param(line, id=f"{page.name}: {line}")
    for page in PAGES
    for _, _, block in FENCE.findall(page.read_text())
    for line in COMMAND.findall(block.replace("\\\n", " "))
    if "[OPTIONS]" not in line
]


def test_pages_show_commands():
    assert len(LINES) > 40


@pytest.mark.parametrize("line", LINES)
def test_a_page_shows_a_command_that_there_is(line, capsys):
    parser = argparse.ArgumentParser()
    add_commands(parser)
    try:
        parser.parse_args(shlex.split(line, comments=True))
    except SystemExit as end:
        pytest.fail(f"{line}: {capsys.readouterr().err}") if end.code else None
