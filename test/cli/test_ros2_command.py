# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""`ros2 failure_monitor`, as ros2cli calls it; ros2cli itself is not among the wheels."""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest
from testbed.command_line import write_rollout_bag
from testbed.synthetic import synthetic_rollout

from failure_monitor.cli import COMMANDS

TARGET = ("failure_monitor.ros2_command", "Ros2Command")


class CommandExtension:
    """The base class of ros2cli's commands."""

    NAME = None

    def add_arguments(self, parser, cli_name):
        pass

    def main(self, *, parser, args):
        raise NotImplementedError


@pytest.fixture
def extension(monkeypatch: pytest.MonkeyPatch):
    command = ModuleType("ros2cli.command")
    command.CommandExtension = CommandExtension
    monkeypatch.setitem(sys.modules, "ros2cli", ModuleType("ros2cli"))
    monkeypatch.setitem(sys.modules, "ros2cli.command", command)
    monkeypatch.delitem(sys.modules, TARGET[0], raising=False)
    yield getattr(importlib.import_module(TARGET[0]), TARGET[1])()
    sys.modules.pop(TARGET[0], None)


def parser_of(extension) -> argparse.ArgumentParser:
    """Return the parser of `ros2`, in which ours is a command among others."""
    parser = argparse.ArgumentParser(prog="ros2")
    commands = parser.add_subparsers()
    commands.add_parser("topic")
    own = commands.add_parser("failure_monitor")
    own.set_defaults(_command=extension)
    extension.add_arguments(own, "ros2 failure_monitor")
    return parser


def run(extension, *arguments: object) -> int:
    parser = parser_of(extension)
    args = parser.parse_args(["failure_monitor", *map(str, arguments)])
    return args._command.main(parser=parser, args=args)


def test_a_command_does_what_it_does_by_itself(extension, tmp_path: Path, capsys) -> None:
    bag = write_rollout_bag(tmp_path / "bag", synthetic_rollout(0))
    archive = tmp_path / "rollouts.npz"
    # Options and arguments mixed, as `failure-monitor` takes them.
    assert run(extension, "archive", "--jobs", "1", bag, "--output", archive) == 0
    assert archive.is_file()
    assert f"wrote {archive}" in capsys.readouterr().out


def test_an_error_is_a_sentence_and_an_exit_code(extension, capsys) -> None:
    assert run(extension, "inspect", "nowhere") == 1
    assert capsys.readouterr().err.startswith("failure-monitor: ")


def test_usage_names_the_command_as_it_was_typed(extension, capsys) -> None:
    with pytest.raises(SystemExit) as end:
        run(extension, "archive")
    assert end.value.code == 2
    assert "usage: ros2 failure_monitor archive [OPTIONS] SOURCES..." in capsys.readouterr().err


def typed(command) -> str:
    return command.__name__.replace("_", "-")


def test_without_a_command_its_help_lists_all(extension, capsys) -> None:
    assert run(extension) == 2
    text = capsys.readouterr().out
    assert all(f"    {typed(command)}" in text for command in COMMANDS)


def test_help_of_the_demo_reaches_the_demo(extension) -> None:
    args = parser_of(extension).parse_args(["failure_monitor", "demo", "--help", "--seed", "7"])
    assert args.arguments == ["--help", "--seed", "7"]


@pytest.mark.parametrize(
    ("words", "prefix", "expected"),
    [
        (["failure_monitor"], "ca", {"calibrate ", "calibrate-judge "}),
        (["failure_monitor"], "", {f"{typed(command)} " for command in COMMANDS}),
        (["failure_monitor", "calibrate"], "--al", {"--alpha "}),
        (["failure_monitor", "evaluate", "bundle", "--jobs", "2"], "--jso", {"--json "}),
    ],
)
def test_names_of_commands_and_options_are_completed(
    extension, words: list[str], prefix: str, expected: set[str]
) -> None:
    argcomplete = pytest.importorskip("argcomplete")
    finder = argcomplete.CompletionFinder(parser_of(extension), exclude=["-h", "--help"])
    found = finder._get_completions(["ros2", *words], prefix, "", None)
    assert {word if word.endswith(" ") else f"{word} " for word in found} == expected
