# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""LeRobot's policy server and its robot client, with the policy watched on the server."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from testbed.lerobot_server import CHUNK, FPS, PERIOD, policy_server, robot_client

from failure_monitor.policies.observation_stamps import AGREED, AHEAD, ClientClock

HOUR = 3600.0


class TestTheClientsClock:
    def test_its_stamps_are_those_of_clocks_that_agree(self):
        clock = ClientClock()
        assert [clock.here(stamp, stamp + 0.3) for stamp in (10.0, 11.0)] == [10.0, 11.0]

    @pytest.mark.parametrize("lead", [HOUR, -HOUR, 0.3, -2 * AGREED])
    def test_else_all_are_shifted_by_the_same_time(self, lead, caplog):
        clock = ClientClock()
        stamps = [clock.here(now + lead, now + 0.02 * now) for now in (10.0, 10.5, 12.0)]
        np.testing.assert_allclose(np.diff(stamps), [0.5, 1.5], atol=1e-9)
        assert stamps[0] == pytest.approx(10.2)
        assert len(caplog.records) == 1
        assert "synchronise the clocks" in caplog.text

    def test_an_old_observation_is_never_taken_for_a_new_one(self):
        clock = ClientClock()
        clock.here(10.0, 10.0)
        assert clock.here(11.0, 40.0) == 11.0

    def test_a_clock_that_is_set_back_makes_observations_old(self):
        clock = ClientClock()
        clock.here(HOUR, HOUR)
        assert clock.here(1.0, HOUR + 1.0) == 1.0

    def test_one_that_is_set_forward_is_compared_again(self):
        clock = ClientClock()
        clock.here(10.0, 10.0)
        assert clock.here(12.0 + 0.9 * AHEAD, 12.0) == pytest.approx(12.0 + 0.9 * AHEAD)
        assert clock.here(HOUR, 13.0) == pytest.approx(13.0)


@dataclass
class Watched:
    """What the server's tap would publish: decisions with the stamps of their observations."""

    stamps: list[float] = field(default_factory=list)
    chunks: list[np.ndarray] = field(default_factory=list)
    arrived: list[float] = field(default_factory=list)
    observed: list[float] = field(default_factory=list)
    parts: list[Any] = field(default_factory=list)

    def on_policy(self, policy: Any, postprocessor: Any) -> None:
        from failure_monitor.policies.observation_stamps import ObservationStamps
        from failure_monitor.policies.watch_policy import watch_policy

        self.parts += [
            watch_policy(policy, postprocessor, on_decision=self._on_decision),
            ObservationStamps(policy, lambda stamp: self.observed.append(stamp / 1e9)),
        ]

    def _on_decision(self, decision: Any) -> None:
        self.stamps.append(self.observed[-1])
        self.chunks.append(decision.chunks)
        self.arrived.append(time.time())

    def wait_for(self, decisions: int) -> None:
        end = time.monotonic() + 60.0
        while len(self.stamps) < decisions:
            assert time.monotonic() < end, f"{len(self.stamps)} decisions"
            time.sleep(0.02)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        # Where it is imported it writes its logs.
        patch.chdir(tmp_path_factory.mktemp("logs"))
        import lerobot.async_inference.policy_server
        import lerobot.async_inference.robot_client  # noqa: F401
    from testbed.lerobot_policies import act_policy

    folder = tmp_path_factory.mktemp("act")
    policy = act_policy()
    for part in (policy.policy, policy.preprocessor, policy.postprocessor):
        part.save_pretrained(folder)
    return folder


@pytest.fixture
def served() -> Iterator[tuple[Watched, int]]:
    watched = Watched()
    with policy_server(watched.on_policy) as (_, port):
        yield watched, port


@pytest.mark.lerobot
@pytest.mark.slow
class TestServerAndClient:
    @pytest.mark.parametrize("lead", [0.0, HOUR, -HOUR])
    def test_stamps_are_of_the_observation_whatever_the_clients_clock(
        self, served, checkpoint, lead
    ):
        watched, port = served
        with robot_client(port, checkpoint, clock_lead=lead):
            watched.wait_for(3)
        ages = np.subtract(watched.arrived, watched.stamps)
        assert (ages > -AHEAD).all()
        assert (ages < 30.0).all()
        assert (np.diff(watched.stamps) > 0).all()

    def test_stamps_count_the_control_steps_between_decisions(self, served, checkpoint):
        watched, port = served
        steps = []
        with robot_client(port, checkpoint) as client:
            note(client, steps)
            watched.wait_for(4)
        by_stamp = {round(stamp, 3): step for stamp, step in steps}
        at = np.array([by_stamp[round(stamp, 3)] for stamp in watched.stamps[1:]])
        counted = np.round(np.diff(watched.stamps[1:]) / PERIOD)
        np.testing.assert_allclose(counted, np.diff(at), atol=1)

    def test_what_is_executed_is_the_plan_until_another_overlaps(self, served, checkpoint):
        """And then a mixture of both, whose weights only the client knows."""
        watched, port = served
        with robot_client(port, checkpoint) as client:
            watched.wait_for(3)
            sent = np.array(client.robot.sent)
        plan = watched.chunks[0][0]
        assert plan.shape == (CHUNK, sent.shape[1])
        np.testing.assert_allclose(sent[: CHUNK // 3], plan[: CHUNK // 3], atol=1e-3)

    @pytest.mark.parametrize("fault", ["late", "repeated", "dropped", "out of order"])
    def test_answers_that_go_astray_leave_decisions_in_order(self, served, checkpoint, fault):
        """The server cannot know of them: what is executed then is told by no stamp."""
        watched, port = served
        with robot_client(port, checkpoint) as client:
            client.stub = AstrayAnswers(client.stub, fault)
            watched.wait_for(4)
        assert (np.diff(watched.stamps) > 0).all()
        assert all(chunks.shape == watched.chunks[0].shape for chunks in watched.chunks)


def note(client: Any, steps: list[tuple[float, int]]) -> None:
    """Note the stamp and the step of every observation that a client sends."""
    send = client.send_observation

    def noted(observation: Any) -> bool:
        steps.append((observation.get_timestamp(), observation.get_timestep()))
        return send(observation)

    client.send_observation = noted


class AstrayAnswers:
    """A client's stub whose answers come late, twice, not at all or after younger ones."""

    def __init__(self, stub: Any, fault: str) -> None:
        self._stub = stub
        self._fault = fault
        self._held: list[Any] = []
        self._count = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stub, name)

    def GetActions(self, request: Any) -> Any:  # noqa: N802
        if self._held and (self._fault == "repeated" or self._count > 2):
            return self._held.pop()
        answer = self._stub.GetActions(request)
        if not answer.data:
            return answer
        # LeRobot's client waits for its first answer for ever.
        self._count += 1
        if self._fault == "late":
            time.sleep(3 / FPS)
        elif self._fault == "repeated":
            self._held.append(answer)
        elif self._count == 2:
            self._held += [answer] if self._fault == "out of order" else []
            return type(answer)()
        return answer


@pytest.mark.lerobot
@pytest.mark.ros
def test_the_command_publishes_the_stamps_of_a_client_an_hour_away(checkpoint, tmp_path):
    import rclpy
    from sensor_msgs.msg import PointCloud2
    from std_msgs.msg import String
    from testbed.lerobot_policies import ACTIONS
    from testbed.lerobot_process import environment, watched
    from testbed.ros_graph import LATCHED, Observer

    from failure_monitor.parameters.topics import ACTION_CHUNKS_TOPIC, POLICY_FORMAT_TOPIC
    from failure_monitor.policy_description import PolicyDescription

    port = free_port()
    command = watched(
        *("--control-period", PERIOD, "--", sys.executable),
        *("-m", "lerobot.async_inference.policy_server", f"--port={port}", f"--fps={FPS}"),
    )
    rclpy.init()
    observer = Observer(action_names=ACTIONS)
    observer.listen(ACTION_CHUNKS_TOPIC, PointCloud2)
    observer.listen(POLICY_FORMAT_TOPIC, String, LATCHED)
    process = subprocess.Popen(command, env=environment(tmp_path), cwd=tmp_path)
    try:
        wait_for_port(port)
        steps: list[tuple[float, int]] = []
        with robot_client(port, checkpoint, clock_lead=HOUR) as client:
            note(client, steps)
            observer.wait_for(
                lambda: len(observer.received[ACTION_CHUNKS_TOPIC]) >= 3, "decisions", 60.0
            )
        now = time.time()
    finally:
        process.kill()
        process.wait()
    messages = observer.received[ACTION_CHUNKS_TOPIC]
    stamps = [one.header.stamp.sec + 1e-9 * one.header.stamp.nanosec for one in messages]
    assert (np.diff(stamps) > 0).all()
    assert are_shifted_by_one_time([stamp for stamp, _ in steps], stamps[1:])
    assert now - 60.0 < stamps[0]
    assert stamps[-1] < now + AHEAD
    stated = PolicyDescription.from_json(observer.received[POLICY_FORMAT_TOPIC][-1].data)
    assert (stated.execution, stated.control_period) == ("server", PERIOD)
    observer.node.destroy_node()
    rclpy.try_shutdown()


def are_shifted_by_one_time(by_client: list[float], stamps: list[float]) -> bool:
    """Return whether all stamps are stamps of the client, and the same time is between them."""
    apart = np.subtract.outer(stamps, by_client)
    return any(np.abs(apart - shift).min(axis=1).max() < 1e-3 for shift in apart[0])


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def wait_for_port(port: int) -> None:
    end = time.monotonic() + 60.0
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
            return
        except OSError:
            assert time.monotonic() < end
            time.sleep(0.1)
