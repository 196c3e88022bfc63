# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Which state of the alarm a level on `~/alarm` stands for."""

from __future__ import annotations

from collections.abc import Mapping

from diagnostic_msgs.msg import DiagnosticStatus

from failure_monitor.monitoring.alarm import AlarmState

STATES: Mapping[bytes, AlarmState] = {
    DiagnosticStatus.OK: AlarmState.NOMINAL,
    DiagnosticStatus.WARN: AlarmState.CAUTION,
    DiagnosticStatus.ERROR: AlarmState.ALARM,
    DiagnosticStatus.STALE: AlarmState.STALE,
}
