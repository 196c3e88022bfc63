# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The one error that every part of the package raises for bad input."""


class FailureMonitorError(Exception):
    """Something the user can mend: its message is one sentence that says what, where and how.

    The command line prints the message without a traceback and exits with `exit_code`; the
    nodes publish it as the reason of their state.
    """

    exit_code = 1


class UsageError(FailureMonitorError):
    """The command or its configuration asks for something that does not exist."""

    exit_code = 2
