# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The picture of a takeover shows who had the robot."""

from dataclasses import replace

from testbed.demo_timelines import BEGIN, NOMINAL, at, reading, recording

from failure_monitor.demo.scripted_human import CELLS, Takeover, takeover_picture
from failure_monitor.demo.timeline import GateChange, timeline
from failure_monitor.monitoring.alarm import AlarmState


def taken_over() -> Takeover:
    """Two seconds of which a human has the robot from 0.5 to 1.0 s, and hands back at 1.2 s."""
    observed = timeline(NOMINAL, recording(duration=2.0))
    return Takeover(
        replace(
            observed,
            gate=(
                *(GateChange(BEGIN, True), GateChange(at(0.51), False)),
                GateChange(at(1.2), True),
            ),
            readings=(
                reading(at(0.0), 0.5, 0),
                reading(at(0.5), 0.5, 4, AlarmState.STALE),
                reading(at(1.2), 0.5, 0),
            ),
            passed=(at(0.2), at(0.52), at(1.3)),
        ),
        at(0.5),
        at(1.0),
    )


def test_it_shows_human_gate_and_monitor_over_one_time():
    told, human, gate, monitor, *_ = takeover_picture(taken_over())
    assert told == "A human took over after 0.5 s and let go after 1.0 s of 2.0 s"
    rows = {line.split()[0]: line[-CELLS:] for line in (human, gate, monitor)}
    quarter = CELLS // 4
    assert rows["human"] == "·" * quarter + "█" * quarter + "·" * 2 * quarter
    assert rows["gate"][:quarter] == "█" * quarter
    assert "█" not in rows["gate"][quarter + 1 : 36]
    assert rows["gate"][36:] == "█" * 24
    assert rows["monitor"] == "n" * quarter + "·" * 21 + "n" * 24


def test_a_gate_that_is_open_while_a_human_has_the_robot_is_named():
    takeover = replace(taken_over(), began=at(0.5), ended=at(1.15))
    assert not takeover.was_open_meanwhile
    assert replace(takeover, ended=at(1.3)).was_open_meanwhile
    never_closed = replace(takeover.timeline, gate=(GateChange(BEGIN, True),))
    assert replace(takeover, timeline=never_closed).was_open_meanwhile
