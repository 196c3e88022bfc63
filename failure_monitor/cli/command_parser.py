# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The argument parser of a command, made from what the command declares."""

from __future__ import annotations

import argparse
import inspect
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn

from failure_monitor.cli.declaration import (
    REQUIRED,
    Argument,
    Option,
    Parameter,
    Remainder,
    parameters_of,
)

VALID = {int: "a valid integer", float: "a valid float"}


class InvalidValueError(Exception):
    """Values that a command does not take."""


class CommandParser(argparse.ArgumentParser):
    """Parser of one command, alone or as one of several.

    Options and arguments may be mixed, and a value may begin with a dash. `argparse` reports what
    it rejects in other sentences from version to version, so values are checked here.
    """

    def __init__(self, command: Callable[..., None], **settings: Any) -> None:
        """Declare the options and arguments of a command.

        Args:
            command: the function that is called with the values, as `run` of the namespace.
            settings: those of `argparse.ArgumentParser`.
        """
        self._parameters = parameters_of(command)
        arguments = [p.label for p in self._parameters if isinstance(p.declaration, Argument)]
        super().__init__(
            **settings,
            usage=" ".join(["%(prog)s [OPTIONS]", *arguments]),
            description=inspect.getdoc(command),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        self.set_defaults(run=command)
        panels: dict[str, Any] = {"": self}
        for parameter in self._parameters:
            if isinstance(parameter.declaration, Argument):
                self._add_argument(parameter, parameter.declaration)
            elif isinstance(parameter.declaration, Option):
                panel = parameter.declaration.panel
                if panel not in panels:
                    panels[panel] = self.add_argument_group(panel)
                _add_option(panels[panel], parameter, parameter.declaration)

    def _add_argument(self, parameter: Parameter, declaration: Argument) -> None:
        self.add_argument(
            parameter.name,
            nargs="*" if parameter.is_list else "?",
            metavar=parameter.label,
            help=_help(parameter, declaration.help),
        )

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse and check the options and arguments; reject all others."""
        if [Remainder] == [type(parameter.declaration) for parameter in self._parameters]:
            values = {self._parameters[0].name: list(args or ())}
            return argparse.Namespace(run=self.get_default("run"), **values), []
        parsed, unknown = super().parse_known_args([*self._in_order(args or ())], namespace)
        if unknown:
            self._reject(unknown[0])
        try:
            for parameter in self._parameters:
                given = getattr(parsed, parameter.name)
                setattr(parsed, parameter.name, _value(parameter, given))
        except InvalidValueError as error:
            self.error(str(error))
        return parsed, []

    def _in_order(self, given: Sequence[str]) -> Iterator[str]:
        """Yield options, each in one piece with its value, and then arguments."""
        arguments: list[str] = []
        rest = deque(given)
        while rest:
            text = rest.popleft()
            action = self._option_string_actions.get(text)
            if text == "--":
                arguments += ["--", *rest]
                break
            if action is not None and action.nargs is None:
                # The last one, if it lacks its value, stays the last: argparse says so.
                if rest:
                    yield f"{text}={rest.popleft()}"
                else:
                    arguments.append(text)
            elif text.startswith("-") and text != "-":
                yield text
            else:
                arguments.append(text)
        yield from arguments

    def _reject(self, unknown: str) -> NoReturn:
        if not unknown.startswith("-"):
            self.error(f"Got unexpected extra argument ({unknown})")
        name = unknown.partition("=")[0]
        close = get_close_matches(name, self._option_string_actions)
        advice = f" Did you mean {' or '.join(close)}?" if close else ""
        self.error(f"No such option: {name}{advice}")


def _add_option(panel: Any, parameter: Parameter, declaration: Option) -> None:
    if parameter.type is bool:
        panel.add_argument(
            parameter.label,
            dest=parameter.name,
            action=argparse.BooleanOptionalAction,
            help=_help(parameter, declaration.help),
        )
    else:
        panel.add_argument(
            parameter.label,
            dest=parameter.name,
            action="append" if parameter.is_list else "store",
            metavar=parameter.metavar,
            help=_help(parameter, declaration.help),
        )


def _help(parameter: Parameter, sentence: str) -> str:
    parts = [sentence]
    if isinstance(parameter.declaration, Option) and parameter.declaration.range:
        parts.append(f"[{parameter.declaration.range}]")
    if parameter.default is REQUIRED:
        parts.append("[required]")
    elif parameter.default not in (None, "") and parameter.type is not bool:
        parts.append(f"[default: {parameter.default}]")
    return " ".join(parts).replace("%", "%%")


def _value(parameter: Parameter, given: Any) -> Any:
    """Return the value of a parameter for what was given: texts, or None or [] for nothing."""
    if given is None or given == []:
        if parameter.default is REQUIRED:
            kind = "option" if isinstance(parameter.declaration, Option) else "argument"
            raise InvalidValueError(f"Missing {kind} '{parameter.label}'.")
        return parameter.default
    if parameter.type is bool:
        return given
    if parameter.is_list:
        return [_converted(parameter, text) for text in given]
    return _converted(parameter, given)


def _converted(parameter: Parameter, text: str) -> str | int | float | Path:
    try:
        value: Any = parameter.type(text)
    except ValueError:
        raise InvalidValueError(
            f"Invalid value for '{parameter.label}': {text!r} is not {VALID[parameter.type]}."
        ) from None
    if parameter.type is Path and not text:
        raise InvalidValueError(
            f"Invalid value for '{parameter.label}': it is empty, name a path."
        )
    if isinstance(parameter.declaration, Option):
        _check(parameter.label, parameter.declaration, text, value)
    return value  # type: ignore[no-any-return]


def _check(label: str, declaration: Option, text: str, value: Any) -> None:
    if isinstance(value, (int, float)) and not declaration.takes(value):
        raise InvalidValueError(
            f"Invalid value for '{label}': {text} is "
            + (f"not in the range {declaration.range}." if declaration.range else "not finite.")
        )
    if not declaration.is_optional and not text.strip():
        raise InvalidValueError(f"Invalid value for '{label}': it is empty.")
    if declaration.choices and text not in declaration.choices:
        what = label.strip("-").replace("-", " ")
        raise InvalidValueError(
            f"Invalid value for '{label}': there is no {what} '{text}': choose "
            f"{', '.join(filter(None, declaration.choices))}"
        )
