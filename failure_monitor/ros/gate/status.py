# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The state of the gate, as diagnostic messages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from diagnostic_msgs.msg import DiagnosticStatus

from failure_monitor.ros.common.key_values import key_values


@dataclass(frozen=True)
class GateStatus:
    """The gate at one moment.

    Attributes:
        is_open: whether commands may pass.
        reason: why it is open or closed.
        scale: factor for the speed of scaled commands; 0 if no command may pass.
        is_silent: whether a permit has stopped coming, or has not come yet.
        inform_only: whether commands pass in any case.
    """

    is_open: bool
    reason: str
    scale: float
    is_silent: bool
    inform_only: bool

    @property
    def passes(self) -> bool:
        """Whether commands pass, permitted or not."""
        return self.is_open or self.inform_only

    @property
    def text(self) -> str:
        """What the gate does, and why."""
        does = "open" if self.is_open else "closed"
        if self.is_open and self.scale < 1.0:
            does = "open, but slowed"
        if self.inform_only:
            does = f"informs only, would be {does}"
        return f"{does}: {self.reason}"


def status_message(
    status: GateStatus,
    faults: list[str],
    values: Mapping[str, object],
    *,
    name: str,
    hardware_id: str,
) -> DiagnosticStatus:
    """Make the message about the state of the gate.

    The level is ERROR if there is something to mend, STALE if a permit is missing, WARN if
    commands are withheld or slowed (or would be), else OK.
    """
    if faults:
        level = DiagnosticStatus.ERROR
    elif status.is_open:
        level = DiagnosticStatus.OK if status.scale == 1.0 else DiagnosticStatus.WARN
    else:
        level = DiagnosticStatus.STALE if status.is_silent else DiagnosticStatus.WARN
    entries = {
        "state": "open" if status.passes else "closed",
        "inform_only": _text(status.inform_only),
        "speed_scale": f"{status.scale:.3f}",
        **{key: _text(value) for key, value in values.items()},
    }
    return DiagnosticStatus(
        level=level,
        name=f"{name}: state",
        message="; ".join([status.text, *(fault for fault in faults if fault not in status.text)]),
        hardware_id=hardware_id,
        values=key_values(entries),
    )


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
