# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Findings on a monitor's inputs: whether they arrive, and their type, size, rate and stamps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from failure_monitor.graph_check.expectation import Expectation, ExpectedInput
from failure_monitor.graph_check.finding import Finding, Level, attention, ok, wrong
from failure_monitor.graph_check.snapshot import (
    GraphSnapshot,
    Messages,
    TopicSnapshot,
    node_names,
)

USUAL_FACTOR, TOLERABLE_FACTOR = 1.2, 1.5
"""Factors by which the time between decisions may differ from that in calibration: without a
finding, and without being wrong, since a busy machine may be the cause."""

MAX_LOST_SHARE = 0.2
"""Share of lost messages, estimated from the stamps, above which a topic is flagged."""

STALE_STAMP = 60.0
"""Seconds behind the clock above which a stamp is taken to come from another clock."""


def inspect_inputs(seen: GraphSnapshot, expected: Expectation) -> Iterator[Finding]:
    """Inspect every expected topic; each gives at least one finding, if anything must be there."""
    for one in expected.inputs:
        yield from _inspect_input(seen, expected, one)
    if expected.period is not None and expected.period > expected.max_age:
        yield wrong(
            "max_decision_age",
            f"is {expected.max_age:g} s, and the bundle's rollouts have a decision every "
            f"{expected.period:.3g} s: commands stop between two decisions; make it larger",
        )
    longest, allowed = expected.longest_plan_age, expected.max_plan_age
    if longest is not None and allowed is not None and longest > allowed:
        yield wrong(
            "max_plan_age",
            f"is {allowed:g} s, and in the bundle's rollouts plans were executed for up to "
            f"{longest:.3g} s after their observation: commands stop before the next decision; "
            "make it larger, or -1 for three times the longest",
        )


def _inspect_input(
    seen: GraphSnapshot, expected: Expectation, one: ExpectedInput
) -> Iterator[Finding]:
    topic = seen.topic(one.topic)
    if one.is_unknown:
        if topic.publishers:
            yield wrong(
                one.topic,
                f"{node_names(topic.publishers)} publishes {one.what}, and the bundle was "
                "calibrated without: start the policy that it is for, or calibrate again with "
                "them; or set the monitor's 'embedding_topic' to '' to do without",
            )
        return
    if not topic.publishers:
        missing = wrong if one.is_needed else attention
        yield missing(
            one.topic,
            f"no node publishes {one.what}: start their publisher, or name the topic "
            f"({one.remedy}){_same_type(seen, one)}",
        )
        return
    found = [*_inspect_ends(topic, one), *_inspect_messages(seen.seconds, topic, expected, one)]
    yield from found
    if not any(each.level is not Level.OK for each in found):
        assert topic.messages is not None
        yield ok(one.topic, _described(topic, topic.messages, one))


def _same_type(seen: GraphSnapshot, one: ExpectedInput) -> str:
    """Return where messages of the expected type are published, as a clause."""
    others = sorted(name for name, types in seen.published.items() if one.message_type in types)
    if not others:
        return f"; no {one.message_type} is published anywhere"
    return f"; {one.message_type} is published on {', '.join(others)}"


def _inspect_ends(topic: TopicSnapshot, one: ExpectedInput) -> Iterator[Finding]:
    other_type = [end for end in topic.publishers if end.message_type != one.message_type]
    for end in other_type:
        yield wrong(
            one.topic,
            f"{end.node} publishes {end.message_type}, expected {one.what} as {one.message_type}: "
            f"let it publish that, or name another topic ({one.remedy})",
        )
    unreliable = [end for end in topic.publishers if not end.reliable and end not in other_type]
    if one.reliable and unreliable:
        yield wrong(
            one.topic,
            f"{node_names(unreliable)} offers best effort, the monitor asks for reliable, so "
            "nothing arrives: let it publish reliably",
        )
    if one.is_sole and len(topic.publishers) > 1:
        yield wrong(
            one.topic,
            f"{len(topic.publishers)} publishers ({node_names(topic.publishers)}), whose messages "
            "contradict one another: stop all but one (one that died is forgotten after 20 s)",
        )


def _inspect_messages(
    seconds: float, topic: TopicSnapshot, expected: Expectation, one: ExpectedInput
) -> Iterator[Finding]:
    messages = topic.messages or Messages()
    if not messages.received and not messages.fault:
        yield _silent(seconds, topic, one)
        return
    if messages.fault:
        yield wrong(one.topic, messages.fault)
        return
    yield from _inspect_shape(messages, one)
    if one.is_of_decisions:
        yield from _inspect_stamps(messages, expected, one)
        yield from _inspect_period(messages.period, expected, one)
    elif expected.observation_rate is not None and one.what == "images":
        yield from _inspect_period(_observed_period(messages, expected), expected, one)
    # Decisions pause between rollouts; their stamps do not distinguish that from a loss.
    if one.is_steady and messages.lost > MAX_LOST_SHARE:
        yield attention(
            one.topic,
            f"{messages.lost:.0%} of the messages are lost, by their stamps: see the monitor's "
            "/diagnostics, which names remedies",
        )


def _silent(seconds: float, topic: TopicSnapshot, one: ExpectedInput) -> Finding:
    message = f"{node_names(topic.publishers)} published no {one.what} in {seconds:g} s"
    if one.is_steady and one.is_needed:
        return wrong(
            one.topic,
            f"{message}: it hangs, died a moment ago or cannot be reached; see its output",
        )
    return attention(
        one.topic,
        f"{message}, so their size and rate are unknown: run the policy meanwhile, or listen "
        "longer (--seconds)",
    )


def _inspect_shape(messages: Messages, one: ExpectedInput) -> Iterator[Finding]:
    if one.shape is not None and messages.shape != one.shape:
        yield wrong(
            one.topic,
            f"{one.what} have shape {_shape(messages.shape)}, the bundle expects "
            f"{_shape(one.shape)}: the policy was re-trained, or the topic is another policy's; "
            "calibrate again, or name the bundle or topic that belongs to it",
        )
    elif one.names and messages.names != one.names:
        yield wrong(
            one.topic,
            f"the actions are {', '.join(messages.names)}, the bundle expects "
            f"{', '.join(one.names)}: the topic is another policy's, or calibrate again",
        )


def _inspect_stamps(
    messages: Messages, expected: Expectation, one: ExpectedInput
) -> Iterator[Finding]:
    lag = messages.lag
    if lag is None:
        yield wrong(one.topic, "the headers have no stamp: publish the stamp of the observation")
    elif -lag > expected.max_lead:
        yield wrong(
            one.topic,
            f"the stamps are {-lag:.3g} s ahead of this machine's clock, and "
            f"{expected.max_lead:g} s are allowed: synchronise the clocks, set use_sim_time alike "
            "for all nodes, or raise the monitor's 'max_stamp_lead'",
        )
    elif lag > STALE_STAMP:
        yield wrong(
            one.topic,
            f"the stamps are {lag:.3g} s behind this machine's clock, as if of another clock: use "
            "the stamp of the observation, synchronise the clocks, and set use_sim_time alike for "
            "all nodes",
        )
    elif too_old := _too_old(lag, messages.period, expected.max_plan_age):
        yield wrong(one.topic, too_old)
    elif lag > expected.max_age:
        yield attention(
            one.topic,
            f"the stamps are {lag:.3g} s old on arrival, and the last verdict is valid for "
            f"{expected.max_age:g} s: the policy is slow, or the clocks are not synchronised",
        )


def _too_old(lag: float, period: float | None, allowed: float | None) -> str:
    """Return that plans grow too old before the next decision comes; empty if they do not."""
    if allowed is None or lag + (period or 0.0) <= allowed:
        return ""
    next_comes = f", and the next decision comes {period:.3g} s later" if period else ""
    return (
        f"the stamps are {lag:.3g} s old on arrival{next_comes}, and a plan may be executed for "
        f"{allowed:.3g} s after its observation (max_plan_age): commands stop; see whether the "
        "policy, its server or the network is slow, synchronise the clocks, or raise it"
    )


def _inspect_period(
    period: float | None, expected: Expectation, one: ExpectedInput
) -> Iterator[Finding]:
    if expected.period is None:
        return
    usual = f"the bundle's rollouts have one every {expected.period:.3g} s"
    if period is None:
        yield attention(
            one.topic,
            f"too few decisions came to estimate their rate; {usual}: listen longer (--seconds)",
        )
        return
    factor = max(period / expected.period, expected.period / period)
    if factor > USUAL_FACTOR:
        finding = wrong if factor > TOLERABLE_FACTOR else attention
        yield finding(
            one.topic,
            f"a decision every {period:.3g} s, {usual}: the promise holds at the latter rate "
            "only; set the policy to it, or calibrate again",
        )


def _observed_period(messages: Messages, expected: Expectation) -> float | None:
    """Return the seconds between decisions that the monitor makes of images."""
    if messages.period is None or not expected.observation_rate:
        return messages.period
    return max(messages.period, 1 / expected.observation_rate)


def _described(topic: TopicSnapshot, messages: Messages, one: ExpectedInput) -> str:
    parts = [f"{one.what} of {node_names(topic.publishers)}"]
    if messages.shape:
        parts.append(f"shape {_shape(messages.shape)}")
    if messages.names:
        parts.append(" ".join(messages.names))
    if messages.rate:
        parts.append(f"{messages.rate:.3g}/s")
    if messages.lag is not None:
        parts.append(f"stamps {messages.lag:.2f} s old")
    return ", ".join(parts)


def _shape(shape: Sequence[int]) -> str:
    return str(tuple(shape))
