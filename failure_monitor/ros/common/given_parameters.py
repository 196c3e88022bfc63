# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Who names which parameters on the command line of a node: `-p`, and the keys of files.

rclpy merges them, so that it can no longer be told whether a parameter was meant for this node.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

ROS_PARAMETERS = "ros__parameters"
"""Under which the parameters of a node stand in a file."""

EVERY_NODE = "/**"


@dataclass(frozen=True)
class Given:
    """Parameters that stand under one key.

    Attributes:
        file: what holds them; empty for `-p`.
        key: which nodes they are for, such as `/**` or `robot/failure_monitor`.
        names: of the parameters.
        values: of the parameters of a file.
    """

    file: str
    key: str
    names: tuple[str, ...]
    values: tuple[Any, ...] = field(default=(), compare=False)

    @property
    def names_a_node(self) -> bool:
        """Whether they are meant for a node of one name, rather than for all that there are."""
        return not self.file or "*" not in self.key.rpartition("/")[2]

    def is_for(self, node: str) -> bool:
        """Return whether ROS gives them to a node.

        Args:
            node: its full name.
        """
        # `/*` is one name, `/**` any number of them, as in rcl.
        pattern = f"/{self.key.lstrip('/')}".replace("/*", r"(/\w+)")
        return re.fullmatch(pattern, node) is not None


def given_by(arguments: Sequence[str]) -> list[Given]:
    """Return what names parameters in the arguments of a process, in their order.

    A file that cannot be read is left out: ROS has rejected it.
    """
    found: list[Given] = []
    for option, value in _ros_options(arguments):
        if option in ("-p", "--param"):
            key, separator, name = value.partition(":=")[0].rpartition(":")
            found.append(Given("", key if separator else EVERY_NODE, (name,)))
        elif option == "--params-file":
            found += _in_file(value)
    return found


def _ros_options(arguments: Sequence[str]) -> Iterator[tuple[str, str]]:
    is_ros = False
    for one, following in zip(arguments, [*arguments[1:], ""], strict=True):
        if one in ("--ros-args", "--"):
            is_ros = one == "--ros-args"
        elif is_ros:
            yield one, following


def _in_file(path: str) -> list[Given]:
    try:
        loader = yaml.SafeLoader(Path(path).read_bytes())
        # Nodes rather than values: ROS takes a key that stands there twice both times.
        return [
            Given(path, key, *_names_and_values(loader, below))
            for key, below in _by_key(loader.get_single_node(), "")
        ]
    except (OSError, ValueError, yaml.YAMLError):
        return []


def _names_and_values(
    loader: yaml.SafeLoader, parameters: yaml.Node
) -> tuple[tuple[str, ...], tuple[Any, ...]]:
    flat = dict(_flat(parameters, ""))
    # `deep`: a list is complete only then.
    return tuple(flat), tuple(loader.construct_object(one, deep=True) for one in flat.values())


def _by_key(node: yaml.Node | None, key: str) -> Iterator[tuple[str, yaml.Node]]:
    """Yield what stands under each key; namespaces may be nested."""
    for name, below in _pairs(node):
        if name == ROS_PARAMETERS:
            yield key, below
        else:
            yield from _by_key(below, f"{key}/{name}" if key else name)


def _flat(parameters: yaml.Node, prefix: str) -> Iterator[tuple[str, yaml.Node]]:
    for name, below in _pairs(parameters):
        if isinstance(below, yaml.MappingNode):
            yield from _flat(below, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", below


def _pairs(node: yaml.Node | None) -> Iterator[tuple[str, yaml.Node]]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield str(key.value), value
