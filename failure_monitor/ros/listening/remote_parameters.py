# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Parameters of other nodes, requested without waiting for the answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rcl_interfaces.srv import GetParameters
from rclpy.node import Node
from rclpy.parameter import parameter_value_to_python

Names = Sequence[str]
FurtherNames = Callable[[Mapping[str, Any]], Names]
"""Names parameters by the values of others."""


class RemoteParameters:
    """Requests the parameters of each node once; never waits for an answer."""

    def __init__(self, node: Node) -> None:
        """Start without any request.

        Args:
            node: the node that sends the requests.
        """
        self._node = node
        self._waiting: dict[str, tuple[Any, Names, FurtherNames | None]] = {}
        self._answers: dict[str, dict[str, Any]] = {}

    def request(self, node: str, names: Names, further: FurtherNames | None = None) -> None:
        """Request parameters of a node as soon as `send` finds it.

        Args:
            node: its full name.
            names: of the parameters.
            further: names more of them by the answer.
        """
        client = self._node.create_client(GetParameters, f"{node}/get_parameters")
        self._waiting[node] = (client, names, further)

    def send(self) -> None:
        """Send the waiting requests to the nodes that are there by now."""
        for node, (client, names, further) in [*self._waiting.items()]:
            if client.service_is_ready():
                del self._waiting[node]
                self._send(node, client, names, further)

    def of(self, node: str) -> Mapping[str, Any] | None:
        """Return a node's parameters by name; None if it has not answered."""
        return self._answers.get(node)

    def _send(self, node: str, client: Any, names: Names, further: FurtherNames | None) -> None:
        def store(future: Any) -> None:
            values = map(parameter_value_to_python, future.result().values)
            answer = {
                name: value
                for name, value in zip(names, values, strict=False)
                if value is not None
            }
            self._answers.setdefault(node, {}).update(answer)
            if further is not None:
                self.request(node, further(answer))

        request = GetParameters.Request(names=list(names))
        client.call_async(request).add_done_callback(store)
