# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The alarm message says what is known, and what is not."""

import math

import pytest

pytest.importorskip("diagnostic_msgs")

from failure_monitor.decision import ScoreVerdict, Verdict
from failure_monitor.monitoring.alarm import Alarm
from failure_monitor.ros.monitor.diagnostics import alarm_message


def test_a_score_that_is_undefined_is_called_so_and_has_no_ratio():
    scores = (
        ScoreVerdict("knn", value=1.0, windowed=1.0, threshold=2.0),
        ScoreVerdict("stac", value=math.nan, windowed=math.nan, threshold=0.5),
    )
    verdict = Verdict(index=0, stamp=0.0, scores=scores, rule="any", level=0.5)
    alarm = Alarm(max_decision_age=1.0)
    alarm.start_rollout()
    alarm.update(verdict, received=0.0, now=0.0)
    message = alarm_message(alarm.status(0.0), verdict, name="monitor", hardware_id="", age=0.0)
    values = {value.key: value.value for value in message.values}
    assert values["knn.ratio"] == "0.5000"
    assert values["stac"] == "undefined"
    assert "stac.ratio" not in values
    assert "stac undefined, for too little of the rollout was seen" in message.message
    assert not any("nan" in value for value in values.values())
