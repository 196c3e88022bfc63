# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""One finding about a ROS graph, and how bad it is."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Level(Enum):
    """How bad a finding is; the values are what the command prints."""

    OK = "ok"
    ATTENTION = "look"
    WRONG = "wrong"


@dataclass(frozen=True)
class Finding:
    """A statement about one topic or node of a graph.

    Attributes:
        level: how bad it is.
        about: the topic, node or parameter.
        message: what was found and, unless all is well, what to do.
    """

    level: Level
    about: str
    message: str


def ok(about: str, message: str) -> Finding:
    """Return a finding that all is well."""
    return Finding(Level.OK, about, message)


def attention(about: str, message: str) -> Finding:
    """Return a finding that may be intended or not: worth the user's attention."""
    return Finding(Level.ATTENTION, about, message)


def wrong(about: str, message: str) -> Finding:
    """Return a finding of something that cannot work."""
    return Finding(Level.WRONG, about, message)
