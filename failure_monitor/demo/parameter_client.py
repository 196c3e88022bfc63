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
    """Asks; the answers are those of the services."""

    def __init__(self, node: Node, other: str) -> None:
        """Nothing is asked yet.

        Args:
            node: asks.
            other: the name of the node whose parameters they are.
        """
        self._get = node.create_client(GetParameters, f"{other}/get_parameters")
        self._set = node.create_client(SetParameters, f"{other}/set_parameters")

    def wait_for_services(self, timeout: float) -> bool:
        """Whether the node answers within so many seconds for each of the two."""
        return all(client.wait_for_service(timeout) for client in (self._get, self._set))

    def get_parameters(self, names: Sequence[str]) -> Future:
        """A rcl_interfaces/GetParameters.Response, in the future."""
        return self._get.call_async(GetParameters.Request(names=list(names)))

    def set_parameters(self, parameters: Sequence[Parameter]) -> Future:
        """A rcl_interfaces/SetParameters.Response, in the future."""
        messages = [parameter.to_parameter_msg() for parameter in parameters]
        return self._set.call_async(SetParameters.Request(parameters=messages))
