# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""How options and arguments are declared and read, whatever Python's own parser does."""

from __future__ import annotations

import argparse
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest
from testbed.command_line import run_here

from failure_monitor.cli import COMMANDS
from failure_monitor.cli.app import run, run_alone
from failure_monitor.cli.command_parser import CommandParser
from failure_monitor.cli.declaration import Argument, Option, parameters_of
from failure_monitor.errors import UsageError


@dataclass(frozen=True)
class Shared:
    """Options that several commands have."""

    topic: Annotated[str, Option(help="what is read", panel="Topics")] = "/topic"
    external: Annotated[list[str] | None, Option(help="more of them", panel="Topics")] = None


CALLS: list[dict[str, object]] = []


def command(
    bundle: Annotated[Path, Argument(help="a bundle")],
    sources: Annotated[list[Path], Argument(metavar="SOURCE...", help="what is read")],
    shared: Shared,
    output_file: Annotated[Path, Option("--output", help="50 % of it")],
    window: Annotated[int, Option(min=1, help="how many")] = 3,
    share: Annotated[float, Option(min=0.5, max=2, help="how much")] = 1.0,
    seed: Annotated[int | None, Option(help="any")] = None,
    spawn: Annotated[bool, Option(help="whether")] = True,
) -> None:
    """Do it."""
    CALLS.append(
        {
            "bundle": bundle,
            "sources": sources,
            "shared": shared,
            "output": output_file,
            "window": window,
            "share": share,
            "seed": seed,
            "spawn": spawn,
        }
    )


def called(*arguments: str) -> dict[str, object]:
    parsed = CommandParser(command, prog="do").parse_args(arguments)
    assert run(parsed.run, vars(parsed)) == 0
    return CALLS.pop()


def rejection(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as end:
        CommandParser(command, prog="do").parse_args(arguments)
    assert end.value.code == 2
    usage, sentence = capsys.readouterr().err.strip().splitlines()
    assert usage == "usage: do [OPTIONS] BUNDLE SOURCE..."
    return sentence.removeprefix("do: error: ")


def test_defaults_stand_where_nothing_is_given() -> None:
    assert called("b", "s", "--output", "o") == {
        "bundle": Path("b"),
        "sources": [Path("s")],
        "shared": Shared(),
        "output": Path("o"),
        "window": 3,
        "share": 1.0,
        "seed": None,
        "spawn": True,
    }


def test_options_and_arguments_may_be_mixed() -> None:
    found = called("b", "--output", "o", "s", "--window=5", "t", "--no-spawn", "--topic", "x", "u")
    assert found["sources"] == [Path("s"), Path("t"), Path("u")]
    assert (found["window"], found["spawn"]) == (5, False)
    assert found["shared"] == Shared(topic="x")


@pytest.mark.parametrize(
    ("given", "name", "value"),
    [
        (["--seed", "-1"], "seed", -1),
        (["--output", "--window"], "output", Path("--window")),
        (["--topic", "-inf"], "shared", Shared(topic="-inf")),
        (["--topic", "a b"], "shared", Shared(topic="a b")),
        (["--topic", ""], "shared", Shared(topic="")),
        (["--topic=a:=/b=c"], "shared", Shared(topic="a:=/b=c")),
        (["--external", "a", "--external", "b"], "shared", Shared(external=["a", "b"])),
    ],
)
def test_a_value_may_be_any_text(given: list[str], name: str, value: object) -> None:
    assert called("b", "s", "--output", "o", *given)[name] == value


def test_what_follows_two_dashes_is_an_argument() -> None:
    assert called("--output", "o", "b", "--", "-s", "--topic")["sources"] == [
        Path("-s"),
        Path("--topic"),
    ]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("b s", "Missing option '--output'."),
        ("--output o", "Missing argument 'BUNDLE'."),
        ("--output o b", "Missing argument 'SOURCE...'."),
        ("b s --output o --window 0", "Invalid value for '--window': 0 is not in the range x>=1."),
        ("b s --output o --window 2.5", "'2.5' is not a valid integer."),
        ("b s --output o --share much", "'much' is not a valid float."),
        ("b s --output o --share 3", "3 is not in the range 0.5<=x<=2."),
        ("b s --output o --share nan", "nan is not in the range 0.5<=x<=2."),
        ("b s --output o --windw 3", "No such option: --windw Did you mean --window?"),
        ("b s --outpu o", "No such option: --outpu Did you mean --output?"),
        ("b s --output", "argument --output: expected one argument"),
    ],
)
def test_what_cannot_be_is_rejected_in_one_sentence(
    arguments: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert rejection(capsys, *arguments.split()).endswith(sentence)


def test_an_argument_too_many_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    def alone(bundle: Annotated[Path, Argument(help="a bundle")]) -> None:
        """Do it."""

    with pytest.raises(SystemExit):
        CommandParser(alone, prog="do").parse_args(["a", "b"])
    assert "Got unexpected extra argument (b)" in capsys.readouterr().err


def test_the_help_names_every_option_with_its_default_and_range() -> None:
    text = " ".join(CommandParser(command, prog="do").format_help().split())
    assert "Do it." in text
    assert "--output PATH 50 % of it [required]" in text
    assert "--window INTEGER how many [x>=1] [default: 3]" in text
    assert "--spawn, --no-spawn" in text
    assert "Topics: --topic TEXT what is read [default: /topic] --external TEXT more" in text


def test_commands_of_a_parser_of_others_are_parsed_alike() -> None:
    parser = argparse.ArgumentParser(prog="others")
    others = parser.add_subparsers(parser_class=CommandParser)
    others.add_parser("do", command=command)
    parsed = parser.parse_args(["do", "b", "--output", "-o", "s"])
    assert (parsed.run, parsed.output_file) == (command, Path("-o"))


def test_every_command_and_each_of_its_options_has_a_sentence() -> None:
    listed = " ".join(run_here("--help").stdout.split())
    for each in COMMANDS:
        name = each.__name__.replace("_", "-")
        assert f"{name} {(each.__doc__ or '').splitlines()[0]}" in listed
        for parameter in parameters_of(each):
            assert getattr(parameter.declaration, "help", "passed on"), parameter.label


def test_a_program_of_one_command_ends_with_its_exit_code(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(count: Annotated[int, Option(help="how many")] = 0) -> None:
        """Fail."""
        raise UsageError(f"{count} is impossible")

    with pytest.raises(SystemExit) as end:
        run_alone(fail, ["--count", "7"], prog="fail")
    assert end.value.code == 2
    assert capsys.readouterr().err == "failure-monitor: 7 is impossible\n"


def test_a_reader_that_goes_ends_a_command_quietly() -> None:
    script = (
        "import sys\nfrom failure_monitor.cli.app import output, run\n"
        "def much() -> None:\n    [sys.stdout.write('x' * 1000 + chr(10)) for _ in range(10000)]\n"
        "sys.exit(run(much, {}))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1
