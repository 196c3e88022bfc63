# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The topic that says whether a human intervenes, as monitor and gate receive it."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription

from failure_monitor.errors import UsageError
from failure_monitor.messages.teleoperation import BOOL_TYPE, is_active, is_measured
from failure_monitor.monitoring.intervention import Intervention
from failure_monitor.monitoring.several_publishers import CONTESTED_MEMORY, SeveralPublishers
from failure_monitor.parameters.intervention import InterventionParameters
from failure_monitor.ros.common.incompatible_qos import no_subscription_events
from failure_monitor.ros.common.message_info import (
    MessageInfo,
    pending_messages,
    publisher_count,
    sequence_number,
    with_info,
)
from failure_monitor.ros.common.publishers import contradiction, why_unreadable
from failure_monitor.ros.common.qos import LATCHED_QOS, PERMIT_SUBSCRIPTION_QOS
from failure_monitor.ros.common.topic_name import full_topic_name

ACTIVITY_QOS = QoSProfile(depth=100, reliability=ReliabilityPolicy.BEST_EFFORT)
"""For teleoperation devices, which publish in whatever quality, and often."""

LOOK_PERIOD = 0.5
"""Seconds between two looks at who publishes."""

Gid = tuple[int, ...]
"""What the middleware knows a publisher by."""

DOUBT_PERIOD = 0.1
"""Seconds between two looks at who publishes while it is in doubt who said that a human let go."""


class InterventionInput:
    """Whether a human intervenes.

    A state is subscribed to twice: a publisher that is latched is heard although it spoke before
    this node started, and one that is not is heard at all.
    """

    def __init__(
        self,
        node: Node,
        settings: InterventionParameters,
        *,
        on_intervention: Callable[[], object],
        changed: Callable[[], object],
    ) -> None:
        """Subscribe to the topic, if there is one.

        Args:
            node: the node.
            settings: its parameters.
            on_intervention: called for every message by which a human intervenes, also where the
                next one already says the opposite.
            changed: called when a human begins or ceases to intervene.

        Raises:
            UsageError: the message type is not installed.
        """
        self._node = node
        self._settings = settings
        self._on_intervention = on_intervention
        self._changed = changed
        self._subscriptions: list[tuple[Subscription, SeveralPublishers]] = []
        self._doubted_at = float("-inf")
        self._held_by: frozenset[Gid] | None = None
        self._held_number: int | None = None
        self._is_own_word = False
        self._is_state = settings.type == BOOL_TYPE
        self._looked_at = float("-inf")
        self._unheard = self._contradiction = ""
        self._was_holding: bool | None = False
        settings.check()
        self.topic = full_topic_name(node, "intervention_topic", settings.topic, is_optional=True)
        """The full name of the topic; empty where there is none."""
        lasting = None if self._is_state else settings.timeout
        self._intervention = Intervention(self.topic, lasting)
        if not self.topic:
            return
        message = _message_class(settings.type)
        qualities = [PERMIT_SUBSCRIPTION_QOS, LATCHED_QOS] if self._is_state else [ACTIVITY_QOS]
        self._subscriptions = [self._subscribe(message, quality) for quality in qualities]
        self._expiry = node.create_timer(
            settings.timeout, self._report, clock=Clock(clock_type=ClockType.STEADY_TIME)
        )
        self._expiry.cancel()
        self._doubt = node.create_timer(
            DOUBT_PERIOD, self._settle_doubt, clock=Clock(clock_type=ClockType.STEADY_TIME)
        )
        self._doubt.cancel()

    def _subscribe(
        self, message: Any, quality: QoSProfile
    ) -> tuple[Subscription, SeveralPublishers]:
        reads = self._is_state or is_measured(self._settings.type, self._settings.dead_band)
        publishers = SeveralPublishers()
        subscription = self._node.create_subscription(
            message,
            self.topic,
            with_info(partial(self._on_message, publishers)),
            quality,
            event_callbacks=no_subscription_events(),
            raw=not reads,
        )
        return subscription, publishers

    def receive_pending(self) -> None:
        """Receive the messages that wait for the executor."""
        for subscription, publishers in self._subscriptions:
            self._receive_pending(subscription, publishers)

    def _receive_pending(self, subscription: Subscription, publishers: SeveralPublishers) -> None:
        limit = PERMIT_SUBSCRIPTION_QOS.depth
        try:
            messages = pending_messages(subscription, limit)
        except Exception:
            # The middleware's error for a message that cannot be read has no public name.
            self._lose()
            return
        if len(messages) >= limit - 1:
            # The queue was full: what a human said may have been lost to what came after it.
            self._lose()
        for message, info in messages:
            self._receive(publishers, message, info)

    def _on_message(self, publishers: SeveralPublishers, message: Any, info: MessageInfo) -> None:
        self._receive(publishers, message, info)
        self.receive_pending()
        self._report()

    def _report(self) -> None:
        """Tell of a change, and not of every message of a flood."""
        holds = self._intervention.holds(time.monotonic())
        if self._was_holding != holds:
            self._was_holding = holds
            self._changed()

    def _receive(self, publishers: SeveralPublishers, message: Any, info: MessageInfo) -> None:
        now = time.monotonic()
        active = is_active(message, self._settings.type, self._settings.dead_band)
        contested = self._is_state and self._is_contested(publishers, info, now)
        number = sequence_number(info)
        if self._intervention.update(active, now, contested=contested):
            self._begin()
            self._held_number = number
        elif contested and self._intervention.holds(now):
            self._doubt_end(number, now)

    def _doubt_end(self, number: int | None, now: float) -> None:
        # Several publishers that are counted are no doubt, but a contradiction.
        if self._doubt.is_canceled() and self._publisher_count() <= 1:
            self._remember_who_holds()
            self._is_own_word = self._held_number is not None and number == self._held_number + 1
            self._doubted_at = now
            self._doubt.reset()

    def _remember_who_holds(self) -> None:
        """Remember who published when it was last said that a human intervenes."""
        if self._held_by is None:
            self._held_by = self._publishers()

    def _publishers(self) -> frozenset[Gid]:
        publishers = self._node.get_publishers_info_by_topic(self.topic)
        return frozenset(tuple(publisher.endpoint_gid) for publisher in publishers)

    def _is_contested(self, publishers: SeveralPublishers, info: MessageInfo, now: float) -> bool:
        """Return whether a message may be of another publisher than the one before it."""
        number = sequence_number(info)
        several = publishers.update(number, self._publisher_count(), now)
        # What a subscription receives first follows nothing that it has received.
        return several is True or (several is None and number is not None)

    def _publisher_count(self) -> int:
        subscription, _ = self._subscriptions[0]
        return publisher_count(self._node, subscription)

    def _settle_doubt(self) -> None:
        """Take it that a human let go, once whoever said so has long been the only publisher.

        Who said so may have left again before they were counted: then the only publisher is the
        one who said that a human intervenes, and has not taken it back.
        """
        if self._publisher_count() > 1:
            self._doubt.cancel()
        elif time.monotonic() - self._doubted_at >= CONTESTED_MEMORY:
            self._doubt.cancel()
            if self._is_own_word or not (self._held_by or frozenset()) & self._publishers():
                self._intervention.update(False, time.monotonic())
                self._report()

    def _lose(self) -> None:
        self._intervention.lose(time.monotonic())
        self._begin()

    def _begin(self) -> None:
        if self._is_state:
            self._doubt.cancel()
            self._held_by = self._held_number = None
        else:
            self._expiry.reset()
        if not self._was_holding:
            # However short it is: the next message may say the opposite before that is looked at.
            self._was_holding = None
        self._on_intervention()

    @property
    def last_reason(self) -> str:
        """By what it was last known that a human intervenes, whether or not one still does."""
        return self._intervention.last_reason

    def holds(self, now: float) -> bool:
        """Return whether a human intervenes at this moment."""
        return self._intervention.holds(now)

    def reason(self, now: float) -> str:
        """Return that a human intervenes, and by what that is known; empty if none does."""
        return self._intervention.reason(now)

    def unheard(self, now: float) -> str:
        """Return that what a node publishes cannot be received; empty if all of it can."""
        self._look(now)
        return self._unheard

    def problems(self, now: float) -> list[str]:
        """Return what is wrong with its publishers."""
        return [*filter(None, (self.unheard(now), self._contradiction))]

    def _look(self, now: float) -> None:
        """Look at who publishes, now and then: it takes the graph's lock."""
        if not self.topic or now - self._looked_at < LOOK_PERIOD:
            return
        self._looked_at = now
        if self._is_state and self._intervention.holds(now):
            self._remember_who_holds()
        is_reliable = self._is_state
        why = why_unreadable(self._node, self.topic, self._settings.type, is_reliable=is_reliable)
        self._unheard = why and f"whether a human intervenes is not known: {why}"
        self._contradiction = contradiction(self._node, self.topic) if self._is_state else ""


def _message_class(message_type: str) -> Any:
    package, kind, name = message_type.split("/")
    try:
        return getattr(import_module(f"{package}.{kind}"), name)
    except (ImportError, AttributeError):
        raise UsageError(
            f"the parameter 'intervention_type' is '{message_type}', which is not installed on "
            "this machine: install its package, or name another type"
        ) from None
