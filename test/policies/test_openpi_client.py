# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Between the robot and a policy server everything breaks: no plan is then better than an old one.

openpi's own client and chunk broker, over TCP, with faults put between them and the server.
"""

from __future__ import annotations

import itertools
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import numpy as np
import pytest
from testbed.broken_link import broken_link
from testbed.policy_server import (
    DIMENSIONS,
    HORIZON,
    STATE,
    NumberedPolicy,
    observed,
    policy_server,
)

from failure_monitor.policies.openpi.client import (
    STAMP,
    AnotherPolicyError,
    ClientClosedError,
    InvalidAnswerError,
    InvalidObservationError,
    PolicyServerError,
    ServerSilentError,
    ServerUnreachableError,
    TappedClient,
)
from failure_monitor.policies.openpi.connection import CLOSING
from failure_monitor.policies.openpi.messages import KEY
from failure_monitor.policy_description import PolicyDescription

pytestmark = pytest.mark.lerobot

TIMEOUT = 0.6
SLACK = 5.0
"""Seconds that a busy machine may take on top."""
TRAINED = PolicyDescription(
    policy="pi0", checkpoint="a" * 64, checkpoint_name="pick/20000", action_names=("x", "y")
)
RETRAINED = PolicyDescription(
    policy="pi0", checkpoint="b" * 64, checkpoint_name="pick/30000", action_names=("x", "y")
)


VOID = {b"__ndarray__": True, b"data": bytes(80), b"dtype": "|V8", b"shape": [HORIZON, DIMENSIONS]}
"""Actions whose bytes are no numbers, as openpi packs an array."""


class WatchingPolicy(NumberedPolicy):
    """Answers as a WatchedPolicy does."""

    def infer(self, obs):
        watched = {"request": obs.get(KEY, {}).get("request")}
        answer = super().infer(obs)
        chunks = np.stack([answer["actions"] + sample for sample in range(4)])
        answer[KEY] = {**watched, "embedding": np.arange(6.0), "chunks": chunks}
        return answer


def metadata_of(description: PolicyDescription) -> dict[str, str]:
    return {KEY: description.to_json()}


@contextmanager
def tapped(port: int, **options):
    """A client that keeps what it hands on."""
    client = TappedClient(
        "127.0.0.1",
        port,
        **{
            "answer_timeout": TIMEOUT,
            "first_answer_timeout": TIMEOUT,
            "connect_timeout": TIMEOUT,
            **options,
        },
    )
    client.decisions = []
    client.on_decision = lambda decision, stamp: client.decisions.append((decision, stamp))
    try:
        yield client
    finally:
        client.close()


@pytest.fixture(params=[NumberedPolicy, WatchingPolicy], ids=["unknowing", "watching"])
def server(request):
    policy = request.param()
    metadata = metadata_of(TRAINED) if request.param is WatchingPolicy else {"reset_pose": [0, 1]}
    with policy_server(policy, metadata) as server:
        yield server


@pytest.fixture
def link(server):
    with broken_link(server.port) as link:
        yield link


@pytest.fixture
def client(link):
    """Over a link that may break; one answer has come through."""
    with tapped(link.port) as client:
        assert plan_of(client, 1) == 1
        yield client


def plan_of(client: TappedClient, number: float) -> float:
    """Return the number that is executed for an observation."""
    return float(client.infer(observed(number))["actions"][0, 0])


def execute_for_ever(client: TappedClient) -> None:
    for number in itertools.count():
        client.infer(observed(number))


def recovers(client: TappedClient) -> None:
    """Plans come again, each of its own observation; a busy machine may take several tries."""
    end = time.monotonic() + 60.0
    plans = 0
    for number in itertools.count(50):
        try:
            assert plan_of(client, number) == number
            plans += 1
        except PolicyServerError:
            assert time.monotonic() < end
        if plans == 3:
            return


class TestAnAnswerOfAWatchedPolicy:
    def test_the_broker_gets_the_actions_and_the_callback_the_rest(self):
        from openpi_client.action_chunk_broker import ActionChunkBroker

        with (
            policy_server(WatchingPolicy(), metadata_of(TRAINED)) as server,
            tapped(server.port) as client,
        ):
            broker = ActionChunkBroker(client, action_horizon=3)
            executed = [broker.infer(observed(step))["actions"] for step in range(7)]
            np.testing.assert_array_equal(
                executed, np.repeat([0.0, 3.0, 6.0], [3, 3, 1])[:, None] * np.ones(DIMENSIONS)
            )
            assert len(client.decisions) == 3
            decision, _ = client.decisions[1]
            assert decision.chunks.shape == (4, HORIZON, DIMENSIONS)
            assert decision.chunks.dtype == decision.embedding.dtype == np.float32
            np.testing.assert_array_equal(decision.chunks[:, 0, 0], [3, 4, 5, 6])
            np.testing.assert_array_equal(decision.embedding, np.arange(6))
            assert KEY not in client.infer(observed(9))

    def test_the_description_is_the_servers_completed_beside_the_robot(self):
        beside = PolicyDescription(control_period=0.02, executed_actions=25)
        with (
            policy_server(WatchingPolicy(), metadata_of(TRAINED)) as server,
            tapped(server.port, description=beside) as client,
        ):
            assert client.is_watched
            assert client.description.checkpoint == "a" * 64
            assert client.description.control_period == 0.02
            assert client.description.execution == "server"

    def test_another_policy_than_stated_is_rejected_before_it_is_asked(self):
        policy = WatchingPolicy()
        with (
            policy_server(policy, metadata_of(RETRAINED)) as server,
            pytest.raises(AnotherPolicyError, match=r"pick/30000\) against a+ \(pick/20000"),
            tapped(server.port, description=TRAINED),
        ):
            pass
        assert policy.observations == []

    @pytest.mark.parametrize(
        ("spoil", "reason"),
        [
            (lambda watched: {"request": watched["request"]}, "embedding"),
            (lambda watched: {**watched, "error": "out of memory"}, "out of memory"),
            (lambda watched: {**watched, "chunks": watched["chunks"][1:]}, "not the one"),
            (lambda watched: {**watched, "chunks": watched["chunks"][0]}, "of shape"),
            (lambda watched: {**watched, "embedding": "none"}, "embedding"),
        ],
    )
    def test_what_cannot_be_watched_is_executed_logged_and_not_handed_on(
        self, spoil, reason, caplog
    ):
        with (
            policy_server(WatchingPolicy(), metadata_of(TRAINED)) as server,
            tapped(server.port) as client,
        ):
            server.change = lambda answer: [{**answer, KEY: spoil(answer[KEY])}]
            assert plan_of(client, 2) == 2
            assert client.decisions == []
            assert reason in caplog.text

    def test_the_robot_goes_on_when_what_receives_decisions_fails(self, client, caplog):
        client.on_decision = lambda decision, stamp: 1 / 0
        assert plan_of(client, 2) == 2
        assert "ZeroDivisionError" in caplog.text


class TestAServerThatKnowsNothingOfUs:
    def test_its_chunk_is_the_only_sample_and_named_entries_stand_for_the_embedding(self):
        with (
            policy_server(NumberedPolicy()) as server,
            tapped(server.port, embedding_from=STATE) as client,
        ):
            client.infer(observed(2))
            decision, _ = client.decisions[0]
            np.testing.assert_array_equal(decision.embedding, [2, 2, 2])
            assert decision.chunks.shape == (1, HORIZON, DIMENSIONS)
            assert client.description.dispersion_of == "nothing"
            assert not client.is_watched

    def test_without_a_name_there_is_no_embedding(self):
        with policy_server(NumberedPolicy()) as server, tapped(server.port) as client:
            client.infer(observed(2))
            decision, _ = client.decisions[0]
            assert decision.embedding.shape == (0,)
            assert decision.chunks.shape == (1, HORIZON, DIMENSIONS)

    def test_several_entries_and_nested_ones(self):
        with (
            policy_server(NumberedPolicy()) as server,
            tapped(server.port, embedding_from=["joints/left", STATE]) as client,
        ):
            client.infer({**observed(2), "joints": {"left": [7.0]}})
            np.testing.assert_array_equal(client.decisions[0][0].embedding, [7, 2, 2, 2])

    def test_a_missing_entry_is_named_and_the_robot_goes_on(self, caplog):
        with (
            policy_server(NumberedPolicy()) as server,
            tapped(server.port, embedding_from="state") as client,
        ):
            assert plan_of(client, 2) == 2
            assert "no entry 'state'" in caplog.text
            assert STATE in caplog.text

    def test_it_is_sent_nothing_of_ours(self):
        policy = NumberedPolicy()
        with policy_server(policy) as server, tapped(server.port) as client:
            client.infer({**observed(2), STAMP: object()})
        assert policy.observations[0].keys() == observed(2).keys()


class TestStamps:
    def test_that_of_the_observation_is_handed_on_and_stays_here(self, server):
        with tapped(server.port) as client:
            client.infer({**observed(2), STAMP: "of the camera"})
            assert client.decisions[0][1] == "of the camera"
            assert STAMP not in server.policy.observations[0]

    def test_else_it_is_when_the_observation_was_sent_not_when_the_answer_came(self, server):
        server.policy.seconds = 0.2
        with tapped(server.port, clock=time.monotonic) as client:
            begin = time.monotonic()
            client.infer(observed(2))
            assert client.decisions[0][1] - begin < 0.2


class TestAServerThatDoesNotAnswer:
    @pytest.mark.parametrize("fault", ["is_dead", "is_deaf"])
    def test_a_half_open_connection_ends_in_time_and_is_made_again(self, link, client, fault):
        setattr(link, fault, True)
        for number in (2, 3):
            begin = time.monotonic()
            with pytest.raises(ServerSilentError, match=f"within {TIMEOUT:g} s"):
                client.infer(observed(number))
            assert TIMEOUT <= time.monotonic() - begin < TIMEOUT + SLACK
        setattr(link, fault, False)
        recovers(client)
        executed = [int(decision.chunks[0, 0, 0]) for decision, _ in client.decisions]
        assert executed[0] == 1
        assert min(executed[1:]) >= 50

    def test_nobody_is_left_waiting_for_its_answer(self, link, client):
        link.is_dead = True
        with pytest.raises(ServerSilentError):
            client.infer(observed(2))
        end = time.monotonic() + SLACK
        while any(thread.name == "policy server" for thread in threading.enumerate()):
            assert time.monotonic() < end, "a thread still waits"
            time.sleep(0.01)

    def test_an_observation_that_no_longer_fits_into_the_socket_ends_in_time(self, link, client):
        link.is_deaf = True
        with pytest.raises(ServerSilentError):
            client.infer({**observed(2), "image": np.zeros(30_000_000, np.uint8)})
        link.is_deaf = False
        recovers(client)

    def test_a_slow_link_is_silence_too(self, link, client):
        link.rate = 200.0
        with pytest.raises(ServerSilentError):
            client.infer(observed(2))
        link.rate = None
        recovers(client)

    def test_the_first_answer_may_take_longer(self, server):
        server.policy.seconds = 2 * TIMEOUT
        with tapped(server.port, first_answer_timeout=60.0) as client:
            assert plan_of(client, 1) == 1
            with pytest.raises(ServerSilentError):
                client.infer(observed(2))
            assert plan_of(client, 3) == 3

    def test_the_broker_holds_no_plan_afterwards(self, link, client):
        from openpi_client.action_chunk_broker import ActionChunkBroker

        broker = ActionChunkBroker(client, action_horizon=2)
        assert [broker.infer(observed(8))["actions"][0] for _ in range(2)] == [8, 8]
        link.is_dead = True
        for _ in range(2):
            with pytest.raises(ServerSilentError):
                broker.infer(observed(9))
        link.is_dead = False
        assert broker.infer(observed(10))["actions"][0] == 10


class TestAConnectionThatBreaks:
    def test_it_is_noticed_and_made_again(self, link, client):
        link.cut()
        with pytest.raises(ServerUnreachableError, match="broke"):
            client.infer(observed(2))
        recovers(client)

    def test_while_the_server_is_gone_every_call_says_so(self, server, client, link):
        server.close()
        link.cut()
        for _ in range(2):
            with pytest.raises(PolicyServerError):
                client.infer(observed(2))

    def test_there_is_none_from_the_start(self):
        with (
            broken_link(0) as link,
            pytest.raises(PolicyServerError, match=f"127.0.0.1:{link.port}"),
            tapped(link.port),
        ):
            pass

    def test_what_listens_ends_the_connection_at_once(self):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            threading.Thread(target=lambda: listener.accept()[0].close(), daemon=True).start()
            with pytest.raises(ServerUnreachableError, match="wait until the server has started"):
                TappedClient("127.0.0.1", listener.getsockname()[1])

    def test_nobody_listens(self):
        with pytest.raises(ServerUnreachableError, match="start it, or correct the address"):
            TappedClient("127.0.0.1", 1)

    def test_an_answer_that_is_late_by_a_whole_reconnect_dies_with_its_connection(
        self, server, link
    ):
        with tapped(link.port) as client:
            assert plan_of(client, 1) == 1
            server.policy.seconds = 1.5 * TIMEOUT
            with pytest.raises(ServerSilentError):
                client.infer(observed(2))
            server.policy.seconds = 0.0
            end = time.monotonic() + 2 * TIMEOUT
            for number in itertools.count(3):
                assert plan_of(client, number) == number
                if time.monotonic() > end:
                    break


class TestAnAnswerThatIsNone:
    @pytest.mark.parametrize(
        ("messages", "reason"),
        [
            (lambda answer: [b"\xc1\x00garbage"], "no answer of openpi"),
            (lambda answer: [[1, 2]], "a list"),
            (lambda answer: ["Traceback ...\nValueError: no prompt"], "ValueError: no prompt"),
            (lambda answer: [{}], "has no 'actions'"),
            (lambda answer: [{**answer, "actions": [["up"]]}], "no real numbers"),
            (lambda answer: [{**answer, "actions": answer["actions"][0]}], r"shape \(2,\)"),
            (lambda answer: [{**answer, "actions": answer["actions"][:3]}], r"shape \(3, 2\)"),
            (lambda answer: [{**answer, "actions": np.nan * answer["actions"]}], "NaN"),
            (lambda answer: [{**answer, "actions": VOID}], "no real numbers"),
        ],
        ids=["bytes", "list", "traceback", "empty", "text", "flat", "shorter", "nan", "void"],
    )
    def test_it_is_rejected_and_the_connection_made_again(self, server, client, messages, reason):
        usual, server.change = server.change, messages
        with pytest.raises(InvalidAnswerError, match=reason):
            client.infer(observed(2))
        server.change = usual
        recovers(client)
        assert 2 not in [decision.chunks[0, 0, 0] for decision, _ in client.decisions]

    def test_an_observation_that_cannot_be_sent_is_not_the_servers_fault(self, client):
        with pytest.raises(InvalidObservationError, match=r"cannot be sent .* give numpy arrays"):
            client.infer({**observed(2), "image": object()})
        recovers(client)

    def test_timings_of_arrays_are_compared_too(self):
        def timed(answer):
            return [{**answer, "policy_timing": {"steps": np.array([1.0, np.nan])}}]

        with policy_server(NumberedPolicy()) as server, tapped(server.port) as client:
            server.change = timed
            assert [plan_of(client, number) for number in (1, 2)] == [1, 2]

    def test_a_number_of_the_request_that_is_an_array(self):
        with (
            policy_server(WatchingPolicy(), metadata_of(TRAINED)) as server,
            tapped(server.port) as client,
        ):
            server.change = lambda answer: [{**answer, KEY: {"request": np.zeros(3)}}]
            with pytest.raises(InvalidAnswerError, match="another observation"):
                client.infer(observed(1))

    def test_a_policy_that_fails(self, server, client):
        with pytest.raises(InvalidAnswerError, match="KeyError: 'observation/state'"):
            client.infer({"prompt": "carry"})
        recovers(client)

    @pytest.mark.parametrize("fault", ["garbage", "half"])
    def test_bytes_that_are_no_message(self, link, client, fault):
        setattr(link, fault, b"\xff" * 40 if fault == "garbage" else True)
        with pytest.raises(PolicyServerError):
            client.infer(observed(2))
        link.is_dead = False
        recovers(client)

    def test_something_else_listens_at_the_address(self):
        with broken_link(0) as link:
            link.is_dead = True
            with pytest.raises(ServerSilentError, match="did not answer"):
                TappedClient("127.0.0.1", link.port, connect_timeout=TIMEOUT)


class TestAnAnswerOfAnotherObservation:
    @pytest.mark.parametrize("pause", [0.0, 0.2], ids=["at once", "once it has arrived"])
    def test_an_answer_sent_twice_is_not_executed_twice(self, server, client, pause):
        usual, server.change = server.change, lambda answer: [answer, answer]
        assert plan_of(client, 2) == 2
        server.change = usual
        time.sleep(pause)
        with pytest.raises(InvalidAnswerError):
            client.infer(observed(3))
        recovers(client)

    def test_nor_is_one_whose_second_copy_comes_while_the_next_is_asked_for(self, client, server):
        def twice(answer):
            server.change = usual
            yield answer
            time.sleep(0.2)
            yield answer

        usual, server.change = server.change, twice
        assert plan_of(client, 2) == 2
        with pytest.raises(InvalidAnswerError, match=r"once more|another observation"):
            client.infer(observed(3))
        recovers(client)

    def test_one_that_nobody_asked_for_is_not_executed(self):
        with policy_server(NumberedPolicy()) as server, tapped(server.port) as client:
            usual = server.change
            server.change = lambda answer: [
                answer,
                {**answer, "actions": 2 * answer["actions"], "server_timing": {"infer_ms": 7.0}},
            ]
            assert plan_of(client, 2) == 2
            server.change = usual
            time.sleep(0.3)
            with pytest.raises(InvalidAnswerError, match="without a request"):
                client.infer(observed(3))
            recovers(client)

    def test_one_that_was_held_back_is_told_by_its_number(self):
        with (
            policy_server(WatchingPolicy(), metadata_of(TRAINED)) as server,
            tapped(server.port) as client,
        ):
            held = []

            def hold_back(answer):
                held.append(answer)
                return [held[-2]] if len(held) > 1 else [answer]

            server.change = hold_back
            assert plan_of(client, 1) == 1
            with pytest.raises(InvalidAnswerError, match="another observation"):
                client.infer(observed(2))

    def test_an_interrupted_request_leaves_no_answer_behind(self, server, client):
        server.policy.seconds = 0.3
        interrupt = threading.Timer(
            0.1, signal.pthread_kill, (threading.main_thread().ident, signal.SIGINT)
        )
        interrupt.start()
        with pytest.raises(KeyboardInterrupt):
            client.infer(observed(2))
        assert plan_of(client, 3) == 3
        assert plan_of(client, 4) == 4

    def test_requests_from_two_threads_get_their_own_answers(self, server):
        plans = {}
        with tapped(server.port, answer_timeout=60.0) as client:

            def ask(first: int) -> None:
                for number in range(first, first + 30):
                    plans[number] = plan_of(client, number)

            threads = [threading.Thread(target=ask, args=(first,)) for first in (0, 100)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert len(plans) == 60
        assert all(number == plan for number, plan in plans.items())


class TestAnotherPolicyAfterAReconnect:
    @pytest.mark.parametrize(
        ("before", "now", "reason"),
        [
            (
                metadata_of(TRAINED),
                metadata_of(RETRAINED),
                r"checkpoint a+ \(pick/20000\) against b+ \(pick/30000\)",
            ),
            (metadata_of(TRAINED), {}, "was watched"),
            ({}, metadata_of(TRAINED), "was not watched"),
            ({"reset_pose": [0, 1]}, {"reset_pose": [0, 2]}, "reset_pose"),
            ({"mean": np.zeros(2)}, {"mean": np.ones(2)}, "mean"),
            (metadata_of(TRAINED), {KEY: "{"}, "invalid JSON"),
        ],
    )
    def test_it_is_refused_until_the_old_one_is_back(self, before, now, reason):
        policy = WatchingPolicy() if KEY in before else NumberedPolicy()
        with (
            policy_server(policy, before) as server,
            broken_link(server.port) as link,
            tapped(link.port) as client,
        ):
            assert plan_of(client, 1) == 1
            server.metadata = now
            link.cut()
            with pytest.raises(ServerUnreachableError):
                client.infer(observed(2))
            asked = len(policy.observations)
            for _ in range(2):
                with pytest.raises(PolicyServerError, match=reason):
                    client.infer(observed(3))
            assert len(policy.observations) == asked
            server.metadata = before
            recovers(client)

    def test_metadata_without_a_number_are_the_same_ones(self):
        metadata = {"std": np.array([np.nan, 1.0]), "mean": float("nan"), "names": ["x", "y"]}
        with (
            policy_server(NumberedPolicy(), metadata) as server,
            broken_link(server.port) as link,
            tapped(link.port) as client,
        ):
            assert plan_of(client, 1) == 1
            link.cut()
            with pytest.raises(ServerUnreachableError):
                client.infer(observed(2))
            recovers(client)


class TestAClosedClient:
    def test_it_says_so(self, client):
        client.close()
        for _ in range(2):
            with pytest.raises(ClientClosedError, match="make a new one"):
                client.infer(observed(2))

    @pytest.mark.parametrize("fault", ["is_dead", "is_deaf"])
    def test_closing_ends_a_request_that_waits(self, link, server, fault):
        with tapped(link.port, answer_timeout=600.0, first_answer_timeout=600.0) as client:
            client.infer(observed(1))
            setattr(link, fault, True)
            threading.Timer(0.2, client.close).start()
            begin = time.monotonic()
            with pytest.raises(ClientClosedError):
                # More than fits into the socket: it waits for room, or for an answer.
                client.infer({**observed(2), "image": np.zeros(30_000_000, np.uint8)})
            assert time.monotonic() - begin < 0.2 + CLOSING + SLACK

    def test_a_connection_that_was_being_made_asks_for_nothing(self, link, client, server):
        link.cut()
        with pytest.raises(ServerUnreachableError):
            client.infer(observed(2))
        link.delay = 0.2
        asked = len(server.policy.observations)
        threading.Timer(0.1, client.close).start()
        with pytest.raises(ClientClosedError):
            client.infer(observed(3))
        assert len(server.policy.observations) == asked


class TestAServerThatDies:
    @pytest.mark.parametrize("death", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "frozen"])
    def test_the_plan_ends_within_the_timeout(self, death):
        with subprocess.Popen(
            [sys.executable, "-m", "testbed.policy_server", "0"], stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            port = int(process.stdout.readline())
            try:
                with tapped(port) as client:
                    assert plan_of(client, 1) == 1
                    begin = time.monotonic()
                    process.send_signal(death)
                    with pytest.raises(PolicyServerError):
                        execute_for_ever(client)
                    assert time.monotonic() - begin < TIMEOUT + SLACK
            finally:
                process.kill()
