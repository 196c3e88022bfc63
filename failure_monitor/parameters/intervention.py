# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The parameters by which monitor and gate learn that a human intervenes."""

from __future__ import annotations

import re
from dataclasses import dataclass

from failure_monitor.errors import UsageError
from failure_monitor.parameters.parameter import parameter
from failure_monitor.parameters.topics import INTERVENTION_TOPIC

BOOL_TYPE = "std_msgs/msg/Bool"
"""The type of a topic that states whether a human intervenes."""

DEVICE_TYPES = (
    "sensor_msgs/msg/Joy",
    "geometry_msgs/msg/Twist",
    "geometry_msgs/msg/TwistStamped",
)
"""Types whose messages also come from a device that nobody moves."""

TYPE_NAME = re.compile(r"[a-zA-Z]\w*/msg/[A-Z]\w*")


@dataclass(frozen=True)
class InterventionParameters:
    """Which topic says that a human intervenes, and how."""

    topic: str = parameter(
        INTERVENTION_TOPIC,
        "Topic that says whether a human intervenes (docs/interventions.md). Give monitor and "
        "gate the same. Empty for none.",
        is_topic=True,
        is_optional=True,
        heading="A human who takes over from the policy (docs/interventions.md).",
    )
    type: str = parameter(
        BOOL_TYPE,
        "Message type of intervention_topic. Bool: true while a human intervenes, best published "
        "latched. Joy, Twist or TwistStamped: a button that is pressed, or a number beyond "
        "intervention_dead_band. Any other type: a message.",
    )
    dead_band: float = parameter(
        0.05,
        "For Joy and Twist: what a number exceeds when a human moves the device. Below 0 every "
        "message counts, for a node that publishes only while it is used.",
        bounds=(-1.0, 1000.0),
    )
    timeout: float = parameter(
        0.5,
        "For all types but Bool: seconds after the last activity for which the human still "
        "intervenes.",
        bounds=(0.05, 60.0),
    )

    @property
    def idle(self) -> dict[str, str]:
        """Why parameters have no effect beside the others, by their full names."""
        unread = "" if self.topic else "'intervention_topic' is empty"
        timeless = unread or ("it is for all types but Bool" if self.type == BOOL_TYPE else "")
        is_numeric = self.type in DEVICE_TYPES
        reasons = {
            "intervention_type": unread,
            "intervention_timeout": timeless,
            "intervention_dead_band": timeless
            or ("" if is_numeric else "it is for Joy and Twist"),
        }
        return {name: reason for name, reason in reasons.items() if reason}

    def check(self) -> None:
        """Reject what is no name of a message type.

        Raises:
            UsageError: names the parameter.
        """
        if not TYPE_NAME.fullmatch(self.type):
            raise UsageError(
                f"the parameter 'intervention_type' is '{self.type}', which is no message type: "
                "write it as std_msgs/msg/Bool"
            )
