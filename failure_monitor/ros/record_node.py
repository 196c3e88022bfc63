# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Records one rosbag2 bag (mcap, zstd) per rollout, without ROS's own recorder.

Messages are taken and written as the bytes that came over the wire.
"""

from __future__ import annotations

from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from rclpy.timer import Timer
from rosbags.interfaces import Connection
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore
from std_msgs.msg import Bool

from failure_monitor.errors import UsageError
from failure_monitor.ros.parameters import declare
from failure_monitor.ros.run import run_node

DISCOVERY_PERIOD = 0.2
"""How often, in seconds, topics that nobody publishes yet are looked for."""


UNFINISHED = ".part"
"""The folder, inside the recorder's own, of bags that are not complete."""


def message_class(message_type: str) -> Any:
    """The class of a message type such as `std_msgs/msg/Bool`.

    Raises:
        UsageError: its package is not installed here.
    """
    package, kind, name = message_type.split("/")
    try:
        return getattr(import_module(f"{package}.{kind}"), name)
    except (ImportError, AttributeError):
        raise UsageError(
            f"record_node: the message type {message_type} is not installed on this machine: "
            "install its package, or leave the topic out of 'topics'"
        ) from None


class RolloutBag:
    """A bag that appears under its name only once it is complete."""

    def __init__(self, path: Path) -> None:
        """Open the bag for writing, in the folder `UNFINISHED` beside `path`."""
        self.path = path
        # The bag's files are named after its folder, so that only the folder above may differ.
        self._partial = path.parent / UNFINISHED / path.name
        self._types = get_typestore(Stores.ROS2_JAZZY)
        self._writer = Writer(self._partial, version=9, storage_plugin=StoragePlugin.MCAP)
        self._writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
        self._writer.open()
        self._connections: dict[str, Connection] = {}

    def write(self, topic: str, message_type: str, nanoseconds: int, message: bytes) -> None:
        """Append a serialised message with its time of reception."""
        if topic not in self._connections:
            self._connections[topic] = self._writer.add_connection(
                topic, message_type, typestore=self._types
            )
        self._writer.write(self._connections[topic], nanoseconds, message)

    def close(self) -> None:
        """Finish the bag and give it its name."""
        self._writer.close()
        self._partial.rename(self.path)
        with suppress(OSError):  # Another bag may be unfinished.
            self._partial.parent.rmdir()


class RecordNode(Node):
    """Opens a bag when `rollout/active` turns true, closes it a moment after it turns false."""

    def __init__(self) -> None:
        super().__init__("record")
        self._waiting = {
            self.resolve_topic_name(topic)
            for topic in declare(
                self, "topics", [""], "the topics to record, besides the boundary topic"
            )
            if topic
        }
        self._folder = Path(declare(self, "output", "", "the folder that receives the bags"))
        self._prefix = declare(self, "prefix", "rollout", "what the names of the bags begin with")
        self._tail = declare(
            self, "tail", 0.5, "seconds for which recording goes on after the end of a rollout"
        )
        boundary = declare(
            self, "boundary_topic", "rollout/active", "std_msgs/Bool: whether a rollout runs"
        )
        if str(self._folder) == ".":
            raise UsageError("record_node: the parameter 'output' is empty: name a folder")
        self._boundary_topic = self.resolve_topic_name(boundary)
        self._waiting.add(self._boundary_topic)
        self._folder.mkdir(parents=True, exist_ok=True)
        self._bag: RolloutBag | None = None
        self._end: Timer | None = None
        self._discovery = self.create_timer(DISCOVERY_PERIOD, self._subscribe_to_what_is_there)

    def _subscribe_to_what_is_there(self) -> None:
        types = dict(self.get_topic_names_and_types())
        for topic in sorted(self._waiting & types.keys()):
            # A topic with subscribers alone offers no quality of service to go by.
            if self.count_publishers(topic) == 0:
                continue
            self._waiting.remove(topic)
            self._subscribe(topic, types[topic][0])
        if not self._waiting:
            self._discovery.cancel()

    def _subscribe(self, topic: str, message_type: str) -> None:
        def store(message: bytes) -> None:
            self._on_message(topic, message_type, message)

        self.create_subscription(
            message_class(message_type), topic, store, self._offered_qos(topic), raw=True
        )
        self.get_logger().info(f"listening to {topic} ({message_type})")

    def _offered_qos(self, topic: str) -> QoSProfile:
        """The strictest quality of service that every publisher of the topic offers."""
        offers = [info.qos_profile for info in self.get_publishers_info_by_topic(topic)]
        reliable = all(offer.reliability == ReliabilityPolicy.RELIABLE for offer in offers)
        latched = all(offer.durability == DurabilityPolicy.TRANSIENT_LOCAL for offer in offers)
        return QoSProfile(
            depth=100,
            reliability=(ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT),
            durability=(DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE),
        )

    def _on_message(self, topic: str, message_type: str, message: bytes) -> None:
        if topic == self._boundary_topic:
            self._on_boundary(deserialize_message(message, Bool).data)
        if self._bag is not None:
            now = self.get_clock().now().nanoseconds
            self._bag.write(topic, message_type, now, message)

    def _on_boundary(self, active: bool) -> None:
        if active:
            self._close_bag()
            self._bag = RolloutBag(self._next_path())
        elif self._bag is not None and self._end is None:
            self._end = self.create_timer(self._tail, self._close_bag)

    def _next_path(self) -> Path:
        # What a recorder that was killed left behind is kept, too.
        bags = (*self._folder.iterdir(), *self._folder.glob(f"{UNFINISHED}/*"))
        taken = {path.name for path in bags}
        numbers = (number for number in range(len(taken) + 1))
        return next(
            self._folder / name
            for name in (f"{self._prefix}_{number:04d}" for number in numbers)
            if name not in taken
        )

    def _close_bag(self) -> None:
        if self._end is not None:
            self.destroy_timer(self._end)
            self._end = None
        if self._bag is not None:
            self._bag.close()
            self.get_logger().info(f"wrote {self._bag.path}")
            self._bag = None

    def destroy_node(self) -> None:
        """Finish the bag that is being written, then end."""
        self._close_bag()
        super().destroy_node()


def main() -> None:
    """Run the node."""
    run_node(RecordNode)


if __name__ == "__main__":
    main()
