# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Which parameters each node has, for the files that are written from them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from failure_monitor.parameters.displays import (
    MARKERS,
    OVERLAY,
    DisplaysParameters,
    MarkerParameters,
    OverlayParameters,
)
from failure_monitor.parameters.gate import GateParameters
from failure_monitor.parameters.incident_recorder import IncidentParameters
from failure_monitor.parameters.judge import JudgeParameters
from failure_monitor.parameters.metrics import MetricsParameters
from failure_monitor.parameters.monitor import MonitorParameters
from failure_monitor.parameters.parameter import (
    Specification,
    build,
    documented,
    items,
)
from failure_monitor.parameters.record import RecordParameters
from failure_monitor.parameters.response import ResponseParameters
from failure_monitor.parameters.stop_menu import StopMenuParameters

Item = tuple[str, Specification, Any]
"""Full name of a parameter, what is known of it, and its default."""


@dataclass(frozen=True)
class NodeParameters:
    """The parameters of one node.

    Attributes:
        title: what the node is called on pages.
        executable: its name for `ros2 run`.
        introduction: what the node does and which page describes it, in one or two sentences.
        parts: dataclasses of parameters, with the prefix of their names.
        file: name of the parameter file in config/; may be empty.
    """

    title: str
    executable: str
    introduction: str
    parts: tuple[tuple[type, str], ...]
    file: str = ""

    def defaults(self) -> Iterator[Item]:
        """Yield every parameter of a node that is given none."""
        for kind, prefix in self.parts:
            values: Any = build(kind, lambda _, about: about.default, prefix=prefix)
            yield from items(values, prefix=prefix)

    def reference(self) -> Iterator[Item]:
        """Yield every parameter, with <name> in the names of repeated ones."""
        for kind, prefix in self.parts:
            for name, about in documented(kind, prefix=prefix):
                yield name, about, about.default


NODES = (
    NodeParameters(
        "Monitor",
        "failure_monitor_node",
        "The monitor scores the decisions of a policy and permits commands "
        "(docs/monitor_node.md).",
        (
            (MonitorParameters, ""),
            (ResponseParameters, ""),
            (StopMenuParameters, ""),
        ),
        "monitor.yaml",
    ),
    NodeParameters(
        "Displays",
        "failure_monitor_displays_node",
        "The displays node draws what a monitor publishes, for RViz and other viewers "
        "(docs/visualization.md). It also reads parameters of these names that a file gives to "
        "the monitor.",
        (
            (DisplaysParameters, ""),
            (MarkerParameters, MARKERS),
            (OverlayParameters, OVERLAY),
        ),
        "displays.yaml",
    ),
    NodeParameters(
        "Gate",
        "failure_monitor_gate_node",
        "The gate passes commands while the monitor permits it. docs/gate.md explains "
        "what to choose for which robot.",
        ((GateParameters, ""),),
        "gate.yaml",
    ),
    NodeParameters(
        "Incident recorder",
        "failure_monitor_incident_recorder_node",
        "The incident recorder records what comes before and after alarms. docs/visualization.md "
        "describes what an incident holds, and what to do with one.",
        ((IncidentParameters, ""),),
        "incident_recorder.yaml",
    ),
    NodeParameters(
        "Judge",
        "failure_monitor_judge_node",
        "The judge node asks a model by HTTP how rollouts ended (docs/judges.md).",
        ((JudgeParameters, ""),),
        "judge.yaml",
    ),
    NodeParameters(
        "Metrics",
        "failure_monitor_metrics_node",
        "The metrics node gives what monitors publish to Prometheus (docs/fleet.md).",
        ((MetricsParameters, ""),),
        "metrics.yaml",
    ),
    NodeParameters(
        "Recorder",
        "failure_monitor_record_node",
        "The recorder records one bag per rollout (docs/bags.md).",
        ((RecordParameters, ""),),
    ),
)


@dataclass(frozen=True)
class Section:
    """Parameters that follow each other under one heading, which may be empty."""

    heading: str
    items: list[Item]


def sections(parameters: Iterable[Item]) -> list[Section]:
    """Return parameters under their headings, in order."""
    found: list[Section] = []
    for item in parameters:
        heading = item[1].heading
        if heading or not found:
            found.append(Section(heading, []))
        found[-1].items.append(item)
    return found
