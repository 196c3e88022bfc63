# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The whole inspection of a graph: monitors, their inputs, and the path of commands."""

from __future__ import annotations

from collections.abc import Iterator

from failure_monitor.bundle.bundle import Bundle
from failure_monitor.graph_check.command_path import inspect_command_path
from failure_monitor.graph_check.expectation import (
    TopicNames,
    expect_by_names,
    expect_of_monitor,
)
from failure_monitor.graph_check.finding import Finding, wrong
from failure_monitor.graph_check.goals import inspect_goals
from failure_monitor.graph_check.inputs import inspect_inputs
from failure_monitor.graph_check.monitors import inspect_monitors
from failure_monitor.graph_check.response import inspect_response
from failure_monitor.graph_check.snapshot import GraphSnapshot
from failure_monitor.graph_check.stated_policy import format_topic, inspect_stated_policy


def inspect_graph(
    seen: GraphSnapshot,
    names: TopicNames,
    *,
    bundle: Bundle | None = None,
    sha256: str | None = None,
) -> list[Finding]:
    """Return every finding once, in the order of the data flow.

    Without a bundle and an active monitor it is unknown what the policy should publish, so there
    are no findings about it. The parameters of a monitor that is not active yet name the topics
    that it will subscribe to.

    Args:
        seen: the graph.
        names: the topics to expect where no monitor is active.
        bundle: the bundle that the monitor runs, or is to run.
        sha256: the hash of that bundle.
    """
    found = [
        *_inspect_needs(seen, names, bundle),
        *inspect_monitors(seen, sha256),
        *inspect_response(seen),
        *inspect_command_path(seen),
        *inspect_goals(seen),
        *_inspect_mismatches(seen),
    ]
    return list(dict.fromkeys(found))


def _inspect_needs(
    seen: GraphSnapshot, names: TopicNames, bundle: Bundle | None
) -> Iterator[Finding]:
    for monitor in seen.monitors:
        if monitor.inputs:
            yield from inspect_inputs(seen, expect_of_monitor(monitor, bundle))
        elif bundle is not None:
            own_names = names.named_by(monitor)
            watched = monitor.parameter("max_joint_state_age") > 0
            expected = expect_by_names(own_names, bundle, watches_joints=watched)
            yield from inspect_inputs(seen, expected)
        yield from inspect_stated_policy(seen, format_topic(monitor, names), bundle)
    if not seen.monitors and bundle is not None:
        yield from inspect_inputs(seen, expect_by_names(names, bundle))
        yield from inspect_stated_policy(seen, names.format, bundle)


def _inspect_mismatches(seen: GraphSnapshot) -> Iterator[Finding]:
    for name, topic in seen.topics.items():
        for pair in topic.mismatches:
            yield wrong(
                name,
                f"{pair.subscriber} receives nothing from {pair.publisher}: their qualities of "
                f"service are incompatible ({pair.reason}); change one of them",
            )
