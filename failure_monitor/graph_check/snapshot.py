# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A snapshot of a ROS graph, as the listener process hands it over as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from failure_monitor.monitoring.alarm import AlarmState
from failure_monitor.parameters.gate import GateParameters
from failure_monitor.parameters.monitor import MonitorParameters
from failure_monitor.parameters.response import ReactionParameters

MONITOR_DEFAULTS, GATE_DEFAULTS = MonitorParameters(), GateParameters()
"""Parameters that are assumed of nodes that do not answer."""

DECISION_TYPE = "sensor_msgs/msg/PointCloud2"
"""Type of what a policy publishes of a decision."""

IMAGE_TYPES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")

REACTION_DEFAULTS = ReactionParameters()

RECORDERS = ("recorder", "rosbag2_recorder", "incident_recorder", "record", "record_node")
"""Names of nodes that subscribe to whatever there is and move nothing."""


@dataclass(frozen=True)
class Endpoint:
    """One end of a topic.

    Attributes:
        node: the full name of its node.
        message_type: the message type, such as std_msgs/msg/Bool.
        reliable: whether it offers or requests reliable delivery.
    """

    node: str
    message_type: str
    reliable: bool = True


@dataclass(frozen=True)
class Mismatch:
    """A publisher and a subscription whose qualities of service are incompatible.

    Attributes:
        publisher: the full name of the publishing node.
        subscriber: the full name of the subscribing node.
        reason: which policies are incompatible.
    """

    publisher: str
    subscriber: str
    reason: str


@dataclass(frozen=True)
class Messages:
    """What arrived on a topic while it was listened to.

    Attributes:
        received: the number of messages.
        rate: messages received per second; 0 if there were too few for a rate.
        period: the median time from one stamp to the next, in seconds; None if there were too few.
        lost: the share of messages that did not arrive, estimated from the stamps, 0 to 1.
        lag: the median of this machine's ROS clock minus the stamp, in seconds; None for messages
            without a stamp, or if the clock stands still.
        shape: the shape of the last message: (E,) of an embedding, (B, H, D) of action chunks,
            (J,) of joints.
        names: the actions or joints that the last message names.
        text: what the last message states, of a topic of texts.
        fault: what was wrong with the last invalid message; empty if all were valid.
    """

    received: int = 0
    rate: float = 0.0
    period: float | None = None
    lost: float = 0.0
    lag: float | None = None
    shape: tuple[int, ...] = ()
    names: tuple[str, ...] = ()
    text: str = ""
    fault: str = ""


@dataclass(frozen=True)
class TopicSnapshot:
    """A topic with its publishers and subscribers, without those of the listener.

    Attributes:
        publishers: the publishing ends.
        subscribers: the subscribing ends.
        mismatches: the pairs that cannot reach one another.
        messages: what arrived; None for a topic that was not listened to.
    """

    publishers: tuple[Endpoint, ...] = ()
    subscribers: tuple[Endpoint, ...] = ()
    mismatches: tuple[Mismatch, ...] = ()
    messages: Messages | None = None


@dataclass(frozen=True)
class SubscribedTopic:
    """A topic that a monitor subscribes to.

    Attributes:
        named: the name in the parameter or the bundle, before any remapping.
        message_type: the message type of the subscription.
    """

    named: str
    message_type: str


@dataclass(frozen=True)
class MonitorSnapshot:
    """A monitor node.

    Attributes:
        node: its full name.
        state: the state of its alarm; None if it published none.
        reason: the reason for the state.
        permits: whether it permits commands.
        diagnosed: whether it published on /diagnostics.
        inputs: its subscriptions by the topics' full names; empty while it is not active.
        scoring: its diagnostic values on the bundle that it runs; empty if it runs none.
        parameters: its parameters by name; None if it did not answer.
    """

    node: str
    state: AlarmState | None = None
    reason: str = ""
    permits: bool = False
    diagnosed: bool = False
    inputs: Mapping[str, SubscribedTopic] = field(default_factory=dict)
    scoring: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, Any] | None = None

    @property
    def alarm_topic(self) -> str:
        """The topic of its alarm."""
        return f"{self.node}/alarm"

    @property
    def intervention_topic(self) -> str:
        """The topic by which it learns of a human who intervenes; empty for none."""
        return _intervention_topic(self.parameters, self.node)

    @property
    def permit_topic(self) -> str:
        """The topic of its permit."""
        return f"{self.node}/permit"

    @property
    def decides_by_itself(self) -> bool:
        """Whether it makes the decisions of images, rather than receiving them from a policy."""
        types = {one.message_type for one in self.inputs.values()}
        return bool(types & set(IMAGE_TYPES)) and DECISION_TYPE not in types

    @property
    def speed_scale_topic(self) -> str:
        """The topic of its speed scale."""
        return f"{self.node}/speed_scale"

    def parameter(self, name: str) -> Any:
        """Return a parameter, or its default where the node did not answer."""
        return (self.parameters or {}).get(name, getattr(MONITOR_DEFAULTS, name))

    def reaction(self, state: str) -> str:
        """Return its reaction to a state, or the default where the node did not answer."""
        default: str = getattr(REACTION_DEFAULTS, state)
        return str((self.parameters or {}).get(f"response.{state}", default))


@dataclass(frozen=True)
class GateSnapshot:
    """A gate node.

    Attributes:
        node: its full name.
        said: its state in its own words; empty if it published none.
        level: the diagnostic level of that: 0 is ok, 1 a warning, 2 an error, 3 stale.
        passes: whether commands pass.
        permits: the topics of the permits that it needs.
        inputs: the topics that it receives commands on.
        outputs: the topics that it publishes commands on.
        longest_stop: how long the longest ramp for a command so far would take, in seconds.
        parameters: its parameters by name; None if it did not answer.
    """

    node: str
    said: str = ""
    level: int = 0
    passes: bool = False
    permits: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    longest_stop: float = 0.0
    parameters: Mapping[str, Any] | None = None

    def parameter(self, name: str) -> Any:
        """Return a parameter, or its default where the node did not answer."""
        return (self.parameters or {}).get(name, getattr(GATE_DEFAULTS, name))

    @property
    def intervention_topic(self) -> str:
        """The topic by which it learns of a human who intervenes; empty for none."""
        return _intervention_topic(self.parameters, self.node)

    @property
    def unstopped(self) -> tuple[str, ...]:
        """The names of the commands whose safe command is 'nothing', as far as it reports them."""
        return self._commands_with("safe_command", "nothing")

    @property
    def unscaled(self) -> tuple[str, ...]:
        """The names of the commands that are not slowed, as far as it reported them."""
        return self._commands_with("scaled", False)

    def _commands_with(self, name: str, value: object) -> tuple[str, ...]:
        reported = self.parameters or {}
        commands = self.parameter("commands")
        return tuple(one for one in commands if reported.get(f"{one}.{name}") == value)


@dataclass(frozen=True)
class ActionSnapshot:
    """An action, as its topics and services show it.

    Attributes:
        action_type: such as control_msgs/action/FollowJointTrajectory; empty if it is unknown.
        servers: the full names of the nodes that serve it, sorted.
        senders: those of the nodes that can send goals, sorted.
        cancelling: those of the nodes that can only cancel goals, sorted.
    """

    action_type: str = ""
    servers: tuple[str, ...] = ()
    senders: tuple[str, ...] = ()
    cancelling: tuple[str, ...] = ()


@dataclass(frozen=True)
class GraphSnapshot:
    """A ROS graph as it was seen.

    Attributes:
        domain: the ROS domain.
        seconds: how long it was listened to.
        topics: the topics that matter here, by full name.
        published: all published topics with their types.
        monitors: the monitors, sorted by name.
        gates: the gates, sorted by name.
        actions: the actions of all nodes, by full name.
    """

    domain: str
    seconds: float
    topics: Mapping[str, TopicSnapshot] = field(default_factory=dict)
    published: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    monitors: tuple[MonitorSnapshot, ...] = ()
    gates: tuple[GateSnapshot, ...] = ()
    actions: Mapping[str, ActionSnapshot] = field(default_factory=dict)

    def topic(self, name: str) -> TopicSnapshot:
        """Return what was seen of a topic; nothing for a topic that has no ends."""
        return self.topics.get(name, TopicSnapshot())


def is_recorder(end: Endpoint) -> bool:
    """Return whether an end of a topic is that of a recorder, by its name."""
    return end.node.rpartition("/")[2] in RECORDERS


def node_names(ends: Sequence[Endpoint]) -> str:
    """Return the nodes at some ends of topics as text."""
    return ", ".join(sorted({end.node for end in ends})) or "no node"


def absolute(topic: str, node: str) -> str:
    """Return the full name of a topic in the namespace of a node, if nothing remaps it."""
    return topic if topic.startswith("/") else f"{node.rpartition('/')[0]}/{topic}"


def _intervention_topic(parameters: Mapping[str, Any] | None, node: str) -> str:
    name = (parameters or {}).get("intervention_topic", GATE_DEFAULTS.intervention.topic)
    return absolute(name, node) if name else ""
