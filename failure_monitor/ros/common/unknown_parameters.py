# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Rejects parameters that a node does not have: a mistyped one would have no effect.

Only those that may be meant for other nodes, too, are reported instead.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches

from rclpy.node import Node

from failure_monitor.errors import UsageError
from failure_monitor.listed_names import list_names
from failure_monitor.ros.common.given_parameters import Given, given_by
from failure_monitor.ros.common.rclpy_internals import given_parameters

OF_RCLPY = ("use_sim_time", "start_type_description_service")
"""Parameters that rclpy may declare, or not, on any node."""

PREFIX_OF_RCLPY = "qos_overrides."

LIKENESS = 0.7
"""Of a name, from 0 to 1, from which on it may have been meant."""


def reject_unknown_parameters(
    node: Node,
    *,
    also_known: Iterable[str] = (),
    also_read: str = "",
    arguments: Sequence[str] | None = None,
) -> None:
    """Reject what was given to this node by `-p` or by its name, and that it does not have.

    What a file gives to every node is logged, and so is what holds nothing for this one.

    Args:
        node: the node, with its parameters declared.
        also_known: names of parameters that it does not declare.
        also_read: full name of another node whose parameters it uses.
        arguments: of the process; default: those that it was started with.

    Raises:
        UsageError: names the first of them, and what may have been meant.
    """
    given = given_by(sys.argv if arguments is None else arguments)
    own = [one for one in given if one.is_for(node.get_fully_qualified_name())]
    known = _Known(node, also_known)
    _reject(node, known, own)
    read = [one for one in given if one in own or one.is_for(also_read)]
    for words in (*_without_effect(known, own), *_for_others(node, given, read)):
        node.get_logger().warning(words)


class _Known:
    """The parameters that a node has."""

    def __init__(self, node: Node, also: Iterable[str]) -> None:
        self._node = node
        self._names = [*node.get_parameters_by_prefix(""), *also]

    def has(self, name: str) -> bool:
        return (
            name in self._names
            or self._node.has_parameter(name)
            or name in OF_RCLPY
            or name.startswith(PREFIX_OF_RCLPY)
        )

    def near(self, name: str) -> str:
        """Return the known name that is most like a name; empty if none is."""
        return next(iter(get_close_matches(name, self._names, n=1, cutoff=LIKENESS)), "")

    def group(self, name: str) -> list[str]:
        """Return the known names that begin as a name does, up to its last dot."""
        prefix, dot, _ = name.rpartition(".")
        return [one for one in self._names if dot and one.startswith(f"{prefix}.")]

    def described(self, name: str) -> str:
        near = self.near(name)
        return f"'{name}' (did you mean '{near}'?)" if near else f"'{name}'"


def _reject(node: Node, known: _Known, own: Sequence[Given]) -> None:
    named = [name for one in own for name in one.names]
    for name in dict.fromkeys([*given_parameters(node), *named]):
        givers = [one for one in own if name in one.names]
        if not known.has(name) and _is_meant(known, name, givers):
            raise UsageError(
                f"{node.get_name()}: there is no parameter '{name}'{_advice(known, name)}"
                f"{_place(givers)}"
            )


def _is_meant(known: _Known, name: str, givers: Sequence[Given]) -> bool:
    """Return whether a name was meant for this node, and not for any that has it."""
    # What begins like a group of this node's was meant for it, wherever it stands.
    return not givers or bool(known.group(name)) or any(giver.names_a_node for giver in givers)


def _advice(known: _Known, name: str) -> str:
    near, group = known.near(name), known.group(name)
    if near:
        return f": did you mean '{near}'?"
    if group:
        return f": there are {', '.join(group)}"
    return ": docs/parameters.md lists those that there are"


def _place(givers: Sequence[Given]) -> str:
    places = [f" (in '{one.file}' under '{one.key}')" for one in givers if one.file]
    return places[-1] if places else ""


def _without_effect(known: _Known, own: Sequence[Given]) -> Iterator[str]:
    for one in own:
        unknown = [known.described(name) for name in one.names if not known.has(name)]
        if unknown:
            yield (
                f"'{one.file}' gives every node under '{one.key}' parameters that this one does "
                f"not have, and that have no effect on it: {list_names(unknown)}"
            )


def _for_others(node: Node, given: Sequence[Given], own: Sequence[Given]) -> Iterator[str]:
    """Yield what is to be said of files, and of `-p`, that hold nothing for this node."""
    here = node.get_fully_qualified_name()
    for one in given:
        if not one.file and one not in own:
            yield (
                f"the parameter '{one.key}:{one.names[0]}' is for the node '{one.key}', and has "
                f"no effect on this one, '{here}'"
            )
    files = dict.fromkeys(one.file for one in given if one.file)
    for file in files.keys() - {one.file for one in own}:
        keys = [f"'{one.key}'" for one in given if one.file == file]
        yield (
            f"the file '{file}' has no effect: its keys are {list_names(keys)}, and this node is "
            f"'{here}'; write '{here}', or '/**' for a node of any name"
        )
