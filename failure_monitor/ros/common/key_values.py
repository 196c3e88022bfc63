# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The values of a diagnostic message."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from diagnostic_msgs.msg import KeyValue


def key_values(values: Mapping[str, str]) -> list[KeyValue]:
    """Return text by name as the values of a message."""
    return [KeyValue(key=key, value=value) for key, value in values.items()]


def read_key_values(values: Iterable[KeyValue]) -> dict[str, str]:
    """Return the values of a message as text by name."""
    return {value.key: value.value for value in values}
