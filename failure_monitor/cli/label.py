# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""`failure-monitor label`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from failure_monitor.cli.app import output
from failure_monitor.cli.declaration import Argument, Option

if TYPE_CHECKING:
    from failure_monitor.incidents.outcome import LabelledBag

OUTCOMES = {"success": True, "failure": False}


def label(
    bags: Annotated[
        list[Path], Argument(metavar="BAG...", help="rosbag2 folders of one rollout each")
    ],
    outcome: Annotated[
        str, Option(help="how it ended: success or failure", choices=tuple(OUTCOMES))
    ],
    label_topic: Annotated[
        str, Option(help="the topic that gets the operator's word (Bool)", is_optional=False)
    ] = "/rollout/label",
    success_topic: Annotated[
        str, Option(help="the topic of what was claimed at the end (Bool)", is_optional=False)
    ] = "/rollout/success",
    active_topic: Annotated[
        str, Option(help="the topic that is true while a rollout runs (Bool)")
    ] = "/rollout/active",
) -> None:
    """Label recorded rollouts with their outcome: a false alarm can then calibrate.

    It is the operator's word, and stands beside what was claimed. No bag is labelled unless all
    can be.
    """
    from failure_monitor.incidents.outcome import LabelTopics, write_outcomes

    topics = LabelTopics(label_topic, success_topic, active_topic)
    for labelled in write_outcomes(bags, OUTCOMES[outcome], topics):
        _print(labelled, outcome)


def _print(labelled: LabelledBag, outcome: str) -> None:
    what = "is now" if labelled.is_corrected else "is"
    text = f"{labelled.path} {what} a {outcome}"
    if labelled.claim not in (None, OUTCOMES[outcome]):
        text += f", which was claimed to be a {'success' if labelled.claim else 'failure'}"
    if "incident.reason" in labelled.custom_data:
        cause, reason = (
            labelled.custom_data.get(f"incident.{key}", "") for key in ("cause", "reason")
        )
        text += f"; it was recorded for {cause}: {reason}"
    output.print(text, soft_wrap=True, markup=False, highlight=False)
    if labelled.custom_data.get("incident.begins_with_rollout") == "false":
        output.print(
            "it begins later than its rollout did: evaluate it, but calibrate on whole rollouts "
            "only (the recorder's 'seconds_before' and 'memory_megabytes' decide)",
            soft_wrap=True,
            markup=False,
        )
