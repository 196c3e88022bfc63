# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""How all commands are run, where they print, and how they end."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.logging import RichHandler

from failure_monitor.cli.command_parser import CommandParser
from failure_monitor.cli.declaration import keyword_arguments
from failure_monitor.cli.output_paths import check_outputs
from failure_monitor.cli.standard_streams import drop_output, prepare_streams
from failure_monitor.errors import FailureMonitorError
from failure_monitor.missing_package import missing_packages_named

output = Console()
progress = Console(stderr=True)


def run(command: Callable[..., None], values: Mapping[str, Any]) -> int:
    """Run a command; return its exit code, after one sentence instead of a traceback.

    Args:
        command: the function of the command.
        values: the values of its options and arguments, and others.
    """
    prepare_streams()
    logging.basicConfig(
        level=logging.INFO,
        format="%(message)s",
        handlers=[RichHandler(console=progress, show_time=False, show_path=False)],
    )
    try:
        check_outputs(command, values)
        with missing_packages_named():
            command(**keyword_arguments(command, values))
            sys.stdout.flush()
    except FailureMonitorError as error:
        progress.print(f"failure-monitor: {error}", style="red", soft_wrap=True, markup=False)
        return error.exit_code
    except KeyboardInterrupt as interrupted:
        written = str(interrupted) or "nothing was written"
        progress.print(f"interrupted; {written}", style="red", soft_wrap=True, markup=False)
        return 130
    except BrokenPipeError:
        drop_output()
        return 1
    return 0


def run_alone(
    command: Callable[..., None], arguments: Sequence[str] | None = None, **settings: Any
) -> None:
    """Run the one command of a program, and end the process.

    Args:
        command: the function of the command.
        arguments: those of the command line; default: those of this process.
        settings: those of `argparse.ArgumentParser`.
    """
    parsed = CommandParser(command, **settings).parse_args(
        sys.argv[1:] if arguments is None else arguments
    )
    sys.exit(run(command, vars(parsed)))
