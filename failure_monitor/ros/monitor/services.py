# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Services of standard types, answered by functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from rclpy.node import Node
from std_srvs.srv import SetBool, Trigger


class Answer(NamedTuple):
    """The answer of a service."""

    success: bool
    message: str


def offer_trigger(node: Node, name: str, answer: Callable[[], Answer]) -> None:
    """Offer a service of std_srvs/Trigger."""

    def on_request(request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.success, response.message = answer()
        return response

    node.create_service(Trigger, name, on_request)


def offer_switch(node: Node, name: str, answer: Callable[[bool], Answer]) -> None:
    """Offer a service of std_srvs/SetBool."""

    def on_request(request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        response.success, response.message = answer(request.data)
        return response

    node.create_service(SetBool, name, on_request)
