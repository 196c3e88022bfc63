# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The only place that uses names which rclpy does not publish, each with its reason.

A version of rclpy without such a name must have no worse effect than the one described beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode
from rclpy.node import Node
from rclpy.parameter import Parameter

RCLError: type[Exception] = getattr(
    getattr(rclpy, "_rclpy_pybind11", None), "RCLError", RuntimeError
)
"""What ROS raises below rclpy, told in a sentence when a node is made. Without the name, more is
taken for it."""


def given_parameters(node: Node) -> Mapping[str, Parameter]:
    """Return the parameters that a node was started with, declared or not, by name.

    rclpy publishes only those that are declared, and a mistyped one must be rejected. Without the
    attribute the result is empty, and mistyped names have no effect.
    """
    given: Mapping[str, Parameter] = getattr(node, "_parameter_overrides", {})
    return given


def add_given_parameters(node: Node, parameters: Iterable[Parameter]) -> None:
    """Have a node start with further parameters, unless it was given them.

    The argument of rclpy for such parameters overrides what a user has given. Without the
    attribute they have no effect.
    """
    given: dict[str, Parameter] = getattr(node, "_parameter_overrides", {})
    for parameter in parameters:
        given.setdefault(parameter.name, parameter)


class UnreadableError(Exception):
    """A message or request is not of the type of its topic or service."""


class TolerantExecutor(SingleThreadedExecutor):
    """An executor for which a message or request that cannot be read is as if it had not come.

    rclpy raises an error for one, and never calls a callback of the same group again. A version of
    rclpy that takes messages by other methods does that, too.

    It also waits once for every callback. rclpy wakes itself after each, for the sake of other
    threads, and so takes all entities into its wait set twice as often as there is work. A version
    of rclpy that makes handlers by another method does that, too.
    """

    _guard: Any

    def __init__(self, on_error: Callable[[Exception], object], **options: Any) -> None:
        """Create the executor, as `SingleThreadedExecutor` does.

        Args:
            on_error: called with the error for what could not be read.
            options: further arguments.
        """
        super().__init__(**options)
        self._on_read_error = on_error

    def _make_handler(self, *arguments: Any, **options: Any) -> Any:
        if self._awaits:
            # What waits for an answer goes on only when the executor is woken.
            return super()._make_handler(*arguments, **options)
        guard, self._guard = self._guard, _NoGuard()
        try:
            return super()._make_handler(*arguments, **options)
        finally:
            self._guard = guard

    @property
    def _awaits(self) -> bool:
        """Whether a callback has not run to its end, or this cannot be known."""
        tasks = getattr(self, "_tasks", None)
        return tasks is None or any(not task.done() for task, *_ in tasks)

    def _take_subscription(self, subscription: Any) -> Any:
        return self._take(super()._take_subscription, subscription)

    def _take_service(self, service: Any) -> Any:
        return self._take(super()._take_service, service)

    def _take_client(self, client: Any) -> Any:
        return self._take(super()._take_client, client)

    def _take(self, take: Callable[[Any], Any], entity: Any) -> Any:
        try:
            return take(entity)
        except Exception as error:
            name = getattr(entity, "topic_name", "") or getattr(entity, "srv_name", "")
            told = UnreadableError(
                f"what was received on '{name}' cannot be read, and is ignored ({error}): look at "
                "who sends it"
            )
            told.__cause__ = error
            self._on_read_error(told)
            return None


class _NoGuard:
    """Stands for the guard condition that wakes an executor, where nobody has to be woken."""

    def trigger(self) -> None:
        """Do nothing: the one thread that could wait is the one that works."""


def answer_transitions(
    node: LifecycleNode, wrap: Callable[[Callable[[Any, Any], Any], Any, Any], Any]
) -> None:
    """Have requests for transitions of a lifecycle node go through a function.

    rclpy has no other way to answer a request for a transition that does not fit (its issue 1209).
    Without the attribute such a request raises an error out of the executor.

    Args:
        node: the node.
        wrap: called with rclpy's own answering function, the request and the response.
    """
    service = getattr(node, "_service_change_state", None)
    if service is not None:
        service.callback = partial(wrap, service.callback)
