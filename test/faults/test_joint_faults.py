# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Joint states that say nothing, or contradict each other, while the robot moves."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from rclpy.clock import Clock, ClockType
from sensor_msgs.msg import JointState
from std_msgs.msg import Header
from testbed.faults.cell import Cell, open_cell
from testbed.faults.trial import WITHDRAWN, WITHHELD, Fault

pytestmark = [pytest.mark.ros, pytest.mark.law(10)]

MAX_AGE, PERIOD = 0.3, 0.02
LATE = MAX_AGE + WITHDRAWN


class Robot:
    """Publishes joint states 50 times a second, sound ones until a test says otherwise."""

    def __init__(self, cell: Cell) -> None:
        self._node = cell.node
        self._publishers = [cell.node.create_publisher(JointState, "joint_states", 10)]
        self.fault = "none"
        self._frozen = self._stamp()
        self._timer = cell.node.create_timer(
            PERIOD, self._publish, clock=Clock(clock_type=ClockType.STEADY_TIME)
        )

    def _stamp(self):
        return self._node.get_clock().now().to_msg()

    def _publish(self) -> None:
        sound = JointState(
            header=Header(stamp=self._stamp()), name=["elbow", "wrist"], position=[0.1, 0.2]
        )
        message = {
            "empty": JointState(header=sound.header),
            "no positions": JointState(header=sound.header, name=sound.name),
            "one driver": JointState(header=sound.header, name=["wrist"], position=[0.2]),
            "frozen": JointState(
                header=Header(stamp=self._frozen), name=sound.name, position=[0.1, 0.2]
            ),
        }.get(self.fault, sound)
        self._publishers[0].publish(message)
        if self.fault == "two sources":
            if len(self._publishers) == 1:
                second = self._node.create_publisher(JointState, "joint_states", 10)
                self._publishers.append(second)
            zeros = JointState(header=sound.header, name=["wrist"], position=[0.0])
            self._publishers[1].publish(zeros)


@pytest.fixture(scope="module")
def cell(bundle_folder) -> Iterator[Cell]:
    with open_cell(bundle_folder, watching={"max_joint_state_age": MAX_AGE}) as made:
        made.robot = Robot(made)
        made.start_policy()
        made.start_gate()
        made.start_monitor()
        yield made


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("empty", "has stated the position of elbow, wrist for more than 0.3 s"),
        ("no positions", "has stated the position of elbow, wrist for more than 0.3 s"),
        ("one driver", "has stated the position of elbow for more than 0.3 s"),
        ("frozen", "comes with the same stamp for more than 0.3 s"),
        ("two sources", "several publishers on '/joint_states' state the position of wrist"),
    ],
)
def test_the_gate_closes_on_joint_states_that_are_not_sound(moving: Cell, table, fault, reason):
    row: Fault = table(f"joint states: {fault}", promised=LATE)

    def cause() -> None:
        moving.robot.fault = fault

    row.closes(cause, gate_reason=WITHHELD, state="STALE", monitor_reason=reason)
    moving.robot.fault = "none"
    row.recovers(by_reset=True)
