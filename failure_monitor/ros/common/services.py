# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Services of standard types, answered by functions, which may be rejected whatever they ask."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from rclpy.node import Node
from std_srvs.srv import SetBool, Trigger

Rejection = Callable[[], str]
"""Returns why requests are rejected at this moment; empty if they are not."""


class Answer(NamedTuple):
    """The answer of a service."""

    success: bool
    message: str


def accept() -> str:
    """Reject no request."""
    return ""


def offer_trigger(
    node: Node, name: str, answer: Callable[[], Answer], *, rejection: Rejection = accept
) -> None:
    """Offer a service of std_srvs/Trigger."""

    def on_request(request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        why = rejection()
        response.success, response.message = Answer(False, why) if why else answer()
        return response

    node.create_service(Trigger, name, on_request)


def offer_switch(node: Node, name: str, answer: Callable[[bool], Answer]) -> None:
    """Offer a service of std_srvs/SetBool."""

    def on_request(request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        response.success, response.message = answer(request.data)
        return response

    node.create_service(SetBool, name, on_request)
