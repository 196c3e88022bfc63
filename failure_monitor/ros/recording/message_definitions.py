# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Finds message types by name: their classes, and their definitions for bags.

A bag holds the definitions of its messages, so that it can be read where their packages are not
installed.
"""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from typing import Any

from ament_index_python.packages import PackageNotFoundError, get_package_share_directory
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from failure_monitor.errors import UsageError

_FIELD_TYPE = re.compile(
    r"^\s*([A-Za-z]\w*(?:/[A-Za-z]\w*)*)(?:<=\d+)?(?:\[[^\]]*\])?\s+\w+", re.M
)


def message_class(message_type: str) -> Any:
    """Return the class of a message type such as `std_msgs/msg/Bool`.

    Raises:
        UsageError: Its package is not installed, or it is no type of ROS.
    """
    package, kind, name = _parts(message_type)
    try:
        return getattr(import_module(f"{package}.{kind}"), name)
    except (ImportError, AttributeError):
        raise UsageError(
            f"the message type {message_type} is not installed on this machine: install its "
            "package, or leave the topic out of 'topics'"
        ) from None


class MessageDefinitions:
    """The definitions of standard messages, and of others that are registered."""

    def __init__(self) -> None:
        self.types: Typestore = get_typestore(Stores.ROS2_JAZZY)
        """The store from which the writer of a bag reads definitions."""

    def register(self, message_type: str) -> None:
        """Add the definitions of a message type and of the types of its fields.

        Raises:
            UsageError: A definition is not installed, or not understood.
        """
        if message_type in self.types.types:
            return
        text = _definition(message_type)
        own_package, _, _ = _parts(message_type)
        for field_type in _FIELD_TYPE.findall(text):
            if field_type[0].isupper() or "/" in field_type:
                self.register(_full_name(field_type, own_package))
        try:
            self.types.register(get_types_from_msg(text, message_type))
        except Exception as error:  # rosbags' parser raises errors of several kinds
            raise UsageError(
                f"the definition of the message type {message_type} is not understood ({error}): "
                "leave the topic out of 'topics'"
            ) from error


def _parts(message_type: str) -> tuple[str, str, str]:
    """Return package, kind and name of a type; other programs on the network may use others.

    Raises:
        UsageError: It has other parts.
    """
    parts = message_type.split("/")
    if len(parts) != 3:
        raise UsageError(
            f"the message type '{message_type}' is not one of ROS: leave the topic out of 'topics'"
        )
    package, kind, name = parts
    return package, kind, name


def _full_name(field_type: str, own_package: str) -> str:
    """Return the full name of a field's type, which may lack its package and kind."""
    if field_type == "Header":
        return "std_msgs/msg/Header"
    package, _, name = field_type.rpartition("/")
    return f"{package.removesuffix('/msg') or own_package}/msg/{name}"


def _definition(message_type: str) -> str:
    package, kind, name = _parts(message_type)
    try:
        folder = Path(get_package_share_directory(package)) / kind
        return (folder / f"{name}.msg").read_text(encoding="utf-8")
    except (PackageNotFoundError, OSError, ValueError):
        raise UsageError(
            f"the definition of the message type {message_type} is not installed on this machine: "
            "install its package, or leave the topic out of 'topics'"
        ) from None
