# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Parameters of other nodes, asked for and answered when they come to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rcl_interfaces.srv import GetParameters
from rclpy.node import Node
from rclpy.parameter import parameter_value_to_python


class AskedParameters:
    """Asks every node once; never waits for an answer."""

    def __init__(self, node: Node) -> None:
        """Ask nobody yet.

        Args:
            node: that asks.
        """
        self._node = node
        self._waiting: dict[str, tuple[Any, Sequence[str]]] = {}
        self._answers: dict[str, dict[str, Any]] = {}

    def ask(self, node: str, names: Sequence[str]) -> None:
        """Ask a node for parameters, as soon as `send` finds it.

        Args:
            node: its full name.
            names: of the parameters.
        """
        client = self._node.create_client(GetParameters, f"{node}/get_parameters")
        self._waiting[node] = (client, names)

    def send(self) -> None:
        """Send what waits to those that are there by now."""
        for node, (client, names) in [*self._waiting.items()]:
            if client.service_is_ready():
                del self._waiting[node]
                self._send(node, client, names)

    def of(self, node: str) -> Mapping[str, Any] | None:
        """What a node answered, by name; None if it has not."""
        return self._answers.get(node)

    def _send(self, node: str, client: Any, names: Sequence[str]) -> None:
        def take(future: Any) -> None:
            values = map(parameter_value_to_python, future.result().values)
            self._answers[node] = {
                name: value for name, value in zip(names, values, strict=False) if value is not None
            }

        request = GetParameters.Request(names=list(names))
        client.call_async(request).add_done_callback(take)
