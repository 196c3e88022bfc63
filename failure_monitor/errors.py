# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The errors that every part of the package raises for bad input."""

from collections.abc import Sequence
from typing import Any, TypeVar

Word = TypeVar("Word", bound=str)


class FailureMonitorError(Exception):
    """An error that the user can correct.

    Its message is one sentence that states what is wrong, where, and what to do. The command line
    prints it without a traceback and exits with `exit_code`; the nodes publish it as the reason of
    their state.
    """

    exit_code = 1

    def __reduce__(self) -> tuple[Any, ...]:
        """Return what makes the same error in another process, whatever it is made of there."""
        return _same_error, (type(self), self.args), dict(vars(self))


def _same_error(
    kind: type[FailureMonitorError], arguments: tuple[Any, ...]
) -> FailureMonitorError:
    error = kind.__new__(kind)
    error.args = arguments
    return error


class UsageError(FailureMonitorError):
    """A command or a configuration that is not possible."""

    exit_code = 2


def one_of(text: str, known: Sequence[Word], what: str) -> Word:
    """Return the known word that a text is.

    Raises:
        UsageError: it is none of them.
    """
    for word in known:
        if text == word:
            return word
    raise UsageError(f"there is no {what} '{text}': choose {', '.join(known)}")
