# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Makes the stop menu that the parameters describe."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from rclpy.exceptions import NameValidationException
from rclpy.node import Node

from failure_monitor.errors import UsageError
from failure_monitor.parameters.parameter import named, names_of
from failure_monitor.parameters.stop_menu import StopActionParameters, StopMenuParameters
from failure_monitor.ros.common.parameters import load_parameters, reject_unknown_under
from failure_monitor.ros.response.managed_node import ManagedNode
from failure_monitor.ros.response.stop_actions import (
    ActionGoals,
    Lock,
    SetBoolService,
    StopAction,
    TriggerService,
)
from failure_monitor.ros.response.stop_sequence import StopMenuEntry

_MAKERS: Mapping[str, Callable[[Node, StopActionParameters], StopAction]] = {
    "set_bool": lambda node, action: SetBoolService(node, action.target, action.value),
    "trigger": lambda node, action: TriggerService(node, action.target, action.resume),
    "lifecycle": lambda node, action: ManagedNode(node, action.target),
    "cancel_goals": lambda node, action: ActionGoals(node, action.target),
    "lock": lambda node, action: Lock(node, action.target),
}


def load_stop_menu(node: Node) -> list[StopMenuEntry]:
    """Declare the menu's parameters, and make what they name.

    Raises:
        UsageError: they do not make sense; the message names the parameter.
    """
    menu = load_parameters(node, StopMenuParameters)
    entries = [_make_entry(node, action) for action in menu.actions]
    reject_unknown_under(
        node,
        "halt.",
        f"'halt_menu' names {', '.join(named(menu.halt_menu)) or 'nothing'}, and the parameters "
        f"of an entry are {', '.join(names_of(StopActionParameters))}",
    )
    return entries


def _make_entry(node: Node, action: StopActionParameters) -> StopMenuEntry:
    prefix = f"the parameter 'halt.{action.name}"
    try:
        return StopMenuEntry(action.name, _MAKERS[action.kind](node, action), action.timeout)
    except NameValidationException as error:
        raise UsageError(f"{prefix}.target' is '{action.target}': {error}") from None
    except UsageError as error:
        raise UsageError(f"{prefix}.kind' is '{action.kind}': {error}") from None
