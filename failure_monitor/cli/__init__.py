# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The command line: results on standard output, progress and complaints on standard error.

It needs no package beyond Python's own to read options: those of distributions are of too many
versions. ros2cli reads options likewise, so both forms of the command line are one.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from failure_monitor import __version__
from failure_monitor.cli import (
    archive,
    audit,
    calibrate,
    calibrate_judge,
    check,
    demo,
    evaluate,
    evaluate_judge,
    export_lerobot,
    fleet,
    inspect,
    label,
    lerobot,
    promise,
    recalibrate,
    watch,
)
from failure_monitor.cli.app import run
from failure_monitor.cli.command_parser import CommandParser
from failure_monitor.cli.standard_streams import drop_output, prepare_streams

DESCRIPTION = "Failure prediction for learned robot policies, with a promised false-alarm rate."

COMMANDS = (
    archive.archive,
    audit.audit,
    calibrate.calibrate,
    calibrate_judge.calibrate_judge,
    check.check,
    demo.demo,
    evaluate.evaluate,
    evaluate_judge.evaluate_judge,
    export_lerobot.export_lerobot,
    fleet.fleet,
    inspect.inspect,
    label.label,
    lerobot.lerobot,
    promise.promise,
    recalibrate.recalibrate,
    watch.watch,
)


def add_commands(parser: argparse.ArgumentParser) -> None:
    """Add all commands to a parser, as its subcommands."""
    commands = parser.add_subparsers(
        title="commands", metavar="COMMAND", parser_class=CommandParser
    )
    for command in COMMANDS:
        sentence = (command.__doc__ or "").partition("\n")[0]
        name = command.__name__.replace("_", "-")
        commands.add_parser(name, command=command, help=sentence)


def run_parsed(parser: argparse.ArgumentParser, parsed: argparse.Namespace) -> int:
    """Run the command that was parsed, or print the help where there is none; return the exit
    code.

    Args:
        parser: with the commands.
        parsed: what it made of the command line.
    """
    if not hasattr(parsed, "run"):
        parser.print_help()
        return 2
    return run(parsed.run, vars(parsed))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line.

    Args:
        arguments: those of the command line; default: those of this process.
    """
    prepare_streams()
    parser = argparse.ArgumentParser(
        prog="failure-monitor", description=DESCRIPTION, allow_abbrev=False
    )
    parser.add_argument(
        "--version", action="version", version=__version__, help="print the version"
    )
    add_commands(parser)
    try:
        sys.exit(run_parsed(parser, parser.parse_args(arguments)))
    finally:
        try:
            sys.stdout.flush()
        except BrokenPipeError:
            drop_output()
