# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Calls to the services and parameters of another node that wait for the answer.

rclpy has a client for another node's parameters, too, but not on Humble.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import rclpy
from rcl_interfaces.srv import GetParameters, SetParameters
from rclpy.client import Client
from rclpy.node import Node
from rclpy.parameter import Parameter, parameter_value_to_python
from std_srvs.srv import Trigger

from failure_monitor.errors import FailureMonitorError


class RemoteNode:
    """Another node, whose services are called one after the other."""

    def __init__(self, node: Node, name: str) -> None:
        """Prepare the calls; none is made yet.

        Args:
            node: the node that calls; it is spun while a call waits.
            name: the name of the other node.
        """
        self._node = node
        self._name = name
        self._get = self.client(GetParameters, "get_parameters")
        self._set = self.client(SetParameters, "set_parameters")

    def client(self, service_type: type, service: str) -> Client:
        """Return a client for a service in the other node's namespace."""
        return self._node.create_client(service_type, f"{self._name}/{service}")

    def call(self, client: Client, request: Any, timeout: float) -> Any:
        """Call a service and return its answer.

        Raises:
            FailureMonitorError: the service is not there, or does not answer in time.
        """
        self.wait_for(client, timeout)
        future = client.call_async(request)
        rclpy.spin_until_future_complete(self._node, future, timeout_sec=timeout)
        if not future.done():
            raise self._no_answer(timeout)
        return future.result()

    def wait_for(self, client: Client, timeout: float) -> None:
        """Return once the node offers a service and those for its parameters.

        Raises:
            FailureMonitorError: one of them is not there in time.
        """
        for each in (client, self._get, self._set):
            if not each.wait_for_service(timeout):
                raise self._no_answer(timeout)

    def trigger(self, client: Client, timeout: float, request: Any = None) -> None:
        """Call a service whose answer has `success` and `message`.

        Raises:
            FailureMonitorError: it does not answer, or the answer is no success.
        """
        answer = self.call(client, request or Trigger.Request(), timeout)
        if not answer.success:
            raise FailureMonitorError(f"'{client.srv_name}' was rejected: {answer.message}")

    def set_parameters(self, values: Mapping[str, object], timeout: float) -> None:
        """Set parameters.

        Raises:
            FailureMonitorError: the node does not answer, or rejects a value.
        """
        parameters = [Parameter(name, value=value) for name, value in values.items()]
        messages = [parameter.to_parameter_msg() for parameter in parameters]
        answer = self.call(self._set, SetParameters.Request(parameters=messages), timeout)
        for parameter, result in zip(parameters, answer.results, strict=True):
            if not result.successful:
                raise FailureMonitorError(
                    f"node '{self._name}' rejects {parameter.name} = {parameter.value!r}: "
                    f"{result.reason}"
                )

    def parameter(self, name: str, timeout: float) -> Any:
        """Return the value of a parameter; None if the node does not have it."""
        answer = self.call(self._get, GetParameters.Request(names=[name]), timeout)
        return parameter_value_to_python(answer.values[0]) if answer.values else None

    def _no_answer(self, timeout: float) -> FailureMonitorError:
        return FailureMonitorError(
            f"node '{self._name}' has not answered within {timeout:.0f} s: see its output, and "
            "that it runs on the same ROS_DOMAIN_ID"
        )
