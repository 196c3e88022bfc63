# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The parameters of the record node, which records one bag per rollout."""

from __future__ import annotations

from dataclasses import dataclass

from failure_monitor.errors import UsageError
from failure_monitor.parameters.parameter import NO_NAMES, parameter
from failure_monitor.parameters.topics import (
    INTERVENTION_TOPIC,
    LABEL_TOPIC,
    OUTCOME_TOPIC,
    POLICY_FORMAT_TOPIC,
    ROLLOUT_TOPIC,
)


@dataclass(frozen=True)
class RecordParameters:
    """All parameters of the record node."""

    topics: tuple[str, ...] = parameter(
        NO_NAMES,
        "Topics to record, of any type, besides those below; * stands for any characters, "
        '[""] for no topic.',
    )
    output: str = parameter(
        "",
        "Folder that receives the bags; it is created if it does not exist. There is no default: "
        "it must be given.",
    )
    prefix: str = parameter("rollout", "First part of the names of the bags.")
    tail: float = parameter(
        0.5,
        "Seconds for which recording continues after the end of a rollout: long enough for an "
        "operator's label, if bags are to hold it.",
        bounds=(0.0, 3600.0),
    )
    format_topic: str = parameter(
        POLICY_FORMAT_TOPIC,
        "Topic on which the policy states which one it is and what its actions mean. It is "
        "recorded in any case. Empty for none.",
        is_topic=True,
        is_optional=True,
    )
    intervention_topic: str = parameter(
        INTERVENTION_TOPIC,
        "Topic that says whether a human intervenes. It is recorded in any case, and what it said "
        "last begins a bag. Empty for none.",
        is_topic=True,
        is_optional=True,
    )
    label_topic: str = parameter(
        LABEL_TOPIC,
        "Topic of the operator's word on the rollout that ended last. It is recorded in any case. "
        "Empty for none.",
        is_topic=True,
        is_optional=True,
    )
    outcome_topic: str = parameter(
        OUTCOME_TOPIC,
        "Topic on which a monitor says how the last rollout ended. It is recorded in any case. "
        "Empty for none.",
        is_topic=True,
        is_optional=True,
    )
    boundary_topic: str = parameter(
        ROLLOUT_TOPIC,
        "Topic that states whether a rollout runs: std_msgs/Bool, true while one does, or "
        "std_msgs/String, the name of its task, empty while none does. What is repeated changes "
        "nothing; another name is another rollout.",
        is_topic=True,
    )

    def check(self) -> None:
        """Reject a recorder without a folder, and bags that cannot lie in it.

        Raises:
            UsageError: names the parameter.
        """
        if self.output in ("", "."):
            raise UsageError("the parameter 'output' is empty: name a folder")
        if "/" in self.prefix or self.prefix.startswith("."):
            raise UsageError(
                f"the parameter 'prefix' is '{self.prefix}', with which no name of a bag begins: "
                "leave out slashes, and a dot at the start"
            )
