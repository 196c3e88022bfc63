# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Whether what a monitor needs comes, of the right type, size and rate, with the right stamps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from failure_monitor.graph_check.expectation import Expectation, ExpectedInput
from failure_monitor.graph_check.finding import Finding, Level, look, ok, wrong
from failure_monitor.graph_check.snapshot import (
    GraphSnapshot,
    Messages,
    TopicSnapshot,
    node_names,
)

USUAL_FACTOR, TOLERABLE_FACTOR = 1.2, 1.5
"""By which factor the time between decisions may differ from that of calibration: without a word,
and without being wrong, as a busy machine may be the cause."""

LOST_SHARE = 0.2
"""Of the messages that the stamps tell of: if more are lost, that is worth a word."""

STALE_STAMP = 60.0
"""Seconds behind the clock at which a stamp is no late one, but of another clock."""


def judge_inputs(seen: GraphSnapshot, expected: Expectation) -> Iterator[Finding]:
    """A finding or more for every topic."""
    for one in expected.inputs:
        yield from _judge(seen, expected, one)
    if expected.period is not None and expected.period > expected.max_age:
        yield wrong(
            "max_decision_age",
            f"is {expected.max_age:g} s, the bundle's rollouts decided every "
            f"{expected.period:.3g} s: commands stop between two decisions; make it larger",
        )


def _judge(seen: GraphSnapshot, expected: Expectation, one: ExpectedInput) -> Iterator[Finding]:
    topic = seen.topic(one.topic)
    if not topic.publishers:
        missing = wrong if one.is_needed else look
        yield missing(
            one.topic,
            f"nobody publishes {one.what}: start their publisher, or name the topic "
            f"({one.remedy}){_alike(seen, one)}",
        )
        return
    found = [*_judge_ends(topic, one), *_judge_messages(seen.seconds, topic, expected, one)]
    yield from found
    if not any(each.level is not Level.OK for each in found):
        assert topic.messages is not None
        yield ok(one.topic, _described(topic, topic.messages, one))


def _alike(seen: GraphSnapshot, one: ExpectedInput) -> str:
    """What is there of the same type."""
    others = sorted(name for name, types in seen.published.items() if one.message_type in types)
    if not others:
        return f"; no {one.message_type} is published anywhere"
    return f"; {one.message_type} is published on {', '.join(others)}"


def _judge_ends(topic: TopicSnapshot, one: ExpectedInput) -> Iterator[Finding]:
    strange = [end for end in topic.publishers if end.message_type != one.message_type]
    for end in strange:
        yield wrong(
            one.topic,
            f"{end.node} publishes {end.message_type}, expected {one.what} as {one.message_type}: "
            f"let it publish that, or name another topic ({one.remedy})",
        )
    unreliable = [end for end in topic.publishers if not end.reliable and end not in strange]
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


def _judge_messages(
    seconds: float, topic: TopicSnapshot, expected: Expectation, one: ExpectedInput
) -> Iterator[Finding]:
    messages = topic.messages or Messages()
    if not messages.received and not messages.fault:
        yield _silent(seconds, topic, one)
        return
    if messages.fault:
        yield wrong(one.topic, messages.fault)
        return
    yield from _judge_shape(messages, one)
    if one.is_of_decisions:
        yield from _judge_stamps(messages, expected, one)
        yield from _judge_period(messages.period, expected, one)
    elif expected.observation_rate is not None and one.what == "images":
        yield from _judge_period(_observed_period(messages, expected), expected, one)
    # Decisions pause between rollouts, and no stamps tell that apart from a loss.
    if one.is_steady and messages.lost > LOST_SHARE:
        yield look(
            one.topic,
            f"{messages.lost:.0%} of the messages that the stamps tell of do not arrive here: "
            "look at what the monitor says on /diagnostics, which names remedies",
        )


def _silent(seconds: float, topic: TopicSnapshot, one: ExpectedInput) -> Finding:
    said = f"{node_names(topic.publishers)} published no {one.what} in {seconds:g} s"
    if one.is_steady and one.is_needed:
        return wrong(
            one.topic,
            f"{said}: it hangs, died a moment ago or cannot be reached; look at its output",
        )
    return look(
        one.topic,
        f"{said}, so that nothing is known of type, size and rate: run the policy meanwhile, or "
        "listen longer (--seconds)",
    )


def _judge_shape(messages: Messages, one: ExpectedInput) -> Iterator[Finding]:
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


def _judge_stamps(
    messages: Messages, expected: Expectation, one: ExpectedInput
) -> Iterator[Finding]:
    lag = messages.lag
    if lag is None:
        yield wrong(
            one.topic, "the headers have no stamp: publish with the stamp of the observation"
        )
    elif -lag > expected.max_lead:
        yield wrong(
            one.topic,
            f"the stamps are {-lag:.3g} s ahead of this machine's clock, and {expected.max_lead:g} "
            "s are allowed: synchronise the clocks, set use_sim_time alike everywhere, or raise "
            "the monitor's 'max_stamp_lead'",
        )
    elif lag > STALE_STAMP:
        yield wrong(
            one.topic,
            f"the stamps are {lag:.3g} s behind this machine's clock, as if of another one: use "
            "the stamp of the observation, synchronise the clocks, and set use_sim_time alike "
            "everywhere",
        )
    elif lag > expected.max_age:
        yield look(
            one.topic,
            f"the stamps are {lag:.3g} s old when they come, and the last verdict is good for "
            f"{expected.max_age:g} s: the policy is slow, or the clocks are not synchronised",
        )


def _judge_period(
    period: float | None, expected: Expectation, one: ExpectedInput
) -> Iterator[Finding]:
    if expected.period is None:
        return
    usual = f"the bundle's rollouts decided every {expected.period:.3g} s"
    if period is None:
        yield look(
            one.topic,
            f"too few came to tell how often the policy decides; {usual}: listen longer "
            "(--seconds)",
        )
        return
    factor = max(period / expected.period, expected.period / period)
    if factor > USUAL_FACTOR:
        judged = wrong if factor > TOLERABLE_FACTOR else look
        yield judged(
            one.topic,
            f"a decision every {period:.3g} s, {usual}: the promise holds at that rate alone; "
            "let the policy decide as often as then, or calibrate again",
        )


def _observed_period(messages: Messages, expected: Expectation) -> float | None:
    """Seconds between decisions that the monitor makes of images."""
    if messages.period is None or not expected.observation_rate:
        return messages.period
    return max(messages.period, 1 / expected.observation_rate)


def _described(topic: TopicSnapshot, messages: Messages, one: ExpectedInput) -> str:
    words = [f"{one.what} of {node_names(topic.publishers)}"]
    if messages.shape:
        words.append(f"shape {_shape(messages.shape)}")
    if messages.names:
        words.append(" ".join(messages.names))
    if messages.rate:
        words.append(f"{messages.rate:.3g}/s")
    if messages.lag is not None:
        words.append(f"stamps {messages.lag:.2f} s old")
    return ", ".join(words)


def _shape(shape: Sequence[int]) -> str:
    return str(tuple(shape))
