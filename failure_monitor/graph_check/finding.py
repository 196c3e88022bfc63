# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""One thing that was found out about a graph."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Level(Enum):
    """How bad a finding is."""

    OK = "ok"
    LOOK = "look"
    WRONG = "wrong"


@dataclass(frozen=True)
class Finding:
    """Something about a graph.

    Attributes:
        level: how bad it is.
        about: the topic or node.
        told: what was found and, unless all is well, what to do.
    """

    level: Level
    about: str
    told: str


def ok(about: str, told: str) -> Finding:
    """All is well."""
    return Finding(Level.OK, about, told)


def look(about: str, told: str) -> Finding:
    """Perhaps meant so; perhaps not."""
    return Finding(Level.LOOK, about, told)


def wrong(about: str, told: str) -> Finding:
    """It cannot work like this."""
    return Finding(Level.WRONG, about, told)
