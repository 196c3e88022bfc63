# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What a monitor needs of the graph: topics, types, sizes, and the rate of decisions."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from failure_monitor.bundle.bundle import Bundle
from failure_monitor.bundle.description import MIN_DECISION_AGE
from failure_monitor.bundle.input_types import (
    COMPRESSED_IMAGE,
    FLOAT64,
    IMAGE,
    NUMBERS,
    image_type,
    number_type,
)
from failure_monitor.graph_check.snapshot import (
    DECISION_TYPE,
    MONITOR_DEFAULTS,
    MonitorSnapshot,
    absolute,
)
from failure_monitor.parameters.monitor import AS_CALIBRATED, NO_BOUND
from failure_monitor.parameters.parameter import named as names_in

CLOUD = DECISION_TYPE
JOINTS = "sensor_msgs/msg/JointState"
TEXT = "std_msgs/msg/String"
POSITIONS = ("geometry_msgs/msg/PoseStamped", "geometry_msgs/msg/PointStamped")


@dataclass(frozen=True)
class TopicNames:
    """The full names of the topics to expect where no active monitor names them.

    Attributes:
        embedding: the observation embedding; empty where the monitor runs the encoder itself.
        action_chunks: the action chunks; empty where the monitor runs the sampler itself.
        format: what the policy states about itself.
        joint_states: the robot's joint states.
        cameras: the cameras of the encoder that the monitor runs.
        external: the topics of external scores by the scores' names.
        positions: measured positions and their type; empty where no score needs them.
        more_joint_states: further joint states; none where no score needs them.
        tokens: the tokens of the policy's network; empty where no score needs them.
        commands: the commands as sent to the robot and their type; empty where no score needs
            them.
    """

    embedding: str = f"/{MONITOR_DEFAULTS.embedding_topic}"
    action_chunks: str = f"/{MONITOR_DEFAULTS.action_chunks_topic}"
    format: str = f"/{MONITOR_DEFAULTS.format_topic}"
    joint_states: str = f"/{MONITOR_DEFAULTS.joint_states_topic}"
    cameras: tuple[str, ...] = ()
    external: Mapping[str, str] = field(default_factory=dict)
    positions: tuple[str, str] = ("", "")
    more_joint_states: tuple[str, ...] = ()
    tokens: str = ""
    commands: tuple[str, str] = ("", "")

    @property
    def all(self) -> tuple[str, ...]:
        """All topics that are not empty."""
        named = (self.embedding, self.action_chunks, self.format, self.joint_states)
        others = (self.positions[0], self.tokens, *self.cameras, *self.external.values())
        joints = (*self.more_joint_states, self.commands[0])
        return tuple(filter(None, (*named, *others, *joints)))

    def named_by(self, monitor: MonitorSnapshot) -> TopicNames:
        """Return these names, replaced by those in a monitor's parameters if it answered."""
        if monitor.parameters is None:
            return self

        def full(own: str, parameter: str) -> str:
            named = monitor.parameter(parameter)
            return own and named and absolute(named, monitor.node)

        return replace(
            self,
            embedding=full(self.embedding, "embedding_topic"),
            action_chunks=full(self.action_chunks, "action_chunks_topic"),
            tokens=full(self.tokens, "tokens_topic"),
            format=full(self.format, "format_topic"),
            joint_states=full(self.joint_states, "joint_states_topic"),
            commands=(
                full(self.commands[0], "commands_topic") or self.commands[0],
                self.commands[1],
            ),
        )


@dataclass(frozen=True)
class ExpectedInput:
    """A topic that the monitor needs.

    Attributes:
        topic: its full name.
        what: a noun for what is published on it.
        message_type: the type of its messages.
        remedy: how to name another topic.
        reliable: whether the monitor requests reliable delivery.
        is_sole: whether a second publisher contradicts the first.
        is_steady: whether messages arrive between rollouts, too.
        is_needed: whether the monitor cannot do without it.
        shape: the shape that messages must have; None if it is unknown. (0,) where there must be
            none.
        names: the names of the actions in order; empty if they are unknown.
    """

    topic: str
    what: str
    message_type: str
    remedy: str
    reliable: bool = True
    is_sole: bool = True
    is_steady: bool = False
    is_needed: bool = True
    shape: tuple[int, ...] | None = None
    names: tuple[str, ...] = ()

    @property
    def is_unknown(self) -> bool:
        """Whether nobody may publish there, since calibration had nothing of the kind."""
        return self.shape == (0,)

    @property
    def is_of_decisions(self) -> bool:
        """Whether its stamps are those of decisions."""
        return self.message_type == CLOUD


@dataclass(frozen=True)
class Expectation:
    """What is expected where a monitor runs, or is to run.

    Attributes:
        inputs: the topics that it needs.
        period: seconds from one decision to the next in calibration; None if it is unknown.
        max_lead: seconds by which the stamp of a decision may be ahead of the clock.
        max_age: seconds after which a decision no longer permits commands.
        max_plan_age: seconds for which a plan may be executed after its observation; None for no
            bound.
        longest_plan_age: the longest such time in calibration; None if it is unknown.
        observation_rate: decisions per second that the monitor makes of images; 0 for one of every
            image, None where the policy makes the decisions.
    """

    inputs: tuple[ExpectedInput, ...]
    period: float | None = None
    max_lead: float = MONITOR_DEFAULTS.max_stamp_lead
    max_age: float = MIN_DECISION_AGE
    max_plan_age: float | None = None
    longest_plan_age: float | None = None
    observation_rate: float | None = None


def expect_by_names(
    names: TopicNames, bundle: Bundle | None, *, watches_joints: bool = True
) -> Expectation:
    """Return what is expected where no active monitor names its subscriptions.

    Args:
        names: the topics.
        bundle: what the monitor is to run; None if it is unknown.
        watches_joints: whether it will withdraw its permit without joint states.
    """
    inputs = []
    if names.embedding:
        inputs.append(_embedding(names.embedding, bundle))
    if names.action_chunks:
        inputs.append(_chunks(names.action_chunks, bundle))
    if names.tokens:
        inputs.append(_tokens(names.tokens, bundle))
    description = None if bundle is None else bundle.description
    recorded = {} if bundle is None else bundle.external_topics
    inputs += [
        _external(topic, name, number_type(recorded.get(name, topic), description))
        for name, topic in names.external.items()
    ]
    if watches_joints or _takes_joints(bundle):
        inputs.append(_joints(names.joint_states, is_needed=False, is_watched=watches_joints))
    inputs += [_more_joints(topic) for topic in names.more_joint_states]
    if names.commands[0]:
        inputs.append(_commands(*names.commands))
    topic, message_type = names.positions
    if topic and topic not in (names.joint_states, *names.more_joint_states):
        inputs.append(_positions(topic, message_type))
    inputs += [
        _camera(topic, image_type(topic, description), reliable=False) for topic in names.cameras
    ]
    max_age = _max_age(float(AS_CALIBRATED), bundle)
    return Expectation(
        tuple(inputs),
        period=_period(bundle),
        max_age=max_age,
        max_plan_age=_max_plan_age(float(AS_CALIBRATED), bundle, max_age),
        longest_plan_age=_longest_plan_age(bundle),
        observation_rate=None if names.action_chunks else _calibrated_rate(bundle),
    )


def expect_of_monitor(monitor: MonitorSnapshot, bundle: Bundle | None) -> Expectation:
    """Return what an active monitor subscribes to, with what the bundle states about it."""
    named = {
        monitor.parameter("embedding_topic"): _embedding,
        monitor.parameter("action_chunks_topic"): _chunks,
        monitor.parameter("tokens_topic"): _tokens,
    }
    scores = {} if bundle is None else {t: name for name, t in bundle.external_topics.items()}
    inputs = []
    topic = monitor.parameter("embedding_topic")
    if topic and bundle is not None and not bundle.policy.embedding_size:
        inputs.append(_embedding(absolute(topic, monitor.node), bundle))
    for topic, subscribed in monitor.inputs.items():
        if subscribed.message_type == CLOUD and subscribed.named in named:
            inputs.append(named[subscribed.named](topic, bundle))
        elif subscribed.named == _commands_topic(monitor, bundle):
            inputs.append(_commands(topic, subscribed.message_type))
        elif subscribed.message_type == JOINTS:
            watched = monitor.parameter("max_joint_state_age") > 0
            if subscribed.named in _more_joint_topics(monitor, bundle):
                inputs.append(_more_joints(topic))
            elif watched or _takes_joints(bundle):
                inputs.append(_joints(topic, is_needed=watched, is_watched=watched))
        elif subscribed.message_type in (IMAGE, COMPRESSED_IMAGE):
            reliable = monitor.parameter("images_reliable")
            inputs.append(_camera(topic, subscribed.message_type, reliable=reliable))
        elif subscribed.message_type in NUMBERS:
            name = scores.get(subscribed.named, "")
            inputs.append(_external(topic, name, subscribed.message_type))
        elif subscribed.message_type in POSITIONS:
            inputs.append(_positions(topic, subscribed.message_type))
    runs_all = not any(one.is_of_decisions for one in inputs)
    rate = monitor.parameter("observation_rate")
    if rate == AS_CALIBRATED:
        rate = _calibrated_rate(bundle)
    max_age = _max_age(monitor.parameter("max_decision_age"), bundle)
    if monitor.parameter("rollout_boundaries") == "pause":
        # A pause ends a rollout, and is no halt.
        max_age = max(max_age, monitor.parameter("rollout_pause"))
    return Expectation(
        tuple(inputs),
        period=_period(bundle),
        max_lead=monitor.parameter("max_stamp_lead"),
        max_age=max_age,
        max_plan_age=_max_plan_age(monitor.parameter("max_plan_age"), bundle, max_age),
        longest_plan_age=_longest_plan_age(bundle),
        observation_rate=rate if runs_all else None,
    )


def _period(bundle: Bundle | None) -> float | None:
    return None if bundle is None else bundle.description.decision_period


def _max_age(parameter: float, bundle: Bundle | None) -> float:
    """Return after how many seconds a decision is too old, by the parameter or the bundle."""
    if parameter != AS_CALIBRATED:
        return parameter
    return MIN_DECISION_AGE if bundle is None else bundle.description.max_decision_age


def _max_plan_age(parameter: float, bundle: Bundle | None, max_age: float) -> float | None:
    """Return after how many seconds a plan is too old, by the parameter or the bundle."""
    if parameter == AS_CALIBRATED:
        return None if bundle is None else bundle.description.max_plan_age_beside(max_age)
    return None if parameter == NO_BOUND else parameter


def _longest_plan_age(bundle: Bundle | None) -> float | None:
    return None if bundle is None else bundle.description.longest_plan_age


def _calibrated_rate(bundle: Bundle | None) -> float:
    """Return the decisions per second of a black box in calibration; 0 for every image."""
    black_box = None if bundle is None else bundle.description.black_box
    return 0.0 if black_box is None else black_box.observation_rate


def _embedding(topic: str, bundle: Bundle | None) -> ExpectedInput:
    return ExpectedInput(
        topic,
        "observation embeddings",
        CLOUD,
        "--embedding-topic here, 'embedding_topic' or a remap for the monitor",
        shape=None if bundle is None else (bundle.policy.embedding_size,),
    )


def _chunks(topic: str, bundle: Bundle | None) -> ExpectedInput:
    return ExpectedInput(
        topic,
        "action chunks",
        CLOUD,
        "--action-chunks-topic here, 'action_chunks_topic' or a remap for the monitor",
        shape=None if bundle is None else bundle.policy.chunk_shape,
        names=() if bundle is None else bundle.policy.action_names,
    )


def _tokens(topic: str, bundle: Bundle | None) -> ExpectedInput:
    return ExpectedInput(
        topic,
        "tokens of the policy's network",
        CLOUD,
        "--tokens-topic here, 'tokens_topic' or a remap for the monitor",
        shape=None if bundle is None else bundle.token_shape,
    )


def _takes_joints(bundle: Bundle | None) -> bool:
    """Return whether joint states may be part of a decision."""
    if bundle is None:
        return False
    black_box, positions = bundle.description.black_box, bundle.description.positions_topic
    runs_encoder = black_box is not None and black_box.encoder is not None
    measures = positions is not None and positions.message_type == JOINTS
    return runs_encoder or measures or bundle.description.joints is not None


def _more_joint_topics(monitor: MonitorSnapshot, bundle: Bundle | None) -> Collection[str]:
    """Return the further topics of joint states that a monitor was told of."""
    told = names_in(monitor.parameter("more_joint_states_topics"))
    joints = None if bundle is None else bundle.description.joints
    return told or (() if joints is None else joints.topics[1:])


def _commands_topic(monitor: MonitorSnapshot, bundle: Bundle | None) -> str:
    """Return the topic of the commands as sent; empty where no score needs them."""
    joints = None if bundle is None else bundle.description.joints
    if joints is None or not joints.commands:
        return ""
    return str(monitor.parameter("commands_topic") or joints.commands_topic)


def _commands(topic: str, message_type: str) -> ExpectedInput:
    return ExpectedInput(
        topic,
        "commands as sent",
        message_type,
        "'commands_topic' for the monitor, or calibrate without --commands-topic",
        reliable=False,
    )


def _more_joints(topic: str) -> ExpectedInput:
    return ExpectedInput(
        topic,
        "further joint states",
        JOINTS,
        "'more_joint_states_topics' or a remap for the monitor, or calibrate with "
        "--more-joint-states-topics",
        reliable=False,
        is_sole=False,
        is_steady=True,
    )


def _joints(topic: str, *, is_needed: bool, is_watched: bool) -> ExpectedInput:
    advice = "; 'max_joint_state_age' 0.0 for a robot without joints" if is_watched else ""
    return ExpectedInput(
        topic,
        "joint states",
        JOINTS,
        f"--joint-states-topic here, 'joint_states_topic' or a remap for the monitor{advice}",
        reliable=False,
        is_sole=False,
        is_steady=True,
        is_needed=is_needed,
    )


def _positions(topic: str, message_type: str) -> ExpectedInput:
    return ExpectedInput(
        topic,
        "measured positions",
        message_type,
        "a remap for the monitor, or calibrate with --positions-topic",
        reliable=False,
        is_sole=message_type != JOINTS,
        is_steady=True,
    )


def _camera(topic: str, message_type: str, *, reliable: bool) -> ExpectedInput:
    return ExpectedInput(
        topic,
        "images",
        message_type,
        "--image-topic here, 'image_topics' or a remap for the monitor",
        reliable=reliable,
        is_steady=True,
    )


def _external(topic: str, name: str, message_type: str = FLOAT64) -> ExpectedInput:
    return ExpectedInput(
        topic,
        f"the external score {name}".rstrip(),
        message_type,
        "a remap for the monitor, or calibrate with --external",
    )
