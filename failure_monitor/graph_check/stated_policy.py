# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Findings on what the policy states about itself: whether it is the one of the bundle."""

from __future__ import annotations

from collections.abc import Iterator

from failure_monitor.bundle.bundle import Bundle
from failure_monitor.bundle.policy_match import mismatch
from failure_monitor.graph_check.expectation import TEXT, TopicNames
from failure_monitor.graph_check.finding import Finding, ok, wrong
from failure_monitor.graph_check.snapshot import (
    GraphSnapshot,
    MonitorSnapshot,
    TopicSnapshot,
    node_names,
)
from failure_monitor.policy_description import SHORT_HASH, PolicyDescription

REMEDY = "--format-topic here, 'format_topic' or a remap for the monitor"


def format_topic(monitor: MonitorSnapshot, names: TopicNames) -> str:
    """Return the topic on which a monitor expects what the policy states."""
    texts = [topic for topic, one in monitor.inputs.items() if one.message_type == TEXT]
    return texts[0] if texts else names.named_by(monitor).format


def inspect_stated_policy(
    seen: GraphSnapshot, name: str, bundle: Bundle | None
) -> Iterator[Finding]:
    """Inspect what is stated on a topic; without any statement, only where the bundle needs one.

    Args:
        seen: the graph.
        name: the full name of the topic.
        bundle: the bundle that the monitor runs, or is to run; None if it is unknown.
    """
    topic = seen.topic(name)
    is_needed = bundle is not None and bundle.description.stated_policy is not None
    if not topic.publishers:
        if is_needed:
            yield wrong(
                name,
                "no node publishes what the policy is, and the bundle knows: start the policy "
                f"with the tap that it had in calibration, or name the topic ({REMEDY})",
            )
        return
    found = [*_inspect_publishers(name, topic)]
    yield from found
    if not found:
        yield from _inspect_statement(name, topic, bundle, is_needed=is_needed)


def _inspect_publishers(name: str, topic: TopicSnapshot) -> Iterator[Finding]:
    for end in topic.publishers:
        if end.message_type != TEXT:
            yield wrong(
                name,
                f"{end.node} publishes {end.message_type}, expected what the policy is as {TEXT}: "
                f"let it publish that, or name another topic ({REMEDY})",
            )
    if len(topic.publishers) > 1:
        yield wrong(
            name,
            f"{len(topic.publishers)} publishers ({node_names(topic.publishers)}), and which of "
            "them decides is unknown: stop all but one (one that died is forgotten after 20 s)",
        )


def _inspect_statement(
    name: str, topic: TopicSnapshot, bundle: Bundle | None, *, is_needed: bool
) -> Iterator[Finding]:
    messages, publisher = topic.messages, node_names(topic.publishers)
    if messages is None or not messages.received:
        if is_needed or messages is not None:
            yield wrong(
                name,
                f"nothing came of what {publisher} states: let it publish latched (reliable, "
                "transient local)",
            )
        return
    if messages.fault:
        yield wrong(name, messages.fault)
        return
    stated = PolicyDescription.from_json(messages.text)
    if bundle is not None and (why := mismatch(bundle.description, stated)):
        yield wrong(name, why)
        return
    parts = [stated.policy, stated.checkpoint[:SHORT_HASH], stated.checkpoint_name]
    what = " ".join(filter(None, parts)) or "a policy without a name"
    yield ok(name, f"{what} of {publisher}")
