# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Starts ROS in a process; what it does not accept becomes a sentence with a remedy."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

import rclpy
from rclpy.context import Context
from rclpy.signals import SignalHandlerOptions
from rclpy.utilities import get_rmw_implementation_identifier

from failure_monitor.errors import UsageError

DOMAIN = "ROS_DOMAIN_ID"
MAX_DOMAIN = 232
"""The largest domain whose ports there are. Fast DDS ends the process of one beyond it."""

_FLAW = re.compile(r"Couldn't parse ([\w ]+): '(\S+) (.*)'\. Error: ", re.S)
"""Of one argument: what it is, its flag and its value."""

_REMEDIES = {
    "remap rule": "the remapping '{value}' is none: write OLD:=NEW, with the names of topics or "
    "services, or __node:= or __ns:= and a name",
    "parameter override rule": "'{flag} {value}' gives no parameter a value ({reason}): write "
    "NAME:=VALUE, the value as in YAML",
    "log level": "there is no log level '{value}': choose debug, info, warn, error, fatal or "
    "unset",
}


def start_ros(arguments: Sequence[str], context: Context | None = None) -> None:
    """Initialise rclpy, which leaves signals alone.

    Args:
        arguments: of the process.
        context: what is initialised; None for the process's default context.

    Raises:
        UsageError: ROS does not start with these arguments in this environment.
    """
    _check_domain()
    try:
        rclpy.init(
            args=list(arguments),
            context=context,
            signal_handler_options=SignalHandlerOptions.NO,
        )
    except UnicodeEncodeError:
        raise UsageError("an argument is not UTF-8, and ROS takes no other") from None
    except Exception as error:  # rclpy publishes no class for it
        raise UsageError(f"ROS does not start: {why_not_started(error)}") from None


def why_not_started(error: Exception) -> str:
    """Return why rclpy has rejected arguments or environment, and what to do."""
    if type(error).__name__ == "UnknownROSArgsError":
        return f"it knows no arguments {error}: see https://docs.ros.org for those that it has"
    reason = without_places(error)
    flaw = _FLAW.search(reason)
    if flaw is None:
        return _about_environment(reason)
    what, flag, value = flaw.groups()
    reason = reason[flaw.end() :]
    if what == "params file":
        return _about_file(value, reason)
    return _REMEDIES.get(what, "{flag} {value}: {reason}").format(
        flag=flag, value=value, reason=reason
    )


def without_places(error: Exception) -> str:
    """Return an error of ROS without the places in its source."""
    text = re.sub(r",? at [^\s,]+:\d+", "", str(error))
    text = re.sub(r"Expected lexeme type .*", "it cannot be parsed", text, flags=re.S)
    return text.removeprefix("failed to initialize rcl: ").strip().replace("\n", " ")


def _check_domain() -> None:
    text = os.environ.get(DOMAIN, "").strip()
    if not re.fullmatch(r"\d*", text) or (
        int(text or 0) > MAX_DOMAIN and "zenoh" not in get_rmw_implementation_identifier()
    ):
        raise UsageError(
            f"the environment variable {DOMAIN} is '{text}': choose a number from 0 to "
            f"{MAX_DOMAIN}, best below 102"
        )


def _about_file(path: str, reason: str) -> str:
    try:
        Path(path).read_bytes()
    except OSError as error:
        return f"the parameter file '{path}' cannot be read: {error.strerror or error}"
    return (
        f"the parameter file '{path}' is rejected ({reason}): write the name of a node, or /**, "
        "below it ros__parameters, below that NAME: VALUE, as in the files in config/"
    )


def _about_environment(reason: str) -> str:
    if "log directory" in reason:
        return (
            f"{reason}: let ROS_LOG_DIR name a folder that can be written, or leave out "
            "--enable-external-lib-logs"
        )
    if "error not set" in reason:
        return (
            "it gives no reason; look at the environment variables that begin with ROS_ and RMW_, "
            "such as those of ROS_SECURITY_"
        )
    return reason
