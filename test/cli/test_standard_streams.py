# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A command says the same on every terminal, and ends quietly when nobody hears it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from testbed.command_line import COMMAND, run_command, write_rollout_bag
from testbed.synthetic import synthetic_rollout


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rollout_bag(tmp_path_factory.mktemp("bags") / "bag", synthetic_rollout(0))


def inspected(bag: Path, *arguments: object, **environment: str) -> str:
    done = run_command(
        "inspect",
        bag,
        *arguments,
        env={**os.environ, "COLUMNS": "70", **environment},
        errors="replace",
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONIOENCODING": "latin-1"},
        {"PYTHONIOENCODING": "ascii"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    ],
)
def test_what_cannot_be_written_has_a_stand_in_and_figures_are_the_same(bag, environment):
    figures = re.findall(r"\d+\.\d+", inspected(bag))
    assert figures
    assert re.findall(r"\d+\.\d+", inspected(bag, **environment)) == figures


@pytest.mark.parametrize("columns", ["0", "1", "20", "-5", "many"])
def test_any_width_of_a_terminal_will_do(bag, columns):
    inspected(bag, COLUMNS=columns)


def test_a_file_whose_name_is_no_text_is_told_and_stands_in_json(bag, tmp_path):
    name = os.fsdecode(b"caf\xe9")
    (file,) = write_rollout_bag(tmp_path / "bag", synthetic_rollout(1)).glob("*.mcap")
    strange = file.rename(tmp_path / f"{name}.mcap")
    result = tmp_path / "result.json"
    assert r"caf\xe9" in inspected(strange, "--json", result, COLUMNS="200")
    text = result.read_text(encoding="utf-8")
    assert name in json.loads(text)["rollouts"][0]["name"]


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_no_reason_to_fail(bag, tmp_path, closed):
    result = tmp_path / "result.json"
    command = [*COMMAND, "inspect", str(bag), "--json", str(result)]
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" {closed}', "sh", *command], capture_output=True, text=True
    )
    assert done.returncode == 0
    assert "Traceback" not in done.stderr
    assert json.loads(result.read_text())


@pytest.mark.parametrize("arguments", ["inspect {bag}", "--help", "inspect --help", "--version"])
def test_a_reader_that_goes_ends_it_without_a_word(bag, arguments):
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [*COMMAND, *(part.format(bag=bag) for part in arguments.split())],
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(writing)
    assert done.stderr == ""


INTERRUPTED = """
import builtins, os, signal, sys
sys.argv = ["failure-monitor", "--version"]
load = builtins.__import__
def interrupted(name, *others, **more):
    if name.startswith("failure_monitor.cli"):
        os.kill(os.getpid(), signal.SIGINT)
    return load(name, *others, **more)
from failure_monitor import executables
builtins.__import__ = interrupted
executables.command_line()
"""


def test_an_interrupt_while_it_is_imported_ends_it_without_a_word():
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")
