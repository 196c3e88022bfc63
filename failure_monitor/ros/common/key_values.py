# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Values of a diagnostic message."""

from collections.abc import Mapping

from diagnostic_msgs.msg import KeyValue


def key_values(values: Mapping[str, str]) -> list[KeyValue]:
    """Return a mapping as diagnostic values."""
    return [KeyValue(key=key, value=value) for key, value in values.items()]
