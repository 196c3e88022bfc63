# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A policy server that pauses, answers late and then all at once; clocks that are apart."""

import time

import pytest
from testbed.ros_graph import Observer, node_process, observing

MONITOR = "failure_monitor.ros.monitor.node"
SECOND = 1_000_000_000
PERIOD = 0.1

pytestmark = [pytest.mark.ros, pytest.mark.law(7)]


class Server(Observer):
    """Answers on each observation, some time after it was made."""

    def __init__(self, policy, decision) -> None:
        super().__init__(policy.action_names)
        self._decision = decision
        self._delay = 0.05
        self.slowest = 0.0
        """Seconds that it takes in the end: each answer takes a little longer than the last."""
        self.offset = 0.0
        """Seconds by which the clock that stamps observations is behind."""
        self.is_paused = False
        self._waiting: list[tuple[float, int]] = []
        self.node.create_timer(PERIOD, self._observe)
        self.node.create_timer(0.01, self._answer)

    def _observe(self) -> None:
        stamp = time.time_ns() - round(self.offset * SECOND)
        self._waiting.append((time.monotonic(), stamp))

    def _answer(self) -> None:
        while not self.is_paused and self._waiting:
            observed, stamp = self._waiting[0]
            if time.monotonic() - observed < self._delay:
                return
            self._waiting.pop(0)
            self._delay = min(self._delay + 0.05, max(self.slowest, 0.05))
            self.publish_embedding(self._decision, stamp)
            self.publish_chunks(self._decision, stamp)

    @property
    def plan_age(self) -> float:
        return float(self.alarm_values().get("plan_age", "nan"))

    def recover(self) -> None:
        self.slowest, self._delay = 0.0, 0.05
        self._waiting.clear()
        self.wait_for(lambda: "the cause is gone" in self.reason(), "the cause to be gone")
        assert self.trigger("/failure_monitor/reset").success
        self.wait_for(self.permitted, "the permit")


@pytest.fixture
def server(policy, rollouts):
    with observing(Server, policy, next(rollouts[0].decisions())) as server:
        server.listen_to_monitor()
        yield server


def test_a_plan_that_is_too_old_is_not_executed(bundle_folder, server):
    with node_process(
        MONITOR, rollout_boundaries="none", bundle=bundle_folder, max_joint_state_age=0.0
    ) as process:
        server.wait_for(server.permitted, "the permit")
        server.wait_for(lambda: 0.05 < server.plan_age < 0.5, "the age of a plan")
        assert server.alarm_values()["max_plan_age"] == "1.5"

        # Answers come as often as ever, on observations from long ago.
        server.slowest = 3.0
        server.wait_for(lambda: "the plan that is executed is" in server.reason(), "its age")
        server.wait_for_stop("STALE")
        assert "at most 1.5 s are allowed (max_plan_age)" in server.reason()
        assert server.state() == "STALE"
        server.wait_for(lambda: server.plan_age > 2.5, "an age well above the bound")
        answer = server.trigger("/failure_monitor/reset")
        assert not answer.success
        assert "the plan that is executed is" in answer.message
        server.recover()

        # A pause, and a burst of answers after it.
        server.is_paused = True
        server.wait_for(lambda: "than 1 s" in server.reason(), "that nothing comes")
        server.is_paused = False
        server.wait_for(lambda: server.plan_age < 0.5, "the newest answer of the burst")
        assert not server.permitted()
        server.recover()

        # The clock of the observations is set back by an hour less than it stands for.
        server.offset = 3600.0
        server.wait_for(lambda: not server.permitted(), "no permit")
        server.wait_for(
            lambda: "synchronise the clocks" in server.alarm_values().get("now", ""),
            "what to do about clocks",
        )
        assert server.plan_age > 3599
        assert process.is_running


def test_the_age_is_bounded_by_a_parameter(bundle_folder, server):
    server.offset = 3600.0
    parameters = {"max_joint_state_age": 0.0, "max_plan_age": 0.0}
    with node_process(MONITOR, rollout_boundaries="none", bundle=bundle_folder, **parameters):
        server.wait_for(server.permitted, "the permit")
        server.wait_for(lambda: server.plan_age > 3599, "the age of a plan")
