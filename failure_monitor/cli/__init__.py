# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The command line: results on standard output, progress and complaints on standard error."""

from failure_monitor.cli import (
    archive,
    audit,
    calibrate,
    check,
    demo,
    evaluate,
    inspect,
    label,
    watch,
)
from failure_monitor.cli.app import app

__all__ = [
    "archive",
    "audit",
    "calibrate",
    "check",
    "demo",
    "evaluate",
    "inspect",
    "label",
    "main",
    "watch",
]


def main() -> None:
    """Run the command line."""
    app()
