# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What a listener saw of a ROS graph in a few seconds: values, as JSON between two processes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

from failure_monitor.monitoring.alarm import AlarmState


class _Seen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Endpoint(_Seen):
    """One end of a topic.

    Attributes:
        node: the full name of its node.
        message_type: such as std_msgs/msg/Bool.
        reliable: whether it offers, or asks for, reliable delivery.
    """

    node: str
    message_type: str
    reliable: bool = True


class Mismatch(_Seen):
    """A publisher and a subscription whose qualities of service do not go together.

    Attributes:
        publisher: the full name of its node.
        subscriber: likewise.
        reason: what does not go together, in words.
    """

    publisher: str
    subscriber: str
    reason: str


class Messages(_Seen):
    """What came on a topic while it was listened to.

    Attributes:
        received: how many messages.
        rate: of their reception, per second; 0 if they were too few to tell.
        period: the median time from one stamp to the next, in seconds; None if too few tell.
        lost: the share that was stamped and did not come, 0 to 1.
        lag: the median of this machine's ROS clock minus the stamp, in seconds; None for messages
            without a stamp, or if the clock stands still.
        shape: of the last: (E,) of an embedding, (B, H, D) of action chunks, (J,) of joints.
        names: of the last: actions or joints.
        fault: why the last that was of no use was none; empty if all were.
    """

    received: int = 0
    rate: float = 0.0
    period: float | None = None
    lost: float = 0.0
    lag: float | None = None
    shape: tuple[int, ...] = ()
    names: tuple[str, ...] = ()
    fault: str = ""


class TopicSnapshot(_Seen):
    """A topic with its two ends, those of the listener left out.

    Attributes:
        publishers: who publishes.
        subscribers: who listens.
        mismatches: which of them cannot reach which.
        messages: what came; None where nobody listened.
    """

    publishers: tuple[Endpoint, ...] = ()
    subscribers: tuple[Endpoint, ...] = ()
    mismatches: tuple[Mismatch, ...] = ()
    messages: Messages | None = None


class MonitorInput(_Seen):
    """A topic that a monitor listens to.

    Attributes:
        named: as a parameter or the bundle names it, before any remapping.
        message_type: that it subscribes to.
    """

    named: str
    message_type: str


class MonitorSnapshot(_Seen):
    """A monitor node.

    Attributes:
        node: its full name.
        state: of its alarm; None if it said nothing.
        reason: in words.
        permits: whether it permits commands.
        diagnosed: whether it was heard on /diagnostics.
        inputs: what it listens to, by the topics' full names; empty while it is not active.
        scoring: what it says of the bundle that it runs, by name; empty if it runs none.
        parameters: by name; None if it did not answer.
    """

    node: str
    state: AlarmState | None = None
    reason: str = ""
    permits: bool = False
    diagnosed: bool = False
    inputs: Mapping[str, MonitorInput] = {}
    scoring: Mapping[str, str] = {}
    parameters: Mapping[str, Any] | None = None

    @property
    def alarm_topic(self) -> str:
        """Where it says its state."""
        return f"{self.node}/alarm"

    @property
    def permit_topic(self) -> str:
        """Where it permits."""
        return f"{self.node}/permit"

    def parameter(self, name: str, default: Any) -> Any:
        """A parameter, or what it is by default where the node did not say."""
        return (self.parameters or {}).get(name, default)


class GateSnapshot(_Seen):
    """A gate node.

    Attributes:
        node: its full name.
        said: what it says of itself; empty if it said nothing.
        level: of that, as in diagnostics: 0 is fine, 1 a warning, 2 an error, 3 stale.
        passes: whether commands pass.
        permits: the topics whose permits it needs.
        inputs: the topics of commands that come in.
        outputs: those of commands that it let through.
        parameters: by name; None if it did not answer.
    """

    node: str
    said: str = ""
    level: int = 0
    passes: bool = False
    permits: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    parameters: Mapping[str, Any] | None = None

    def parameter(self, name: str, default: Any) -> Any:
        """A parameter, or what it is by default where the node did not say."""
        return (self.parameters or {}).get(name, default)


class GraphSnapshot(_Seen):
    """A graph as it was seen.

    Attributes:
        domain: the ROS domain.
        seconds: for which it was listened to.
        topics: those that matter here, by full name.
        published: all that are published, with their types.
        monitors: by name.
        gates: by name.
    """

    domain: str
    seconds: float
    topics: Mapping[str, TopicSnapshot] = {}
    published: Mapping[str, tuple[str, ...]] = {}
    monitors: tuple[MonitorSnapshot, ...] = ()
    gates: tuple[GateSnapshot, ...] = ()

    def topic(self, name: str) -> TopicSnapshot:
        """What was seen of a topic; one that nobody has anything to do with is empty."""
        return self.topics.get(name, TopicSnapshot())


def node_names(ends: Sequence[Endpoint]) -> str:
    """The nodes at some ends of topics, in words."""
    return ", ".join(sorted({end.node for end in ends})) or "nobody"


def absolute(topic: str, node: str) -> str:
    """The full name of a topic, if nothing remaps it, in the namespace of a node."""
    return topic if topic.startswith("/") else f"{node.rpartition('/')[0]}/{topic}"
