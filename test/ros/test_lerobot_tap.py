# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""LeRobot's real policies and programs publish what the monitor needs, and act as before."""

import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import rclpy
from builtin_interfaces.msg import Time
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import Bool, String
from testbed.ros_graph import Observer, observing

from failure_monitor.messages.point_cloud import read_action_chunks, read_embedding
from failure_monitor.parameters.topics import (
    ACTION_CHUNKS_TOPIC,
    EMBEDDING_TOPIC,
    POLICY_FORMAT_TOPIC,
    ROLLOUT_TOPIC,
)
from failure_monitor.policies.checkpoint import checkpoint_hash
from failure_monitor.policy_description import PolicyDescription
from failure_monitor.ros.common.qos import LATCHED_QOS

pytestmark = [pytest.mark.ros, pytest.mark.lerobot]

PROGRAM = """
import signal
import time

from lerobot.policies.act.modeling_act import ACTPolicy
from lerobot.policies.factory import make_pre_post_processors
from testbed.lerobot_policies import ACTIONS, observation

from failure_monitor.ros.lerobot_tap import LeRobotTap

policy = ACTPolicy.from_pretrained({checkpoint!r})
before, after = make_pre_post_processors(policy.config, {checkpoint!r})
handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
tap = LeRobotTap(None, policy, after, ACTIONS, rollout_topic=True)
assert handlers == [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
publishers = [tap._tap._embedding_publisher, tap._tap._chunks_publisher, tap._rollout_publisher]
while not all(publisher.get_subscription_count() for publisher in publishers):
    time.sleep(0.1)
time.sleep(0.5)
policy.reset()
for seed in range(7):
    after(policy.select_action(before(observation(seed))))
    time.sleep(0.05)
"""


@pytest.fixture
def tiny():
    from testbed.lerobot_policies import act_policy

    return act_policy()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    from testbed.lerobot_policies import act_policy
    from testbed.lerobot_process import save_checkpoint

    return save_checkpoint(act_policy(), tmp_path_factory.mktemp("policies") / "act")


@pytest.fixture
def observer():
    from testbed.lerobot_policies import ACTIONS

    with observing(Observer, action_names=ACTIONS) as observer:
        observer.listen(EMBEDDING_TOPIC, PointCloud2)
        observer.listen(ACTION_CHUNKS_TOPIC, PointCloud2)
        observer.listen(POLICY_FORMAT_TOPIC, String, LATCHED_QOS)
        observer.listen(ROLLOUT_TOPIC, Bool)
        yield observer


def received(observer, count):
    """Return the observer's embeddings and chunks, by their stamps, once so many have come."""
    observer.wait_for(
        lambda: (
            min(len(observer.received[topic]) for topic in (EMBEDDING_TOPIC, ACTION_CHUNKS_TOPIC))
            >= count
        ),
        f"{count} decisions",
        30,
    )
    embeddings = {
        (message.header.stamp.sec, message.header.stamp.nanosec): read_embedding(message)
        for message in observer.received[EMBEDDING_TOPIC]
    }
    chunks = {
        (message.header.stamp.sec, message.header.stamp.nanosec): read_action_chunks(message)
        for message in observer.received[ACTION_CHUNKS_TOPIC]
    }
    assert embeddings.keys() == chunks.keys()
    return chunks


def description(observer):
    return PolicyDescription.from_json(observer.received[POLICY_FORMAT_TOPIC][-1].data)


def test_three_lines_in_a_node(observer, tiny):
    from testbed.lerobot_policies import ACTIONS, act_policy

    from failure_monitor.ros.lerobot_tap import LeRobotTap

    tap = LeRobotTap(observer.node, tiny.policy, tiny.postprocessor, ACTIONS, control_period=0.1)
    observer.spin(0.5)
    other = act_policy()
    for step in range(7):
        tap.observed(Time(sec=10 + step))
        action = tiny.act(step).numpy()
        np.testing.assert_allclose(action, other.act(step).numpy(), atol=1e-6)
        if step % 5 == 0:
            executed = action
    chunks = received(observer, 2)
    assert list(chunks) == [(10, 0), (15, 0)]
    names, values = chunks[15, 0]
    assert names == ACTIONS
    np.testing.assert_allclose(values[0, 0], executed[0], rtol=1e-5)
    stated = description(observer)
    assert (stated.policy, stated.execution, stated.executed_actions) == ("act", "queue", 5)
    assert (stated.control_period, stated.unit) == (0.1, "robot")
    tap.close()
    tiny.act(9)
    observer.spin(0.3)
    assert len(observer.received[ACTION_CHUNKS_TOPIC]) == 2


def test_without_a_stamp_a_decision_has_the_time_of_the_node(observer, tiny):
    from testbed.lerobot_policies import ACTIONS

    from failure_monitor.ros.lerobot_tap import LeRobotTap

    tap = LeRobotTap(observer.node, tiny.policy, tiny.postprocessor, ACTIONS)
    observer.spin(0.5)
    before = time.time()
    tap.observed(Time(sec=3))
    for step in range(6):
        tiny.act(step)
    stamps = list(received(observer, 2))
    assert stamps[0] == (3, 0)
    assert before < stamps[1][0] + 1e-9 * stamps[1][1] < time.time()
    tap.close()


def test_a_reset_starts_a_rollout(observer, tiny):
    from testbed.lerobot_policies import ACTIONS

    from failure_monitor.ros.lerobot_tap import LeRobotTap

    tap = LeRobotTap(observer.node, tiny.policy, tiny.postprocessor, ACTIONS, rollout_topic=True)
    observer.spin(0.5)
    tiny.policy.reset()
    tiny.act(0)
    tiny.policy.reset()
    tap.close()
    tap.close()
    observer.wait_for(lambda: len(observer.received[ROLLOUT_TOPIC]) >= 4, "rollouts")
    assert [message.data for message in observer.received[ROLLOUT_TOPIC]] == [
        True,
        False,
        True,
        False,
    ]


def test_names_that_do_not_fit_leave_the_policy_as_it_was(observer, tiny):
    from failure_monitor.policies.action_names import ActionNamesError
    from failure_monitor.ros.lerobot_tap import LeRobotTap

    before = dict(vars(tiny.policy))
    with pytest.raises(ActionNamesError, match="has 1 actions"):
        LeRobotTap(observer.node, tiny.policy, tiny.postprocessor, ["x"])
    assert vars(tiny.policy) == before


def test_ros_may_end_before_the_policy(observer, tiny):
    from testbed.lerobot_policies import ACTIONS

    from failure_monitor.ros.lerobot_tap import LeRobotTap

    tap = LeRobotTap(observer.node, tiny.policy, tiny.postprocessor, ACTIONS)
    rclpy.shutdown()
    for step in range(6):
        tiny.act(step)
    tap.close()


def test_a_program_without_a_node(observer, checkpoint, tmp_path):
    from testbed.lerobot_process import run

    (tmp_path / "program.py").write_text(PROGRAM.format(checkpoint=str(checkpoint)))
    done = run([sys.executable, "program.py"], tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(received(observer, 2)) == 2
    observer.wait_for(lambda: len(observer.received[ROLLOUT_TOPIC]) == 2, "the rollout")
    assert [message.data for message in observer.received[ROLLOUT_TOPIC]] == [True, False]


def test_lerobot_record_is_watched_with_no_line_changed(observer, checkpoint, tmp_path):
    from testbed.lerobot_policies import ACTIONS
    from testbed.lerobot_process import record, run, watched

    folders = [tmp_path / name for name in ("watched", "alone")]
    for folder in folders:
        folder.mkdir()
    done = run(watched("--", *record(checkpoint, folders[0], seconds=2.0)), folders[0])
    assert done.returncode == 0, done.stderr
    assert "watching act " in done.stderr
    assert f"({', '.join(ACTIONS)}; control period 0.06667 s)" in done.stderr
    assert run(record(checkpoint, folders[1], seconds=2.0), folders[1]).returncode == 0
    first, second = (
        np.array([json.loads(line) for line in (folder / "actions.jsonl").open()])
        for folder in folders
    )
    steps = min(len(first), len(second))
    np.testing.assert_allclose(first[:steps], second[:steps], atol=1e-5)
    # The first ones may be over before this process has found the other.
    received(observer, 1)
    observer.spin(1.0)
    executed = [values[0, 0] for _, values in received(observer, 1).values()]
    np.testing.assert_allclose(executed, first[::5][-len(executed) :], rtol=1e-5)
    stated = description(observer)
    assert (stated.control_period, stated.action_names) == (pytest.approx(1 / 15), ACTIONS)
    assert stated.checkpoint == checkpoint_hash(checkpoint)


def test_ctrl_c_is_the_programs_own(checkpoint, tmp_path):
    from testbed.lerobot_process import environment, record, watched

    command = watched("--", *record(checkpoint, tmp_path, seconds=100))
    process = subprocess.Popen(
        command, env=environment(tmp_path), cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    actions = tmp_path / "actions.jsonl"
    while process.poll() is None and not (actions.exists() and actions.stat().st_size):
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    # LeRobot's own end: the robot was disconnected, the interrupt went on.
    assert process.returncode == -signal.SIGINT
    assert "KeyboardInterrupt" in error


def test_the_program_keeps_its_exit_code(tmp_path):
    from testbed.lerobot_process import run, watched

    (tmp_path / "program.py").write_text("import sys; sys.exit(7)\n")
    done = run(watched("--", "program.py"), tmp_path)
    assert done.returncode == 7
    assert "nothing was watched: the command has loaded no policy" in done.stderr


def test_from_a_policy_to_a_gate_that_closes(observer, tiny, tmp_path):
    """Recorded, calibrated with no option about the policy, watched, and stopped."""
    import torch
    from std_msgs.msg import Float64MultiArray
    from testbed.lerobot_policies import ACTIONS
    from testbed.ros_graph import node_process

    from failure_monitor.ros.lerobot_tap import LeRobotTap

    # Whoever decides is the tap.
    for publisher in (observer.embeddings, observer.chunks):
        observer.node.destroy_publisher(publisher)
    commands = observer.node.create_publisher(Float64MultiArray, "command_in", 10)
    observer.listen("command_out", Float64MultiArray)
    observer.listen_to_monitor()
    tap = LeRobotTap(observer.node, tiny.policy, tiny.postprocessor, ACTIONS, rollout_topic=True)

    def act(seeds):
        for seed in seeds:
            commands.publish(Float64MultiArray(data=tiny.act(seed)[0].tolist()))
            observer.spin(0.02)

    bags, bundle = tmp_path / "bags", tmp_path / "bundle"
    topics = "[policy/embedding, policy/action_chunks, policy/format]"
    recorder = "failure_monitor.ros.recording.record_node"
    with node_process(recorder, topics=topics, output=bags, tail=0.1):
        observer.wait_for(
            lambda: observer.node.count_subscribers("rollout/active") == 2, "the recorder"
        )
        observer.spin(1.0)
        for rollout in range(10):
            tiny.policy.reset()
            observer.spin(0.1)
            act(range(20 * rollout, 20 * rollout + 20))
        tiny.policy.reset()
        observer.wait_for(lambda: len([*bags.glob("rollout_*")]) == 10, "the bags")
    calibrate = [sys.executable, "-m", "failure_monitor.cli", "calibrate"]
    options = [
        str(bags / "rollout_000?"),
        "--output",
        str(bundle),
        "--scores",
        "mahalanobis",
        "--rule",
        "any",
    ]
    done = subprocess.run([*calibrate, *options], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

    monitor = {"bundle": bundle, "rollout_boundaries": "topic", "max_joint_state_age": 0.0}
    with (
        node_process("failure_monitor.ros.monitor.node", **monitor),
        node_process("failure_monitor.ros.gate.node"),
    ):
        observer.wait_for(observer.state, "the monitor")
        observer.wait_for(commands.get_subscription_count, "the gate")
        observer.spin(1.0)
        tiny.policy.reset()
        observer.spin(0.1)
        act(range(3))
        observer.wait_for(observer.permitted, "the permit")
        act(range(3, 5))
        assert observer.received["command_out"], observer.reason()
        strange = {
            key: 50 + value if torch.is_tensor(value) else value
            for key, value in tiny.batch().items()
        }
        tiny.policy.select_action(strange)
        observer.wait_for_stop("ALARM")
        assert "mahalanobis" in observer.reason()
        passed = len(observer.received["command_out"])
        act(range(4))
        commands.publish(Float64MultiArray(data=[9.0, 9.0, 9.0]))
        observer.spin(0.3)
        sent = [list(message.data) for message in observer.received["command_out"][passed:]]
        assert [9.0, 9.0, 9.0] not in sent
    tap.close()


def test_a_policy_server_is_watched_whatever_policy_its_client_asks_for(
    observer, checkpoint, tmp_path
):
    import socket

    from testbed.lerobot_client import ACTIONS_PER_CHUNK, PolicyClient
    from testbed.lerobot_policies import ACTIONS
    from testbed.lerobot_process import environment, watched

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = [sys.executable, "-m", "lerobot.async_inference.policy_server"]
    options = ["--host=127.0.0.1", f"--port={port}", "--fps=20", "--inference_latency=0"]
    process = subprocess.Popen(
        watched("--action-names", ",".join(ACTIONS), "--", *server, *options),
        env=environment(tmp_path),
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        for client_number in range(2):
            # Each client has the server load its policy anew.
            client = PolicyClient(f"127.0.0.1:{port}", checkpoint)
            # Beside the observer's own there is one, that of the policy before being gone.
            observer.wait_for(
                lambda: observer.node.count_publishers(ACTION_CHUNKS_TOPIC) == 2, "the tap"
            )
            observer.spin(1.0)
            answers = [client.chunk(number) for number in (1, 2, 3)]
            chunks = received(observer, 3 * (client_number + 1))
            for answer, (names, values) in zip(answers, [*chunks.values()][-3:], strict=True):
                assert names == ACTIONS
                np.testing.assert_allclose(values[0, :ACTIONS_PER_CHUNK], answer, rtol=1e-5)
    finally:
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=60)
    assert error.count("failure-monitor: watching act") == 2
    stated = description(observer)
    assert (stated.execution, stated.control_period) == ("server", 0.05)
