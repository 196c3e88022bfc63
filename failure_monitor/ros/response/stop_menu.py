# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The halting menu as parameters: what there is to be asked, in which order, for how long."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial

from rclpy.exceptions import NameValidationException
from rclpy.node import Node

from failure_monitor.errors import UsageError
from failure_monitor.ros.common.parameters import declare, refuse_undeclared
from failure_monitor.ros.response.stop_actions import (
    ActionGoals,
    HaltMeans,
    LifecycleNode,
    Lock,
    SetBoolService,
    TriggerService,
)
from failure_monitor.ros.response.stop_sequence import MenuEntry

KINDS: Mapping[str, str] = {
    "set_bool": "a std_srvs/SetBool service that stops",
    "trigger": "a std_srvs/Trigger service that stops",
    "lifecycle": "a lifecycle node to deactivate",
    "cancel_goals": "an action to cancel all goals of",
    "lock": "a std_msgs/Bool topic that locks, as twist_mux has them; true without a permit",
}
"""What an entry may be; its target is the name of that."""

PARAMETERS = ("kind", "target", "timeout", "value", "resume")


def declare_menu(node: Node) -> list[MenuEntry]:
    """Declare the menu's parameters, and make what they name.

    Raises:
        UsageError: they make no sense; the message names the parameter.
    """
    names = declare(
        node,
        "halt_menu",
        [""],
        "names of what is asked to stop beyond the permit, in order; each has parameters of its "
        "own under halt.<name>",
        read_only=True,
    )
    menu = [] if names == [""] else list(names)
    twice = [name for name, count in Counter(menu).items() if count > 1]
    if "" in menu or twice:
        raise UsageError(
            f"the parameter 'halt_menu' is {menu}; it must be a list of names, none of them empty, "
            "and none twice"
        )
    entries = [_declare_entry(node, name) for name in menu]
    refuse_undeclared(
        node,
        "halt.",
        f"'halt_menu' names {', '.join(menu) or 'nothing'}, and the parameters of an entry are "
        f"{', '.join(PARAMETERS)}",
    )
    return entries


def _declare_entry(node: Node, name: str) -> MenuEntry:
    prefix = f"halt.{name}"
    fixed = partial(declare, node, read_only=True)
    kinds = "; ".join(f"'{kind}', {what}" for kind, what in KINDS.items())
    kind = fixed(f"{prefix}.kind", "", f"what it is: {kinds}")
    if kind not in KINDS:
        raise UsageError(
            f"the parameter '{prefix}.kind' is '{kind}', not one of {', '.join(KINDS)}"
        )
    target = fixed(f"{prefix}.target", "", "the name of the service, node, action or topic")
    timeout = fixed(
        f"{prefix}.timeout",
        1.0,
        "seconds to wait for an answer before the next entry is tried",
        bounds=(0.01, 60.0),
    )
    value = fixed(
        f"{prefix}.value",
        True,
        "for set_bool: what stops; the opposite goes on",
    )
    resume = fixed(f"{prefix}.resume", "", "for trigger: the Trigger service that goes on again")
    if not target:
        raise UsageError(f"the parameter '{prefix}.target' is empty: name {KINDS[kind]}")
    makers: Mapping[str, Callable[[], HaltMeans]] = {
        "set_bool": lambda: SetBoolService(node, target, value),
        "trigger": lambda: TriggerService(node, target, resume),
        "lifecycle": lambda: LifecycleNode(node, target),
        "cancel_goals": lambda: ActionGoals(node, target),
        "lock": lambda: Lock(node, target),
    }
    try:
        return MenuEntry(name, makers[kind](), timeout)
    except NameValidationException as error:
        raise UsageError(f"the parameter '{prefix}.target' is '{target}': {error}") from None
    except UsageError as error:
        raise UsageError(f"the parameter '{prefix}.kind' is '{kind}': {error}") from None
