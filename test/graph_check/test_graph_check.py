# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What `check` says of a graph, from values: right where all is right, and wrong by name."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

from failure_monitor.bundle.additions import (
    with_external_topics,
    with_message_types,
    with_stated_policy,
)
from failure_monitor.bundle.description import (
    BlackBoxSection,
    JointsSection,
    PositionsSection,
)
from failure_monitor.calibration.calibrate import calibrate
from failure_monitor.calibration.settings import CalibrationSettings
from failure_monitor.graph_check.expectation import (
    CLOUD,
    FLOAT64,
    IMAGE,
    JOINTS,
    TEXT,
    TopicNames,
)
from failure_monitor.graph_check.finding import Level
from failure_monitor.graph_check.inspection import inspect_graph
from failure_monitor.graph_check.snapshot import (
    ActionSnapshot,
    Endpoint,
    GateSnapshot,
    GraphSnapshot,
    Messages,
    Mismatch,
    MonitorSnapshot,
    SubscribedTopic,
    TopicSnapshot,
)
from failure_monitor.monitoring.alarm import AlarmState
from failure_monitor.policy_description import PolicyDescription
from failure_monitor.schema import plain, read

FINGERS = "/gripper/joint_states"
EMBEDDING, CHUNKS, JOINT_STATES = "/policy/embedding", "/policy/action_chunks", "/joint_states"
MONITOR, GATE = "/failure_monitor", "/failure_monitor_gate"
ALARM, PERMIT = f"{MONITOR}/alarm", f"{MONITOR}/permit"
COMMAND_IN, COMMAND_OUT = "/command_in", "/command_out"
COMMANDS, BOOL, STATUS = (
    "std_msgs/msg/Float64MultiArray",
    "std_msgs/msg/Bool",
    "diagnostic_msgs/msg/DiagnosticStatus",
)
HASH = "ab" * 32


def end(node: str, message_type: str, *, reliable: bool = True) -> Endpoint:
    return Endpoint(node=node, message_type=message_type, reliable=reliable)


def came(**changes) -> Messages:
    return Messages(**{"received": 50, "rate": 10.0, "period": 0.1, "lag": 0.02, **changes})


MONITOR_NODE = MonitorSnapshot(
    node=MONITOR,
    state=AlarmState.NOMINAL,
    reason="all is well",
    permits=True,
    diagnosed=True,
    inputs={
        EMBEDDING: SubscribedTopic(named="policy/embedding", message_type=CLOUD),
        CHUNKS: SubscribedTopic(named="policy/action_chunks", message_type=CLOUD),
        JOINT_STATES: SubscribedTopic(named="joint_states", message_type=JOINTS),
    },
    scoring={"bundle": "my_bundle", "bundle_sha256": HASH},
    parameters={},
)
GATE_NODE = GateSnapshot(
    node=GATE,
    said="open: the monitor permits",
    passes=True,
    permits=(PERMIT,),
    inputs=(COMMAND_IN,),
    outputs=(COMMAND_OUT,),
    parameters={},
)
TOPICS = {
    EMBEDDING: TopicSnapshot(
        publishers=(end("/policy", CLOUD),),
        subscribers=(end(MONITOR, CLOUD),),
        messages=came(shape=(6,)),
    ),
    CHUNKS: TopicSnapshot(
        publishers=(end("/policy", CLOUD),),
        subscribers=(end(MONITOR, CLOUD),),
        messages=came(shape=(16, 5, 3), names=("dx", "dy", "gripper")),
    ),
    JOINT_STATES: TopicSnapshot(
        publishers=(end("/robot", JOINTS, reliable=False),),
        subscribers=(end(MONITOR, JOINTS, reliable=False),),
        messages=came(rate=500.0, period=0.002, shape=(1,), names=("elbow",)),
    ),
    ALARM: TopicSnapshot(publishers=(end(MONITOR, STATUS),)),
    PERMIT: TopicSnapshot(publishers=(end(MONITOR, BOOL),), subscribers=(end(GATE, BOOL),)),
    COMMAND_IN: TopicSnapshot(
        publishers=(end("/policy", COMMANDS),), subscribers=(end(GATE, COMMANDS),)
    ),
    COMMAND_OUT: TopicSnapshot(
        publishers=(end(GATE, COMMANDS),), subscribers=(end("/controller", COMMANDS),)
    ),
}
HEALTHY = GraphSnapshot(
    domain="7",
    seconds=5.0,
    topics=TOPICS,
    published={
        name: tuple(one.message_type for one in t.publishers) for name, t in TOPICS.items()
    },
    monitors=(MONITOR_NODE,),
    gates=(GATE_NODE,),
)


def with_topic(name: str, **changes) -> GraphSnapshot:
    topic = replace(HEALTHY.topic(name), **changes)
    return replace(HEALTHY, topics={**TOPICS, name: topic})


def with_monitor(**changes) -> GraphSnapshot:
    return replace(HEALTHY, monitors=(replace(MONITOR_NODE, **changes),))


def with_gate(**changes) -> GraphSnapshot:
    return replace(HEALTHY, gates=(replace(GATE_NODE, **changes),))


@pytest.fixture
def judged(bundle):
    def judged(seen: GraphSnapshot, **options) -> list[str]:
        """What is not ok, a line each."""
        options = {"bundle": bundle, "sha256": HASH, **options}
        found = inspect_graph(seen, options.pop("names", TopicNames()), **options)
        return [
            f"{finding.level.value} {finding.about}: {finding.message}"
            for finding in found
            if finding.level is not Level.OK
        ]

    return judged


def test_a_healthy_graph_has_an_ok_for_everything(bundle):
    found = inspect_graph(HEALTHY, TopicNames(), bundle=bundle, sha256=HASH)
    assert {finding.level for finding in found} == {Level.OK}
    assert {finding.about for finding in found} == {
        *(EMBEDDING, CHUNKS, JOINT_STATES, MONITOR, GATE, PERMIT, COMMAND_IN, COMMAND_OUT)
    }
    told = {finding.about: finding.message for finding in found}
    assert told[EMBEDDING] == (
        "observation embeddings of /policy, shape (6,), 10/s, stamps 0.02 s old"
    )
    assert told[COMMAND_OUT] == "/failure_monitor_gate alone commands /controller"


def test_nobody_there_is_wrong(judged):
    empty = GraphSnapshot(domain="7", seconds=5.0)
    assert [line.partition(":")[0] for line in judged(empty, bundle=None, sha256=None)] == [
        "wrong monitor",
        "wrong gate",
    ]
    lines = judged(empty)
    assert lines[0].startswith("wrong /policy/embedding: no node publishes observation embeddings")
    assert lines[2].startswith("look /joint_states: no node publishes joint states")


def test_a_snapshot_survives_its_way_between_processes():
    assert read(GraphSnapshot, json.loads(json.dumps(plain(HEALTHY)))) == HEALTHY


MESSAGES = [
    (EMBEDDING, {"shape": (7,)}, r"wrong .* have shape \(7,\), the bundle expects \(6,\)"),
    (CHUNKS, {"shape": (8, 5, 3)}, r"wrong .*\(8, 5, 3\), the bundle expects \(16, 5, 3\)"),
    (
        CHUNKS,
        {"shape": (16, 5, 3), "names": ("a", "b", "c")},
        "wrong .* actions are a, b, c, the bundle expects dx, dy, gripper",
    ),
    (EMBEDDING, {"fault": "3 of 6 values are NaN"}, "wrong .*3 of 6 values are NaN"),
    (EMBEDDING, {"period": 0.13}, "look .*every 0.13 s, the bundle's rollouts have one every 0.1"),
    (
        EMBEDDING,
        {"period": 0.05},
        "wrong .*every 0.05 s, the bundle's rollouts have one every 0.1",
    ),
    (EMBEDDING, {"period": 1.0}, "wrong .*a decision every 1 s"),
    (EMBEDDING, {"period": None}, "look .*too few decisions came"),
    (EMBEDDING, {"lag": -2.0}, "wrong .*2 s ahead of this machine's clock, and 0.5 s are allowed"),
    (EMBEDDING, {"lag": 1.2}, "look .*1.2 s old on arrival"),
    (
        EMBEDDING,
        {"lag": 1.45},
        r"wrong .*1.45 s old on arrival, and the next decision comes 0.1 s later, and a plan may "
        r"be executed for 1.5 s after its observation \(max_plan_age\)",
    ),
    (CHUNKS, {"lag": 2.0, "shape": (16, 5, 3)}, r"wrong .*2 s old .*\(max_plan_age\)"),
    (EMBEDDING, {"lag": 1.7e9}, "wrong .*behind this machine's clock, as if of another clock"),
    (EMBEDDING, {"lag": None}, "wrong .*have no stamp"),
    (JOINT_STATES, {"lost": 0.5}, "look .*50% of the messages"),
]


@pytest.mark.parametrize(("topic", "changes", "sentence"), MESSAGES)
def test_what_comes_is_compared_with_the_bundle(judged, topic, changes, sentence):
    messages = replace(HEALTHY.topic(topic).messages, **changes)
    [line] = judged(with_topic(topic, messages=messages))
    assert line.partition(" ")[2].startswith(f"{topic}: ")
    assert_matches(sentence, line)


def assert_matches(sentence: str, line: str) -> None:
    assert re.match(sentence, line), line


def test_a_bundle_without_an_embedding_expects_none(judged, bundle):
    policy = replace(bundle.description.policy, embedding_size=0)
    plain = replace(bundle, description=replace(bundle.description, policy=policy))
    [line] = judged(HEALTHY, bundle=plain)
    assert_matches(
        "wrong .*policy publishes observation embeddings, and the bundle was calibrated without",
        line,
    )
    assert judged(with_topic(EMBEDDING, publishers=(), messages=None), bundle=plain) == []
    # The parameter of the monitor allows it.
    parameters = {**MONITOR_NODE.parameters, "embedding_topic": ""}
    seen = with_monitor(parameters=parameters)
    assert judged(seen, bundle=plain) == []


def test_a_pause_between_rollouts_is_no_loss(judged):
    messages = replace(HEALTHY.topic(EMBEDDING).messages, lost=0.9)
    assert judged(with_topic(EMBEDDING, messages=messages)) == []


def test_a_silent_policy_may_be_between_rollouts_and_silent_joints_may_not(judged):
    [line] = judged(with_topic(EMBEDDING, messages=Messages()))
    assert line.startswith("look /policy/embedding: /policy published no observation embeddings")
    [line] = judged(with_topic(JOINT_STATES, messages=None))
    assert line.startswith("wrong /joint_states: /robot published no joint states in 5 s")


@pytest.mark.parametrize("inputs", [MONITOR_NODE.inputs, {}])
def test_a_robot_without_joints_needs_no_joint_states(judged, inputs):
    seen = with_topic(JOINT_STATES, messages=None, publishers=())
    monitor = replace(MONITOR_NODE, inputs=inputs, parameters={})
    [line] = judged(replace(seen, monitors=(monitor,)))
    assert "'max_joint_state_age' 0.0 for a robot without joints" in line
    without = replace(monitor, parameters={"max_joint_state_age": 0.0})
    assert judged(replace(seen, monitors=(without,))) == []


def test_joint_states_that_are_no_more_than_a_part_of_decisions_are_not_advised_against(
    judged, bundle
):
    position = PositionsSection(name="joint_states", message_type=JOINTS)
    description = replace(bundle.description, positions_topic=position)
    monitor = replace(MONITOR_NODE, parameters={"max_joint_state_age": 0.0})
    seen = replace(with_topic(JOINT_STATES, messages=None, publishers=()), monitors=(monitor,))
    [line] = judged(seen, bundle=replace(bundle, description=description))
    assert line.startswith("look /joint_states: no node publishes joint states")
    assert "max_joint_state_age" not in line


def test_further_joints_that_a_score_needs_are_expected(judged, bundle):
    joints = JointsSection(quantities=("finger/position",), topics=("/joint_states", FINGERS))
    needing = replace(bundle, description=replace(bundle.description, joints=joints))
    topic = {FINGERS: SubscribedTopic(named=FINGERS, message_type=JOINTS)}
    monitor = replace(MONITOR_NODE, inputs={**MONITOR_NODE.inputs, **topic})
    seen = replace(HEALTHY, monitors=(monitor,))
    [line] = judged(seen, bundle=needing)
    assert line.startswith(f"wrong {FINGERS}: no node publishes further joint states")
    assert "more_joint_states_topics" in line
    [line] = judged(
        replace(HEALTHY, monitors=()),
        bundle=needing,
        names=TopicNames(more_joint_states=(FINGERS,)),
    )[:1]
    assert line.startswith(f"wrong {FINGERS}: no node publishes further joint states")


def test_commands_as_sent_that_a_score_needs_are_expected(judged, bundle):
    twist, sent = "geometry_msgs/msg/Twist", "/arm/command"
    joints = JointsSection(
        quantities=("finger/position",), commands=("linear.x",), commands_topic=sent
    )
    needing = replace(bundle, description=replace(bundle.description, joints=joints))
    topic = {sent: SubscribedTopic(named=sent, message_type=twist)}
    monitor = replace(MONITOR_NODE, inputs={**MONITOR_NODE.inputs, **topic})
    [line] = judged(replace(HEALTHY, monitors=(monitor,)), bundle=needing)
    assert line.startswith(f"wrong {sent}: no node publishes commands as sent")
    assert "'commands_topic'" in line
    [line] = judged(
        replace(HEALTHY, monitors=()), bundle=needing, names=TopicNames(commands=(sent, twist))
    )[:1]
    assert line.startswith(f"wrong {sent}: no node publishes commands as sent")


def test_a_missing_topic_names_those_of_its_type(judged):
    seen = with_topic(EMBEDDING, publishers=(), messages=None)
    seen = replace(seen, published={**seen.published, "/vla/features": (CLOUD,)})
    [line] = judged(seen)
    assert line.startswith("wrong /policy/embedding: no node publishes observation embeddings")
    assert "/vla/features" in line


def test_another_type_and_best_effort_name_both_sides(judged):
    [line] = judged(with_topic(EMBEDDING, publishers=(end("/policy", FLOAT64),)))
    assert f"/policy publishes {FLOAT64}, expected observation embeddings as {CLOUD}" in line
    [line] = judged(with_topic(EMBEDDING, publishers=(end("/policy", CLOUD, reliable=False),)))
    assert "/policy offers best effort, the monitor asks for reliable" in line


def test_two_policies_contradict_each_other(judged):
    [line] = judged(with_topic(EMBEDDING, publishers=(end("/a", CLOUD), end("/b", CLOUD))))
    assert line.startswith("wrong /policy/embedding: 2 publishers (/a, /b)")


def test_qualities_of_service_that_do_not_go_together_are_named_with_both_ends(judged):
    pair = Mismatch(publisher=GATE, subscriber="/controller", reason="best effort and reliable")
    [line] = judged(with_topic(COMMAND_OUT, mismatches=(pair,)))
    assert line == (
        "wrong /command_out: /controller receives nothing from /failure_monitor_gate: their "
        "qualities of service are incompatible (best effort and reliable); change one of them"
    )


def test_a_slow_bundle_and_a_short_decision_age_do_not_go_together(judged, bundle):
    slow = {"decision_period": 2.0, "longest_decision_gap": 2.1}
    description = replace(bundle.description, **slow)
    slow_bundle = replace(bundle, description=description)
    seen = with_monitor(parameters={"max_decision_age": 1.0})
    lines = judged(seen, bundle=slow_bundle)
    assert any(line.startswith("wrong max_decision_age: is 1 s") for line in lines)
    lines = judged(HEALTHY, bundle=slow_bundle)
    assert not any("max_decision_age" in line for line in lines)


def test_a_bound_on_the_age_of_plans_that_calibration_exceeded_is_wrong(judged, bundle):
    description = replace(bundle.description, longest_plan_age=2.5)
    slow_bundle = replace(bundle, description=description)
    [line] = judged(with_monitor(parameters={"max_plan_age": 2.0}), bundle=slow_bundle)
    assert line.startswith(
        "wrong max_plan_age: is 2 s, and in the bundle's rollouts plans were executed for up to "
        "2.5 s after their observation"
    )
    for allowed in (-1.0, 0.0, 3.0):
        assert judged(with_monitor(parameters={"max_plan_age": allowed}), bundle=slow_bundle) == []


def test_old_stamps_are_old_plans_by_the_bound_that_the_monitor_has(judged, bundle):
    messages = replace(HEALTHY.topic(EMBEDDING).messages, lag=2.5)
    seen = with_topic(EMBEDDING, messages=messages)

    def found(given=bundle, **parameters) -> str:
        monitors = (replace(MONITOR_NODE, parameters=parameters),)
        [line] = judged(replace(seen, monitors=monitors), bundle=given)
        return line.partition(" ")[0]

    assert found() == "wrong"
    assert found(max_plan_age=0.0) == found(max_plan_age=3.0) == "look"
    # An age of decisions that is larger allows older plans, too.
    assert found(max_decision_age=2.0) == "look"
    assert found(rollout_boundaries="pause", rollout_pause=2.0) == "look"
    older = replace(bundle, description=replace(bundle.description, longest_plan_age=None))
    assert found(older) == "look"


def test_a_bundle_of_unknown_period_says_nothing_of_rates(judged, bundle):
    description = replace(bundle.description, decision_period=None, longest_plan_age=None)
    messages = replace(HEALTHY.topic(EMBEDDING).messages, period=3.0)
    seen = with_topic(EMBEDDING, messages=messages)
    assert judged(seen, bundle=replace(bundle, description=description)) == []


# Monitors


MONITORS = [
    ({"state": None}, "wrong /failure_monitor: publishes nothing on /failure_monitor/alarm"),
    ({"scoring": {}, "reason": "no folder x"}, "wrong /failure_monitor: runs no bundle: no fold"),
    ({"diagnosed": False}, "look /failure_monitor: publishes nothing on /diagnostics"),
    ({"parameters": None}, "look /failure_monitor: did not answer with its parameters"),
    (
        {"scoring": {"bundle": "old", "bundle_sha256": "cd" * 32}},
        r"wrong /failure_monitor: runs the bundle old \(cdcdcdcdcdcd\), not the one that is "
        r"checked \(abababababab\)",
    ),
    (
        {"state": AlarmState.STALE, "permits": False, "reason": "no decision"},
        "look /failure_monitor: STALE, permits no command: no decision",
    ),
    ({"parameters": {"use_sim_time": True}}, "wrong .* has use_sim_time, but no node publishes"),
    (
        {"parameters": {"rollout_boundaries": "topic", "rollout_topic": "rollout/active"}},
        "wrong /rollout/active: no node publishes when rollouts start",
    ),
    (
        {"parameters": {"heartbeat_period": 0.25}},
        "wrong /failure_monitor_gate: 'permit_lease' is 0.2 s, and /failure_monitor sends a "
        "permit",
    ),
    ({"parameters": {"heartbeat_period": 0.1}}, "look /failure_monitor_gate: 'permit_lease' is 0"),
]


@pytest.mark.parametrize(("changes", "sentence"), MONITORS)
def test_what_is_amiss_with_a_monitor(judged, changes, sentence):
    [line] = judged(with_monitor(**changes))
    assert_matches(sentence, line)


def test_who_claims_success_and_labels_rollouts_is_there_and_of_the_right_type(judged):
    claimed = with_monitor(parameters={"success_topic": "done"})
    [line] = judged(claimed)
    assert line.startswith("wrong /done: no node claims success there")
    done = TopicSnapshot(publishers=(end("/detector", BOOL),))
    assert not judged(replace(claimed, topics={**claimed.topics, "/done": done}))
    label = TopicSnapshot(publishers=(end("/panel", "std_msgs/msg/String"), end(MONITOR, BOOL)))
    [line] = judged(with_topic("/rollout/label", publishers=label.publishers))
    assert_matches("wrong /rollout/label: /panel publishes std_msgs/msg/String", line)


def test_two_monitors_of_a_name_are_wrong(judged):
    [line] = judged(with_topic(ALARM, publishers=(end(MONITOR, STATUS), end(MONITOR, STATUS))))
    assert line.startswith("wrong /failure_monitor: 2 monitors of this name")


def test_a_permit_that_stops_nothing_is_wrong(judged):
    [line] = judged(with_topic(PERMIT, subscribers=()))
    assert line.startswith("wrong /failure_monitor/permit: no node subscribes to the permit")


def test_a_foreign_gate_is_named(judged):
    foreign = (end("/arm_gate", BOOL),)
    seen = replace(with_topic(PERMIT, subscribers=foreign), gates=())
    lines = judged(seen)
    assert any("/arm_gate does: make sure that it stops the robot" in line for line in lines)


def test_a_simulated_clock_that_the_monitor_does_not_use_is_worth_a_look(judged):
    published = {**HEALTHY.published, "/clock": ("rosgraph_msgs/msg/Clock",)}
    [line] = judged(replace(HEALTHY, published=published))
    assert line.startswith("look /failure_monitor: has no use_sim_time")


def test_a_monitor_that_is_not_active_is_checked_by_the_names_of_topics(judged):
    seen = with_topic(EMBEDDING, publishers=(), messages=None)
    idle = replace(MONITOR_NODE, inputs={})
    lines = judged(replace(seen, monitors=(idle,)))
    assert any(line.startswith("wrong /policy/embedding: no node") for line in lines)


def test_a_monitor_that_is_not_active_tells_its_topics_by_its_parameters(judged):
    topics = {**TOPICS, "/arm/features": TOPICS[EMBEDDING], "/chunks": TOPICS[CHUNKS]}
    parameters = {"embedding_topic": "features", "action_chunks_topic": "/chunks"}
    idle = replace(
        MONITOR_NODE,
        node="/arm/failure_monitor",
        inputs={},
        parameters={**parameters, "joint_states_topic": "/joint_states"},
    )
    seen = replace(HEALTHY, topics=topics, monitors=(idle,))
    lines = judged(seen, names=TopicNames(embedding="/nowhere"))
    assert not any(one in line for line in lines for one in ("/nowhere", "features", "/chunks"))


# The way of commands


GATES = [
    ({"said": ""}, "wrong /failure_monitor_gate: does not publish its state"),
    ({"level": 2, "said": "it is broken"}, "wrong /failure_monitor_gate: it is broken"),
    (
        {"passes": False, "said": "closed: no permit"},
        "look /failure_monitor_gate: closed: no permit",
    ),
    ({"parameters": {"inform_only": True}}, "look /failure_monitor_gate: open"),
]


@pytest.mark.parametrize(("changes", "sentence"), GATES)
def test_what_is_amiss_with_a_gate(judged, changes, sentence):
    [line] = judged(with_gate(**changes))
    assert_matches(sentence, line)


def test_who_publishes_past_the_gate_is_named(judged):
    own = end(GATE, COMMANDS)
    [line] = judged(with_topic(COMMAND_OUT, publishers=(own, end("/teleop", COMMANDS))))
    assert line == (
        "wrong /command_out: /teleop publishes directly to the robot, past /failure_monitor_gate, "
        "and is not stopped by it: let it publish on /command_in"
    )
    [line] = judged(with_topic(COMMAND_OUT, publishers=(own, end("/policy", COMMANDS))))
    assert "/policy, which also commands through the gate, publishes directly to the robot" in line


def test_two_gates_of_a_name_are_wrong(judged):
    [line] = judged(with_topic(COMMAND_OUT, publishers=(end(GATE, COMMANDS), end(GATE, COMMANDS))))
    assert line.startswith("wrong /command_out: 2 gates called /failure_monitor_gate")


def test_who_listens_in_front_of_the_gate_is_named_unless_it_records(judged):
    own = end(GATE, COMMANDS)
    [line] = judged(with_topic(COMMAND_IN, subscribers=(own, end("/controller", COMMANDS))))
    assert line.startswith("look /command_in: /controller subscribes to commands in front of")
    recorder = end("/rosbag2_recorder", COMMANDS)
    assert judged(with_topic(COMMAND_IN, subscribers=(own, recorder))) == []


def test_a_command_path_without_ends_is_worth_a_look(judged):
    [line] = judged(with_topic(COMMAND_IN, publishers=()))
    assert line.startswith("look /command_in: no node publishes commands")
    [line] = judged(with_topic(COMMAND_OUT, subscribers=()))
    assert line.startswith("look /command_out: no node subscribes")


def test_commands_of_another_type_are_wrong(judged):
    twist = "geometry_msgs/msg/Twist"
    [line] = judged(with_topic(COMMAND_IN, publishers=(end("/policy", twist),)))
    assert f"/policy uses {twist}, {GATE} {COMMANDS}" in line


def test_a_permit_that_nobody_publishes_is_wrong(judged):
    other = "/arm/failure_monitor/permit"
    lines = judged(with_gate(permits=(other,)))
    assert any(
        line.startswith(f"wrong {other}: no node publishes the permit that {GATE} needs")
        for line in lines
    )


def test_two_publishers_of_a_permit_are_wrong(judged):
    publishers = (end(MONITOR, BOOL), end("/leg/failure_monitor", BOOL))
    [line] = judged(with_topic(PERMIT, publishers=publishers))
    assert line.startswith("wrong /failure_monitor/permit: 2 publishers of one permit")


def test_another_topic_of_interventions_at_the_gate_is_worth_a_look(judged):
    [line] = judged(with_gate(parameters={"intervention_topic": "takeover"}))
    assert "learns of a human who intervenes by '/takeover', and /failure_monitor by" in line


# What the policy does not publish


def test_cameras_are_expected_where_the_monitor_runs_the_encoder(judged):
    inputs = {
        "/camera": SubscribedTopic(named="camera", message_type=IMAGE),
        JOINT_STATES: MONITOR_NODE.inputs[JOINT_STATES],
    }
    camera = TopicSnapshot(
        publishers=(end("/driver", IMAGE, reliable=False),),
        messages=came(period=1 / 30, rate=30.0, shape=(480, 640), names=("rgb8",)),
    )
    seen = replace(HEALTHY, topics={**TOPICS, "/camera": camera})

    def of(parameters: dict) -> list[str]:
        parameters = {"rollout_boundaries": "none", **parameters}
        monitor = replace(MONITOR_NODE, inputs=inputs, parameters=parameters)
        return judged(replace(seen, monitors=(monitor,)))

    assert of({"observation_rate": 10.0}) == []
    [line] = of({})
    assert line.startswith("wrong /camera: a decision every 0.0333 s, the bundle's rollouts")
    [line] = of({"observation_rate": 10.0, "images_reliable": True})
    assert "/driver offers best effort" in line
    [line] = of({"observation_rate": 10.0, "rollout_boundaries": "service"})
    assert line.startswith(f"look {MONITOR}: runs the policy's models on every image from")
    assert "('rollout_boundaries' topic)" in line


def test_a_rate_that_is_left_to_the_bundle_is_the_bundles(judged, bundle):
    made = BlackBoxSection(observation_rate=10.0, matching_tolerance=0.05, noise_seed=0)
    description = replace(bundle.description, black_box=made)
    black_box = replace(bundle, description=description)
    camera = TopicSnapshot(
        publishers=(end("/driver", IMAGE),), messages=came(period=1 / 30, rate=30.0)
    )
    inputs = {"/camera": SubscribedTopic(named="camera", message_type=IMAGE)}
    parameters = {"observation_rate": -1.0, "rollout_boundaries": "none"}
    monitor = replace(MONITOR_NODE, inputs=inputs, parameters=parameters)
    seen = replace(HEALTHY, topics={**TOPICS, "/camera": camera}, monitors=(monitor,))
    assert judged(seen, bundle=black_box) == []
    idle = replace(seen, monitors=(replace(monitor, inputs={}),))
    names = TopicNames(embedding="", action_chunks="", cameras=("/camera",))
    assert judged(idle, bundle=black_box, names=names) == []


def test_measured_positions_are_expected_where_a_score_asks_for_them(judged):
    pose = "geometry_msgs/msg/PoseStamped"
    inputs = {**MONITOR_NODE.inputs, "/tool": SubscribedTopic(named="tool", message_type=pose)}
    [line] = judged(with_monitor(inputs=inputs))
    assert line.startswith("wrong /tool: no node publishes measured positions")


def test_external_scores_are_expected_on_their_topics(rollouts, policy):
    settings = CalibrationSettings(scores=("ace", "external:energy"), folds=3, jobs=1)
    energetic = [
        replace(rollout, external={"energy": 0.1 * rollout.stamps}) for rollout in rollouts
    ]
    bundle = with_external_topics(calibrate(energetic, policy, settings), {"energy": "/energy"})
    assert bundle.external_topics == {"energy": "/energy"}
    idle = replace(MONITOR_NODE, inputs={})
    seen = replace(HEALTHY, monitors=(idle,))
    names = TopicNames(external=bundle.external_topics)
    found = inspect_graph(seen, names, bundle=bundle, sha256=HASH)
    [finding] = [finding for finding in found if finding.about == "/energy"]
    assert finding.level is Level.WRONG
    assert finding.message.startswith("no node publishes the external score energy")


def test_an_external_score_is_expected_in_the_type_that_was_recorded(judged, rollouts, policy):
    settings = CalibrationSettings(scores=("ace", "external:energy"), folds=3, jobs=1)
    energetic = [
        replace(rollout, external={"energy": 0.1 * rollout.stamps}) for rollout in rollouts
    ]
    bundle = with_external_topics(calibrate(energetic, policy, settings), {"energy": "/energy"})
    bundle = with_message_types(bundle, {"/energy": "std_msgs/msg/Float32", "/x": "anything"})
    assert bundle.description.message_types == {"/energy": "std_msgs/msg/Float32"}
    idle = replace(MONITOR_NODE, inputs={})
    topic = TopicSnapshot(publishers=(end("/policy", FLOAT64),))
    seen = replace(HEALTHY, monitors=(idle,), topics={**HEALTHY.topics, "/energy": topic})
    found = inspect_graph(
        seen, TopicNames(external=bundle.external_topics), bundle=bundle, sha256=HASH
    )
    said = [finding.message for finding in found if finding.about == "/energy"]
    assert any("as std_msgs/msg/Float32" in message for message in said), said


TRAJECTORIES = "/arm_controller/follow_joint_trajectory"
GRIPPER = "/gripper/close"
FOLLOW, CLOSE = "control_msgs/action/FollowJointTrajectory", "control_msgs/action/GripperCommand"


def with_action(name: str, **changes) -> GraphSnapshot:
    action = ActionSnapshot(**{"servers": ("/arm_controller",), **changes})
    return replace(HEALTHY, actions={name: action})


@pytest.mark.parametrize(
    ("name", "action", "sentence"),
    [
        (TRAJECTORIES, {"action_type": FOLLOW}, "goals of FollowJointTrajectory, which pass no"),
        (GRIPPER, {"action_type": CLOSE}, "goals of GripperCommand, which pass no gate"),
        (TRAJECTORIES, {}, "goals of an action, which pass no gate"),
        ("/move", {"servers": ("/controller",)}, "/controller moves the robot by goals"),
        (TRAJECTORIES, {"senders": ("/move_group",)}, r"\(sent by /move_group\)"),
        (TRAJECTORIES, {}, r"let a stop cancel them .*\(halt_menu, kind cancel_goals\)"),
        (
            TRAJECTORIES,
            {"cancelling": (MONITOR,)},
            "a stop of /failure_monitor cancels them, so stop what sends them as well",
        ),
    ],
)
def test_an_action_that_moves_the_robot_is_a_way_beside_the_gate(judged, name, action, sentence):
    [line] = judged(with_action(name, **action))
    assert line.startswith(f"look {name}: ")
    assert re.search(sentence, line), line
    assert "docs/safety.md" in line


def test_a_policy_that_sends_goals_is_not_stopped_by_the_gate(judged):
    [line] = judged(with_action(TRAJECTORIES, action_type=FOLLOW, senders=("/policy",)))
    assert line.startswith(f"wrong {TRAJECTORIES}: ")


@pytest.mark.parametrize(
    "action",
    [
        {"action_type": "nav2_msgs/action/ComputePathToPose"},
        {"action_type": FOLLOW, "servers": ()},
    ],
)
def test_an_action_that_moves_nothing_is_not_named(judged, action):
    assert judged(with_action("/plan", **action)) == []


@pytest.mark.law(1)
def test_a_gate_that_owes_no_stop_is_named_with_what_the_user_vouches_for(judged):
    parameters = {
        "commands": ["arm", "base", "gripper"],
        "arm.safe_command": "nothing",
        "base.safe_command": "decelerate",
        "gripper.safe_command": "nothing",
    }
    [line] = judged(with_gate(parameters=parameters))
    assert line.startswith(f"look {GATE}: sends nothing to stop arm and gripper")
    assert "it owes no stop: you vouch that the robot stops by itself" in line
    parameters |= {"arm.safe_command": "hold", "gripper.safe_command": "hold"}
    assert judged(with_gate(parameters=parameters)) == []


@pytest.mark.law(5)
def test_a_gate_that_needs_longer_to_stop_than_it_is_granted_is_named(judged):
    [line] = judged(with_gate(longest_stop=20.04))
    assert line.startswith(f"look {GATE}: needs 20.0 s to stop the robot")
    assert "'stop_timeout' is 10 s" in line
    assert judged(with_gate(longest_stop=9.9)) == []
    assert judged(with_gate(longest_stop=20.04, parameters={"stop_timeout": 70.0})) == []


# What the response table asks for

SPEED_SCALE = f"{MONITOR}/speed_scale"
REPLAN = {"response.alarm": "replan"}
SLOW = {"response.nominal": "slow", "response.caution": "slow"}


def with_subscribers(parameters: dict, *nodes: str, **gate: object) -> GraphSnapshot:
    number = "std_msgs/msg/Float64"
    topic = TopicSnapshot(subscribers=tuple(end(node, number) for node in nodes))
    return replace(
        HEALTHY,
        topics={**TOPICS, SPEED_SCALE: topic},
        monitors=(replace(MONITOR_NODE, parameters=parameters),),
        gates=(replace(GATE_NODE, parameters=gate),),
    )


@pytest.mark.parametrize(
    ("parameters", "nodes", "sentence"),
    [
        (REPLAN, (), f"wrong {SPEED_SCALE}: 'response.alarm' is 'replan', but nothing slows the"),
        (REPLAN, (), "so in ALARM /failure_monitor halts instead"),
        (
            REPLAN,
            ("/record",),
            "takes /record for what does, and lets commands pass at full speed",
        ),
        (SLOW, (), f"look {SPEED_SCALE}: 'response.nominal' is 'slow' and 'response.caution' is"),
        (SLOW, ("/incident_recorder",), "commands pass at full speed; let the gate slow"),
    ],
)
def test_a_table_that_slows_where_nothing_does_is_named(judged, parameters, nodes, sentence):
    [line] = judged(with_subscribers(parameters, *nodes))
    assert sentence in line
    assert judged(with_subscribers({}, *nodes)) == []


@pytest.mark.parametrize("parameters", [REPLAN, SLOW])
@pytest.mark.parametrize("node", [GATE, "/controller"])
def test_a_table_that_slows_is_well_where_something_obeys(judged, parameters, node):
    assert judged(with_subscribers(parameters, node)) == []


def test_commands_that_are_not_slowed_beside_others_that_are_are_named(judged):
    gate = {"commands": ["arm", "base"], "arm.scaled": False, "base.scaled": True}
    [line] = judged(with_subscribers(REPLAN, GATE, **gate))
    assert line.startswith(f"look {SPEED_SCALE}: {GATE} does not slow 'arm'")


FORMAT = "/policy/format"
STATED = PolicyDescription(policy="act", checkpoint="c" * 64, checkpoint_name="outputs/act")


def stating(text: str | None, *publishers: Endpoint, **changes) -> GraphSnapshot:
    """A graph whose policy states something; nothing that arrives for None."""
    messages = Messages() if text is None else Messages(received=1, text=text, **changes)
    topic = TopicSnapshot(publishers=publishers or (end("/policy", TEXT),), messages=messages)
    return replace(HEALTHY, topics={**TOPICS, FORMAT: topic})


def test_the_policy_of_the_bundle_is_named(bundle):
    stated = with_stated_policy(bundle, STATED)
    found = inspect_graph(stating(STATED.to_json()), TopicNames(), bundle=stated, sha256=HASH)
    [finding] = [finding for finding in found if finding.about == FORMAT]
    assert (finding.level, finding.message) == (
        Level.OK,
        "act cccccccccccc outputs/act of /policy",
    )


@pytest.mark.parametrize(
    ("seen", "why"),
    [
        (HEALTHY, "no node publishes what the policy is, and the bundle knows: start the policy"),
        (stating(None), "nothing came of what /policy states: let it publish latched"),
        (
            stating(replace(STATED, checkpoint="d" * 64).to_json()),
            r"\(checkpoint dddddddddddd \(outputs/act\) against cccccccccccc \(outputs/act\)\)",
        ),
        (stating("{}"), "does not state its policy, checkpoint"),
        (stating("{", fault="the policy's description is invalid"), "description is invalid"),
        (stating("{}", end("/policy", BOOL)), f"/policy publishes {BOOL}, expected what"),
        (stating("{}", end("/a", TEXT), end("/b", TEXT)), r"2 publishers \(/a, /b\)"),
    ],
    ids=["missing", "volatile", "another", "less", "invalid", "type", "two"],
)
def test_a_policy_that_is_not_the_bundles_or_unknown_is_wrong(judged, bundle, seen, why):
    [line] = judged(seen, bundle=with_stated_policy(bundle, STATED))
    assert re.match(f"wrong {FORMAT}: .*{why}", line)


def test_an_older_bundle_needs_no_statement(judged, bundle):
    assert judged(HEALTHY) == []
    assert judged(stating(STATED.to_json())) == []
    [line] = judged(stating('{"action_kind": "position"}'))
    assert "action kind position against delta" in line
    # Without a bundle there is nothing to compare with.
    assert judged(stating(STATED.to_json()), bundle=None) == []
