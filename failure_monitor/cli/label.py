# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""`failure-monitor label`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from failure_monitor.cli.app import output
from failure_monitor.cli.declaration import Argument, Option

OUTCOMES = {"success": True, "failure": False}


def label(
    bag: Annotated[Path, Argument(metavar="BAG", help="a rosbag2 folder of one rollout")],
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
    """Label a recorded rollout with its outcome: a false alarm can then calibrate.

    It is the operator's word, and stands beside what was claimed.
    """
    from failure_monitor.incidents.outcome import write_outcome

    labelled = write_outcome(
        bag,
        OUTCOMES[outcome],
        label_topic=label_topic,
        success_topic=success_topic,
        active_topic=active_topic,
    )
    what = "is now" if labelled.is_corrected else "is"
    text = f"{bag} {what} a {outcome}"
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
