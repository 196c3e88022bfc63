# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Answers requests about a node's parameters on a thread of its own.

rclpy answers them between two messages: one request of fifty thousand parameters would keep the
gate from stopping the robot for a second, and one of an unknown type raises an error. Only what
can be set is handed over to the node's own thread.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from typing import Any

from rcl_interfaces.msg import ListParametersResult, SetParametersResult
from rcl_interfaces.msg import Parameter as ParameterMessage
from rcl_interfaces.srv import (
    DescribeParameters,
    GetParameters,
    GetParameterTypes,
    ListParameters,
    SetParameters,
    SetParametersAtomically,
)
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import qos_profile_parameters

from failure_monitor.ros.common.rclpy_internals import TolerantExecutor

MAX_CHANGES = 100
"""Parameters that one request can set."""

MAX_WAIT = 1.0
"""Seconds within which the node must set a parameter; later, nobody may expect it any more."""

PERIOD = 0.5
"""Seconds between two checks whether to end."""


class ParameterServer:
    """The parameter services of a node that was created without them.

    They belong to a hidden node, which does nothing else.
    """

    def __init__(self, node: Node) -> None:
        """Offer the services and start the thread.

        Args:
            node: the node, with its parameters declared. Its executor sets them.
        """
        self._node = node
        self._ends = False
        self._server = Node(
            f"_{node.get_name()}_parameter_server",
            namespace=node.get_namespace(),
            context=node.context,
            use_global_arguments=False,
            enable_rosout=False,
            start_parameter_services=False,
        )
        for kind, name, answer in (
            (DescribeParameters, "describe_parameters", self._describe),
            (GetParameters, "get_parameters", self._get),
            (GetParameterTypes, "get_parameter_types", self._types),
            (ListParameters, "list_parameters", self._list),
            (SetParameters, "set_parameters", self._set),
            (SetParametersAtomically, "set_parameters_atomically", self._set_together),
        ):
            service = f"{node.get_fully_qualified_name()}/{name}"
            self._server.create_service(kind, service, answer, qos_profile=qos_profile_parameters)
        self._executor = TolerantExecutor(self._log, context=node.context)
        self._executor.add_node(self._server)
        self._thread = threading.Thread(target=self._spin, name="parameters", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread and the services."""
        self._ends = True
        self._executor.create_task(lambda: None)
        self._thread.join(2 * PERIOD)
        self._server.destroy_node()

    def _spin(self) -> None:
        while not self._ends and self._node.context.ok():
            try:
                self._executor.spin_once(timeout_sec=PERIOD)
            except ExternalShutdownException:
                return
            except Exception as error:
                self._log(error)

    def _log(self, error: Exception) -> None:
        if not self._ends:
            self._node.get_logger().error(
                f"a request about parameters failed: {type(error).__name__}: {error}",
                throttle_duration_sec=1.0,
            )

    # Reading: an unknown name leaves the answer empty, as in rclpy.

    def _describe(self, request: Any, response: Any) -> Any:
        if self._all_known(request.names):
            response.descriptors = [self._node.describe_parameter(one) for one in request.names]
        return response

    def _get(self, request: Any, response: Any) -> Any:
        if self._all_known(request.names):
            response.values = [
                self._node.get_parameter(one).get_parameter_value() for one in request.names
            ]
        return response

    def _types(self, request: Any, response: Any) -> Any:
        if self._all_known(request.names):
            response.types = [self._node.get_parameter(one).type_.value for one in request.names]
        return response

    def _list(self, request: Any, response: Any) -> Any:
        # Of a node's names Humble publishes no list of its own.
        names = self._node.get_parameters_by_prefix("")
        response.result = list_parameters(names, request.prefixes, request.depth)
        return response

    def _all_known(self, names: Sequence[str]) -> bool:
        return all(map(self._node.has_parameter, names))

    # Setting

    def _set(self, request: Any, response: Any) -> Any:
        changes = request.parameters
        reasons = [None if self._keeps_its_value(one) else self._rejection(one) for one in changes]
        if reasons.count("") > MAX_CHANGES:
            reasons = [f"more than {MAX_CHANGES} parameters in one request"] * len(changes)
        response.results = [
            self._result_of(change, reason)
            for change, reason in zip(changes, reasons, strict=True)
        ]
        return response

    def _result_of(self, change: ParameterMessage, reason: str | None) -> SetParametersResult:
        """Set a parameter, unless it needs no change (None) or is rejected for a reason."""
        if reason is None:
            return SetParametersResult(successful=True)
        return _rejected(reason) if reason else self._hand_over([change])

    def _set_together(self, request: Any, response: Any) -> Any:
        changes = [change for change in request.parameters if not self._keeps_its_value(change)]
        reason = next(filter(None, map(self._rejection, changes)), "")
        if len(changes) > MAX_CHANGES:
            reason = f"more than {MAX_CHANGES} parameters in one request"
        if reason:
            response.result = _rejected(reason)
        elif changes:
            response.result = self._hand_over(changes)
        else:
            response.result = SetParametersResult(successful=True)
        return response

    def _keeps_its_value(self, change: ParameterMessage) -> bool:
        """Whether a parameter that is fixed is to be set to the value that it has.

        `ros2 param load` does that with what `ros2 param dump` has written.
        """
        return (
            self._node.has_parameter(change.name)
            and self._node.describe_parameter(change.name).read_only
            and self._node.get_parameter(change.name).get_parameter_value() == change.value
        )

    def _rejection(self, change: ParameterMessage) -> str:
        """Return why a parameter cannot be set, whatever the value; empty if it can."""
        if not self._node.has_parameter(change.name):
            return f"there is no parameter '{change.name[:100]}'"
        descriptor = self._node.describe_parameter(change.name)
        if descriptor.read_only:
            return f"'{change.name}' can be set only when the node is started"
        if change.value.type != descriptor.type:
            return f"the value of '{change.name}' has another type"
        return ""

    def _hand_over(self, changes: Sequence[ParameterMessage]) -> SetParametersResult:
        """Have the node's own thread set parameters, and return the result."""
        executor = self._node.executor
        if executor is None:
            return _rejected("the node does not run")
        change = _Change(self._node, [Parameter.from_parameter_msg(one) for one in changes])
        executor.create_task(change.make)
        return change.wait()


class _Change:
    """Parameters that the node's thread is to set."""

    def __init__(self, node: Node, parameters: list[Parameter]) -> None:
        self._node = node
        self._parameters = parameters
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._is_late = False
        self._result = _rejected("the node was busy for too long; nothing is changed")

    def make(self) -> None:
        """Set the parameters, unless nobody waits for it any more."""
        with self._lock:
            if self._is_late:
                return
            try:
                self._result = self._node.set_parameters_atomically(self._parameters)
            except Exception as error:
                self._result = _rejected(f"{type(error).__name__}: {error}")
        self._done.set()

    def wait(self) -> SetParametersResult:
        """Return the result, once there is one."""
        if not self._done.wait(MAX_WAIT):
            # Not in the middle of setting them.
            with self._lock:
                self._is_late = True
        return self._result


def list_parameters(
    names: Iterable[str], prefixes: Sequence[str], depth: int
) -> ListParametersResult:
    """Return parameters and their prefixes, as `ros2 param list` asks for them.

    Args:
        names: all parameters of the node.
        prefixes: those to list, or what precedes the dot of those to list; none for all.
        depth: the number of parts of a name, behind its prefix, up to which it is listed; 0 for
            any number.
    """
    found = [name for name in names if _is_listed(name, prefixes, depth)]
    before = dict.fromkeys(name.rpartition(".")[0] for name in found)
    return ListParametersResult(names=found, prefixes=list(filter(None, before)))


def _is_listed(name: str, prefixes: Sequence[str], depth: int) -> bool:
    rests = [name.removeprefix(f"{one}.") for one in prefixes if name.startswith(f"{one}.")]
    return name in prefixes or any(
        depth == ListParameters.Request.DEPTH_RECURSIVE or rest.count(".") < depth
        for rest in (rests if prefixes else [name])
    )


def _rejected(reason: str) -> SetParametersResult:
    return SetParametersResult(successful=False, reason=reason)
