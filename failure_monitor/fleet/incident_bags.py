# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Reads what the bags of incidents state about themselves."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from failure_monitor.incidents.folder import OUTCOME_STEM, incident_time
from failure_monitor.sources.bag_metadata import MetadataError, read_custom_data


@dataclass(frozen=True)
class IncidentBag:
    """The bag of an incident.

    Attributes:
        path: its folder.
        time: when it began, in seconds since 1970; 0 if unknown.
        cause: the state of the alarm; empty if unknown.
        reason: the reason for the alarm.
        is_labelled: whether an operator's word was added.
        problem: why it cannot be read; empty if it can.
    """

    path: Path
    time: float = 0.0
    cause: str = ""
    reason: str = ""
    is_labelled: bool = False
    problem: str = ""


def read_incident(path: Path) -> IncidentBag:
    """Return what a bag states; where it is incomplete or damaged, the problem."""
    time = incident_time(path.name) or 0.0
    try:
        stated = read_custom_data(path)
        is_labelled = any(path.glob(f"{OUTCOME_STEM}.*"))
    except (MetadataError, OSError) as error:
        return IncidentBag(path, time, problem=str(error))
    return IncidentBag(
        path,
        time,
        stated.get("incident.cause", ""),
        stated.get("incident.reason", ""),
        is_labelled,
    )
