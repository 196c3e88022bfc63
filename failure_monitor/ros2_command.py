# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""`ros2 failure_monitor`: the command line as a command of ros2cli, which loads this module.

ros2cli completes the names of the commands and of their options.
"""

from __future__ import annotations

import argparse

from ros2cli.command import CommandExtension


class Ros2Command(CommandExtension):
    """Calibrate, evaluate and watch a failure monitor of a learned robot policy."""

    def add_arguments(self, parser: argparse.ArgumentParser, cli_name: str) -> None:
        """Add all commands.

        Args:
            parser: of `ros2 failure_monitor`.
            cli_name: what the user types for it.
        """
        # Imported here: ros2cli loads the commands of all packages to list them.
        from failure_monitor.cli import add_commands

        add_commands(parser)
        self._parser = parser

    def main(self, *, parser: argparse.ArgumentParser, args: argparse.Namespace) -> int:
        """Run the command that was parsed; return its exit code.

        Args:
            parser: of `ros2`.
            args: what it made of the command line.
        """
        from failure_monitor.cli import run_parsed

        return run_parsed(self._parser, args)
