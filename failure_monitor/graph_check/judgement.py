# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""All that there is to say of a graph: monitors, what they need, and the way of commands."""

from __future__ import annotations

from collections.abc import Iterator

from failure_monitor.bundle.bundle import Bundle
from failure_monitor.graph_check.command_path import judge_command_path
from failure_monitor.graph_check.expectation import (
    TopicNames,
    expect_by_names,
    expect_of_monitor,
)
from failure_monitor.graph_check.finding import Finding, wrong
from failure_monitor.graph_check.inputs import judge_inputs
from failure_monitor.graph_check.monitors import judge_monitors
from failure_monitor.graph_check.snapshot import GraphSnapshot


def judge(
    seen: GraphSnapshot,
    names: TopicNames,
    *,
    bundle: Bundle | None = None,
    sha256: str | None = None,
) -> list[Finding]:
    """Every finding once, in the order of the flow.

    Without a bundle and without an active monitor nothing is known of what the policy should
    publish, and nothing is said of it. A monitor that is not active yet tells at least by its
    parameters where it will listen.

    Args:
        seen: the graph.
        names: where to look for what no monitor listens to.
        bundle: that the monitor runs, or is to run.
        sha256: its hash.
    """
    found = [
        *_judge_needs(seen, names, bundle),
        *judge_monitors(seen, sha256),
        *judge_command_path(seen),
        *_judge_mismatches(seen),
    ]
    return list(dict.fromkeys(found))


def _judge_needs(
    seen: GraphSnapshot, names: TopicNames, bundle: Bundle | None
) -> Iterator[Finding]:
    for monitor in seen.monitors:
        if monitor.inputs:
            yield from judge_inputs(seen, expect_of_monitor(monitor, bundle))
        elif bundle is not None:
            told = names.told_by(monitor)
            yield from judge_inputs(seen, expect_by_names(told, bundle))
    if not seen.monitors and bundle is not None:
        yield from judge_inputs(seen, expect_by_names(names, bundle))


def _judge_mismatches(seen: GraphSnapshot) -> Iterator[Finding]:
    for name, topic in seen.topics.items():
        for pair in topic.mismatches:
            yield wrong(
                name,
                f"{pair.subscriber} hears nothing of {pair.publisher}, their qualities of service "
                f"do not go together ({pair.reason}): change one of them",
            )
