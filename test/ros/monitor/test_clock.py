# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A simulated clock that runs, stands still, goes back; ages are measured by another one."""

import time

import pytest
from builtin_interfaces.msg import Time
from rosgraph_msgs.msg import Clock
from std_msgs.msg import Header
from testbed.ros_graph import Observer, node_process, observing

from failure_monitor.ros.common.messages import action_chunks_message, embedding_message

pytestmark = pytest.mark.ros

MONITOR = "failure_monitor.ros.monitor.node"
PERIOD = 0.1


class Simulation(Observer):
    """A simulator with a policy: its clock, and decisions stamped by it."""

    def __init__(self, policy, decision) -> None:
        super().__init__(policy.action_names)
        self._names = policy.action_names
        self._decision = decision
        self._clock = self.node.create_publisher(Clock, "/clock", 10)
        self.node.create_timer(PERIOD, self._step)
        self.seconds = 1000.0
        self.runs = True
        self.decides = True
        self.lead = 0.0

    def _step(self) -> None:
        if self.runs:
            self.seconds += PERIOD
        self._clock.publish(Clock(clock=stamp(self.seconds)))
        if self.decides:
            self.decide_at(self.seconds + self.lead)

    def decide_at(self, seconds: float) -> None:
        header = Header(stamp=stamp(seconds))
        self.embeddings.publish(embedding_message(self._decision.embedding, header))
        self.chunks.publish(action_chunks_message(self._decision.chunks, self._names, header))

    def clock_jumps(self) -> int:
        values = [
            int(value.value)
            for array in self.received["/diagnostics"]
            for status in array.status
            for value in status.values
            if value.key == "clock_jumps"
        ]
        return values[-1] if values else 0

    def recover(self) -> None:
        self.wait_for(lambda: "cause is gone" in self.reason(), "the cause to be gone")
        assert self.trigger("/failure_monitor/reset").success
        self.wait_for_state("NOMINAL")


def stamp(seconds: float) -> Time:
    nanoseconds = round(1e9 * seconds)
    return Time(sec=nanoseconds // 10**9, nanosec=nanoseconds % 10**9)


@pytest.fixture
def simulation(policy, rollouts):
    with observing(Simulation, policy, next(rollouts[0].decisions())) as simulation:
        simulation.listen_to_monitor()
        yield simulation


def test_a_simulated_clock(simulation, bundle_folder):
    parameters = {"use_sim_time": True, "max_joint_state_age": 0.0, "max_decision_age": 1.0}
    with node_process(
        MONITOR, rollout_boundaries="none", bundle=bundle_folder, **parameters
    ) as process:
        simulation.wait_for_monitor_alarm()
        simulation.wait_for_state("NOMINAL")

        # The clock jumps ahead while a decision is on its way.
        alarms = simulation.received["/failure_monitor/alarm"]
        before, last = len(alarms), simulation.seconds
        simulation.decides = False
        simulation.seconds += 1000.0
        simulation.spin(1.5 * PERIOD)
        simulation.decide_at(last + PERIOD / 2)
        simulation.decides = True
        simulation.spin(0.5)
        assert not any("plan that is executed" in alarm.message for alarm in alarms[before:])
        assert simulation.permitted()

        # The simulator is reset: time begins anew.
        simulation.seconds = 1.0
        simulation.wait_for_stop("ALARM")
        assert "the stamps went back by" in simulation.reason()
        simulation.wait_for(simulation.clock_jumps, "the jump in the diagnostics")
        simulation.recover()

        # The policy stamps by another clock than the simulator's.
        simulation.lead = 60.0
        simulation.wait_for_stop("ALARM")
        assert "the stamp is 60 s ahead of this machine's clock" in simulation.reason()
        simulation.lead = 0.0
        simulation.recover()

        # The simulation stands still: no decision is new, and ages run on all the same.
        simulation.runs = False
        begin = time.monotonic()
        simulation.wait_for_stop("STALE")
        assert time.monotonic() - begin < 10.0
        assert "it has the stamp of the decision before" in simulation.reason()
        heartbeats = len(simulation.received["/failure_monitor/permit"])
        simulation.wait_for(
            lambda: len(simulation.received["/failure_monitor/permit"]) > heartbeats + 3,
            "heartbeats",
        )
        simulation.runs = True
        simulation.recover()

        # The policy stops, and the clock with it.
        simulation.runs = simulation.decides = False
        simulation.wait_for_stop("STALE")
        assert process.is_running


def test_stamps_may_be_asked_to_be_young(simulation, bundle_folder):
    parameters = {"use_sim_time": True, "max_joint_state_age": 0.0, "max_stamp_age": 0.7}
    with node_process(MONITOR, rollout_boundaries="none", bundle=bundle_folder, **parameters):
        simulation.wait_for_monitor_alarm()
        simulation.wait_for_state("NOMINAL")
        simulation.lead = -0.9
        simulation.wait_for_stop("ALARM")
        assert "s old: the observation is late" in simulation.reason()
