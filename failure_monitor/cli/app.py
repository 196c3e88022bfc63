# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The application that the commands belong to, and how all of them end."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import wraps
from typing import Annotated, ParamSpec

import typer
from rich.console import Console
from rich.logging import RichHandler

from failure_monitor import __version__
from failure_monitor.errors import FailureMonitorError
from failure_monitor.missing_package import missing_packages_named

Arguments = ParamSpec("Arguments")

app = typer.Typer(
    help="Failure prediction for learned robot policies, with a promised false-alarm rate.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
output = Console()
progress = Console(stderr=True)


def plain_errors(command: Callable[Arguments, None]) -> Callable[Arguments, None]:
    """End a command with one sentence and its exit code instead of a traceback."""

    @wraps(command)
    def wrapped(*args: Arguments.args, **kwargs: Arguments.kwargs) -> None:
        try:
            with missing_packages_named():
                command(*args, **kwargs)
        except FailureMonitorError as error:
            progress.print(f"failure-monitor: {error}", style="red", soft_wrap=True, markup=False)
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt:
            progress.print("interrupted; nothing was written", style="red")
            raise typer.Exit(130) from None

    return wrapped


@app.callback(invoke_without_command=True)
def start(
    version: Annotated[bool, typer.Option("--version", help="print the version")] = False,
) -> None:
    """Failure prediction for learned robot policies, with a promised false-alarm rate."""
    logging.basicConfig(
        level=logging.INFO,
        format="%(message)s",
        handlers=[RichHandler(console=progress, show_time=False, show_path=False)],
    )
    if version:
        output.print(__version__)
