# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Another node's parameters, by its services: rclpy has a client for them, but not on Humble."""

from __future__ import annotations

from collections.abc import Sequence

from rcl_interfaces.srv import GetParameters, SetParameters
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.task import Future


class ParameterClient:
    """A client of the parameter services of another node."""

    def __init__(self, node: Node, other: str) -> None:
        """Create the clients; nothing is requested yet.

        Args:
            node: the node that makes the requests.
            other: the name of the node whose parameters they are.
        """
        self._get = node.create_client(GetParameters, f"{other}/get_parameters")
        self._set = node.create_client(SetParameters, f"{other}/set_parameters")

    def wait_for_services(self, timeout: float) -> bool:
        """Return whether both services appear, waiting `timeout` seconds for each."""
        return all(client.wait_for_service(timeout) for client in (self._get, self._set))

    def get_parameters(self, names: Sequence[str]) -> Future:
        """Request parameters; the future holds a rcl_interfaces/GetParameters.Response."""
        return self._get.call_async(GetParameters.Request(names=list(names)))

    def set_parameters(self, parameters: Sequence[Parameter]) -> Future:
        """Set parameters; the future holds a rcl_interfaces/SetParameters.Response."""
        messages = [parameter.to_parameter_msg() for parameter in parameters]
        return self._set.call_async(SetParameters.Request(parameters=messages))
