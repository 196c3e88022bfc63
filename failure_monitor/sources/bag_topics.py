# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Lists the topics of many bags without reading their messages."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from failure_monitor.sources.bag_files import is_bag_file, is_bag_folder
from failure_monitor.sources.rosbag import bag_summary
from failure_monitor.sources.source import SourceError


@dataclass(frozen=True)
class RecordedTopic:
    """A topic of one or several bags.

    Attributes:
        name: The name of the topic.
        message_type: The type of its messages, such as `std_msgs/msg/Bool`.
        messages: The number of messages in all bags together.
        rate: The messages per second in the bags that have the topic; None if these have no
            duration.
        bags: The number of bags that have the topic.
        of_bags: The number of bags that could be read.
    """

    name: str
    message_type: str
    messages: int
    rate: float | None
    bags: int
    of_bags: int


def topics_of_bags(paths: Sequence[Path]) -> list[RecordedTopic]:
    """Return the topics of all sources that are undamaged bags, sorted by name."""
    messages: dict[tuple[str, str], int] = defaultdict(int)
    seconds: dict[tuple[str, str], float] = defaultdict(float)
    bags: dict[tuple[str, str], int] = defaultdict(int)
    of_bags = 0
    for path in paths:
        if not (is_bag_folder(path) or is_bag_file(path)):
            continue
        try:
            found = bag_summary(path)
        except SourceError:  # reported by whoever reads the rollouts
            continue
        of_bags += 1
        for topic in found.topics:
            key = topic.name, topic.message_type
            messages[key] += topic.messages
            seconds[key] += found.seconds
            bags[key] += 1
    return [
        RecordedTopic(
            name=key[0],
            message_type=key[1],
            messages=messages[key],
            rate=messages[key] / seconds[key] if seconds[key] > 0 else None,
            bags=bags[key],
            of_bags=of_bags,
        )
        for key in sorted(messages)
    ]
