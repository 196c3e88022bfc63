# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What the monitor tells on /diagnostics: once a second, and at once when its state changes."""

import dataclasses

import pytest
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticStatus
from sensor_msgs.msg import JointState
from std_msgs.msg import Header
from testbed.ros_graph import Observer, node_process, observing

from failure_monitor.bundle.folder import content_hash

JOINTS = "input joint_states"
"""Name of their status."""

pytestmark = pytest.mark.ros

MONITOR = "failure_monitor.ros.monitor.node"
RATE = 100


class Robot(Observer):
    """Publishes joint states of which it loses two of three, and hears diagnostics."""

    def __init__(self, policy) -> None:
        super().__init__(policy.action_names)
        self._joints = self.node.create_publisher(JointState, "joint_states", 10)
        self.node.create_timer(1 / RATE, self._step)
        self.loses = False
        self._step_number = 0

    def _step(self) -> None:
        self._step_number += 1
        # Two in a row of six, as when bursts are lost.
        if self.loses and self._step_number % 6 > 1:
            return
        nanoseconds = self._step_number * 10**9 // RATE
        time = Time(sec=1 + nanoseconds // 10**9, nanosec=nanoseconds % 10**9)
        self._joints.publish(JointState(header=Header(stamp=time), name=["elbow"], position=[0.0]))

    def status(self, name: str) -> tuple[DiagnosticStatus, dict[str, str]]:
        """The newest of that name, and its values."""
        named = [
            status
            for array in self.received["/diagnostics"]
            for status in array.status
            if status.name == f"failure_monitor: {name}"
        ]
        if not named:
            return DiagnosticStatus(), {}
        return named[-1], {value.key: value.value for value in named[-1].values}

    def message(self, name: str) -> str:
        return self.status(name)[0].message


@pytest.fixture
def robot(policy):
    with observing(Robot, policy) as robot:
        robot.listen_to_monitor()
        yield robot


def test_diagnostics_tell_rates_losses_and_what_is_scored(robot, bundle_folder, rollouts, bundle):
    decision = next(rollouts[0].decisions())
    parameters = {"hardware_id": "arm 1", "max_decision_age": 30.0}
    with node_process(MONITOR, rollout_boundaries="none", bundle=bundle_folder, **parameters):
        robot.wait_for_monitor_alarm()
        robot.decide(decision)
        robot.wait_for(robot.permitted, "the permit")

        # Nothing is lost.
        robot.wait_for(
            lambda: float(robot.status(JOINTS)[1].get("stamped_rate", 0)) > 0,
            "a rate",
        )
        status, values = robot.status(JOINTS)
        assert (status.level, status.hardware_id) == (DiagnosticStatus.OK, "arm 1")
        assert float(values["stamped_rate"]) == pytest.approx(RATE, rel=0.02)
        assert (values["publishers"], values["refused"]) == ("1", "0")
        assert values["named"] == "joint_states"

        # Much is lost.
        robot.loses = True
        robot.wait_for(lambda: "FASTDDS_BUILTIN_TRANSPORTS" in robot.message(JOINTS), "it")
        status, values = robot.status(JOINTS)
        assert status.level == DiagnosticStatus.WARN
        assert "of the messages, by their stamps, do not arrive" in status.message
        assert float(values["received_rate"]) < 0.8 * float(values["stamped_rate"])
        assert robot.permitted(), "what is lost is told, and harms only if all is lost"

        # What is scored.
        _, values = robot.status("scoring")
        assert values["bundle_sha256"] == content_hash(bundle_folder)
        assert (values["alpha"], values["rule"]) == (f"{bundle.alpha:g}", bundle.rule)
        assert values["calibration_rollouts"] == "12"
        assert values["judged_decisions"] == "1"
        assert 0 < float(values["scoring_ms_median"]) <= float(values["scoring_ms_max"])

        # A change of state does not wait for the next second.
        heard = len(robot.received["/diagnostics"])
        robot.decide(dataclasses.replace(decision, embedding=decision.embedding + 5))
        robot.wait_for_stop("ALARM")
        robot.wait_for(
            lambda: any(
                status.level == DiagnosticStatus.ERROR and status.name.endswith(": alarm")
                for array in robot.received["/diagnostics"][heard:]
                for status in array.status
            ),
            "the alarm in the diagnostics",
            timeout=0.7,
        )


def test_a_burst_of_decisions_leaves_each_its_number(robot, bundle_folder, rollouts):
    burst = list(rollouts[0].decisions())[:8]
    with node_process(
        MONITOR, rollout_boundaries="none", bundle=bundle_folder, max_decision_age=30.0
    ):
        robot.wait_for_monitor_alarm()
        for decision in burst:
            robot.decide(decision)
        robot.wait_for(lambda: robot.alarm_values().get("decision") == "7", "the last decision")
        robot.spin(1.2)
        _, values = robot.status("scoring")
        assert int(values["judged_decisions"]) + int(values["skipped_decisions"]) == 8
