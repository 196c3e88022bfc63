# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The judge node beside a real monitor, with a stand-in for the service that it asks."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from rcl_interfaces.srv import GetParameters, ListParameters
from rosbags.rosbag2 import Reader
from sensor_msgs.msg import Image
from std_msgs.msg import Bool, String
from testbed.chat_server import ChatServer, chat_server, completion, reply, stream
from testbed.ros_graph import Observer, node_process, observing

from failure_monitor.rollout_log.log_file import read_log
from failure_monitor.ros.common.key_values import key_values, read_key_values
from failure_monitor.ros.common.qos import LATCHED_QOS

pytestmark = pytest.mark.ros

NODE = "failure_monitor.ros.judging.node"
MONITOR = "failure_monitor.ros.monitor.node"
RECORDER = "failure_monitor.ros.recording.record_node"
OUTCOME = "failure_monitor/outcome"
KEY = "sk-SECRET-0123456789"
WIDTH, HEIGHT = 64, 48


class JudgeProcess:
    """The judge node, with its key in its environment; all that it prints is kept in a file."""

    def __init__(self, log: Path, **parameters: object) -> None:
        self.log = log
        arguments = [
            part for name, value in parameters.items() for part in ("-p", f"{name}:={value}")
        ]
        with log.open("wb") as stream:
            self._process = subprocess.Popen(
                [sys.executable, "-m", NODE, "--ros-args", *arguments],
                stdout=stream,
                stderr=subprocess.STDOUT,
                env={**os.environ, "JUDGE_KEY": KEY},
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def end(self) -> tuple[int, str]:
        self._process.send_signal(signal.SIGINT)
        try:
            code = self._process.wait(20)
        finally:
            self._process.kill()
        return code, self.log.read_text()


@pytest.fixture
def observer(policy):
    with observing(Observer, policy.action_names) as observer:
        observer.listen_to_monitor()
        observer.listen(OUTCOME, DiagnosticStatus, LATCHED_QOS)
        yield observer


def parameters_for(server: ChatServer, **more: object) -> dict[str, object]:
    return {
        "url": server.url,
        "model": "a-model",
        "question": "'Task: {task}. Is it done?'",
        "api_key_variable": "JUDGE_KEY",
        **more,
    }


def grey_picture(grey: int) -> Image:
    pixels = np.full(HEIGHT * WIDTH * 3, grey, np.uint8).tobytes()
    return Image(height=HEIGHT, width=WIDTH, encoding="rgb8", step=3 * WIDTH, data=pixels)


def values(observer: Observer) -> dict[str, str]:
    said = observer.received[OUTCOME]
    return read_key_values(said[-1].values) if said else {}


def test_a_model_is_shown_the_last_pictures_and_its_number_is_logged(
    rollouts, observer, bundle_folder, tmp_path
):
    camera = observer.node.create_publisher(Image, "camera", 10)
    settings = {"max_joint_state_age": 0.0, "max_decision_age": 20.0, "judges": "[vlm]"}
    with (
        chat_server(reply(completion("0.75"))) as server,
        node_process(MONITOR, bundle=bundle_folder, promise_folder=tmp_path, **settings),
    ):
        observer.wait_for_monitor_alarm()
        judge = JudgeProcess(
            tmp_path / "judge.log",
            **parameters_for(
                server,
                send_pictures="true",
                camera_topic="camera",
                pictures=2,
                picture_period=0.0,
                picture_width=32,
            ),
        )
        try:
            observer.wait_for(camera.get_subscription_count, "the judge to subscribe")
            topic = "/failure_monitor/outcome"
            observer.wait_for(
                lambda: observer.node.count_subscribers(topic) >= 2, "the judge to listen"
            )
            observer.spin(0.5)
            assert observer.trigger("failure_monitor/start_rollout").success
            observer.decide(next(rollouts[0].decisions()))
            observer.wait_for(observer.permitted, "the permit")
            for grey in (10, 120, 240):
                camera.publish(grey_picture(grey))
                observer.spin(0.2)
            assert observer.set_bool("failure_monitor/end_rollout", True).success
            observer.wait_for(lambda: values(observer).get("judge.vlm") == "0.75", "the number")
        finally:
            code, printed = judge.end()
        [question] = server.questions
        assert f"Authorization: Bearer {KEY}".encode() in server.requests[0]
    assert code == 0, printed
    assert KEY not in printed
    assert "pictures of '/camera' leave this machine" in printed
    text, *pictures = question["messages"][1]["content"]
    assert text["text"] == "Task: not named. Is it done?"
    shown = [picture["image_url"]["url"].partition(",")[2] for picture in pictures]
    seen = [
        cv2.imdecode(np.frombuffer(base64.b64decode(one), np.uint8), cv2.IMREAD_COLOR)
        for one in shown
    ]
    assert [picture.shape for picture in seen] == [(24, 32, 3), (24, 32, 3)]
    assert [round(float(picture.mean())) for picture in seen] == [120, 240]
    [path] = tmp_path.glob("failure_monitor.*.rollouts.jsonl")
    [record] = read_log(path)
    assert record.judges == {"vlm": 0.75}


class Outcomes(Observer):
    """Plays a monitor whose rollouts end."""

    def __init__(self) -> None:
        super().__init__(("x",))
        self.publisher = self.node.create_publisher(DiagnosticStatus, OUTCOME, LATCHED_QOS)

    def end(self, rollout: str, **more: str) -> None:
        said = {"ended": "true", "claim": "success", "task": "", "rollout": rollout, **more}
        self.publisher.publish(DiagnosticStatus(values=key_values(said)))
        # The topic keeps one message.
        self.spin(0.2)


@pytest.fixture
def outcomes():
    with observing(Outcomes) as outcomes:
        outcomes.publisher.publish(DiagnosticStatus())
        yield outcomes


def test_no_picture_leaves_the_machine_unasked_and_each_rollout_is_asked_of_once(
    outcomes, tmp_path
):
    outcomes.end("before")
    with chat_server(reply(completion("0.5"))) as server:
        judge = JudgeProcess(
            tmp_path / "judge.log",
            **parameters_for(server, camera_topic="camera", rollouts="claimed"),
        )
        try:
            outcomes.wait_for(outcomes.publisher.get_subscription_count, "the judge to listen")
            outcomes.spin(0.5)
            assert outcomes.node.count_subscribers("/camera") == 0
            outcomes.end("running", ended="false")
            outcomes.end("failed", claim="failure")
            outcomes.end("first", task="press")
            outcomes.end("first", task="press", label="failure")
            outcomes.end("second", task="ignore the key")
            # Claimed only after it had ended.
            outcomes.end("third", task="late", claim="none")
            outcomes.end("third", task="late")
            outcomes.wait_for(lambda: len(server.requests) >= 3, "all questions")
            outcomes.spin(0.5)
        finally:
            code, printed = judge.end()
        texts = [question["messages"][1]["content"] for question in server.questions]
    assert code == 0, printed
    assert texts == [
        [{"type": "text", "text": "Task: press. Is it done?"}],
        [{"type": "text", "text": "Task: ignore the key. Is it done?"}],
        [{"type": "text", "text": "Task: late. Is it done?"}],
    ]
    assert "text alone leaves this machine" in printed


def test_pictures_of_another_rollout_are_never_shown(outcomes, tmp_path):
    """A camera that has died would let a true success be judged of the rollout before."""
    camera = outcomes.node.create_publisher(Image, "camera", 10)
    settings = {"send_pictures": "true", "camera_topic": "camera", "picture_period": 0.0}
    with chat_server(reply(completion("0.5"))) as server:
        judge = JudgeProcess(tmp_path / "judge.log", **parameters_for(server, **settings))
        try:
            outcomes.wait_for(camera.get_subscription_count, "the judge to subscribe")
            outcomes.wait_for(outcomes.publisher.get_subscription_count, "the judge to listen")
            outcomes.spin(0.5)
            camera.publish(grey_picture(100))
            outcomes.spin(0.3)
            outcomes.end("first")
            outcomes.end("second")
            camera.publish(grey_picture(200))
            outcomes.spin(2.5)
            outcomes.end("third")
            outcomes.wait_for(lambda: "rollout 'third'" in judge.log.read_text(), "the third")
        finally:
            code, printed = judge.end()
        [question] = server.questions
    assert code == 0, printed
    assert len(question["messages"][1]["content"]) == 2
    assert "rollout 'first': 0.5" in printed
    for rollout in ("second", "third"):
        assert f"rollout '{rollout}' has no number: no picture has come on 'camera'" in printed


def read_bag(folder: Path) -> dict[str, bytes]:
    """All bytes of each topic of the one bag in a folder."""
    [bag] = folder.iterdir()
    messages: dict[str, bytes] = {}
    with Reader(bag) as reader:
        for connection, _, data in reader.messages():
            messages[connection.topic] = messages.get(connection.topic, b"") + bytes(data)
    return messages


def dump_parameters(outcomes: Outcomes) -> str:
    """What `ros2 param dump` shows of the judge node."""
    node, name = outcomes.node, "/failure_monitor_judge"
    ask_names = node.create_client(ListParameters, f"{name}/list_parameters")
    ask_values = node.create_client(GetParameters, f"{name}/get_parameters")
    assert ask_names.wait_for_service(20.0)
    assert ask_values.wait_for_service(20.0)
    listed = outcomes.wait_until_answered(ask_names, ListParameters.Request()).result.names
    return str(outcomes.wait_until_answered(ask_values, GetParameters.Request(names=listed)))


def test_a_hostile_service_is_named_without_the_key_and_the_next_is_asked(outcomes, tmp_path):
    """Whatever comes back, the key is in no log, parameter, process argument or bag.

    Nor is anything else that the other side said.
    """
    echo = f'{{"error": "bad key {KEY}"}}'
    answers = [
        reply(echo, f"401 {KEY}", f"X: {KEY}"),
        reply("", "302 Found", f"Location: http://127.0.0.1:1/{KEY}"),
        reply(completion(f"rm -rf / {KEY}")),
        reply(KEY * 100),
        stream(b"HTTP/1.1 200 OK\r\n\r\n" + KEY.encode(), b"x" * 65536),
        stream(KEY.encode(), b"x", 0.05),
        reply(completion("0.25")),
    ]
    outcomes.listen("judges/vlm/answer", String)
    active = outcomes.node.create_publisher(Bool, "rollout/active", LATCHED_QOS)
    active.publish(Bool(data=False))
    recorder = node_process(RECORDER, topics="['*']", output=tmp_path / "bags", tail=0.5)
    with chat_server(*answers) as server, recorder:
        outcomes.wait_for(active.get_subscription_count, "the recorder")
        active.publish(Bool(data=True))
        judge = JudgeProcess(
            tmp_path / "judge.log", **parameters_for(server, timeout=1.0, judge="vlm")
        )
        try:
            outcomes.wait_for(
                lambda: outcomes.publisher.get_subscription_count() == 2, "judge and recorder"
            )
            outcomes.spin(0.5)
            for number in range(len(answers)):
                outcomes.end(f"rollout-{number}")
            said = outcomes.received["judges/vlm/answer"]
            outcomes.wait_for(lambda: said, "the one number")
            parameters = dump_parameters(outcomes)
            arguments = Path(f"/proc/{judge.pid}/cmdline").read_bytes()
            active.publish(Bool(data=False))
            outcomes.wait_for(lambda: (tmp_path / "bags" / "rollout_0000").exists(), "the bag")
        finally:
            code, printed = judge.end()
        assert KEY.encode() in server.requests[0], "the key is what was looked for"
    [number] = said
    recorded = read_bag(tmp_path / "bags")
    assert b"has no number" in recorded["/rosout"]
    assert b"rollout-6" in recorded["/judges/vlm/answer"]
    assert "JUDGE_KEY" in parameters
    assert b"JUDGE_KEY" in arguments
    assert b"SECRET" not in b"".join([*recorded.values(), parameters.encode(), arguments])
    assert json.loads(number.data) == {"rollout": "rollout-6", "value": 0.25}
    assert code == 0, printed
    assert "SECRET" not in printed
    for sentence in (
        "'rollout-0' has no number: it answers with status 401: look at the key",
        "'rollout-1' has no number: it answers with status 302: it sends elsewhere",
        "'rollout-2' has no number: it does not answer with a number from 0 to 1 alone",
        "'rollout-3' has no number: its answer is no JSON",
        "'rollout-4' has no number: its answer has more than 1000000 bytes",
        "'rollout-5' has no number: it has not answered within 1 s",
        "'rollout-6': 0.25",
    ):
        assert sentence in printed, printed


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"url": "''"}, "the parameter 'url' is empty"),
        ({"url": f"https://x:{KEY}@host/v1"}, "the parameter 'url' has more than a host"),
        ({"model": "''"}, "the parameter 'model' is empty"),
        ({"api_key_variable": "NO_KEY"}, "the environment variable that 'api_key_variable' names"),
        ({"url": "http://10.0.0.7/v1"}, "others could read the key"),
        ({"judge": "a/b"}, "the parameter 'judge' is 'a/b'"),
        ({"send_pictures": "true"}, "'camera_topic' is empty"),
    ],
    ids=str,
)
def test_a_judge_that_cannot_be_asked_does_not_start(tmp_path, changes, sentence):
    settings = {"url": "https://host/v1", "model": "m", "question": "done"}
    settings |= {"api_key_variable": "JUDGE_KEY", **changes}
    judge = JudgeProcess(tmp_path / "judge.log", **settings)
    code = judge._process.wait(30)
    printed = judge.log.read_text()
    assert code == 2, printed
    assert sentence in printed
    assert KEY not in printed.replace(str(changes.get("url", "")), "")
