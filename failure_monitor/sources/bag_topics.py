# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The topics of many bags, without reading their messages."""

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
    """A topic in some of several bags.

    Attributes:
        name: the topic.
        message_type: such as `std_msgs/msg/Bool`.
        messages: in all of the bags.
        rate: messages a second, over the bags that have it; None where these last no time.
        bags: how many have it.
        of_bags: how many could be looked into.
    """

    name: str
    message_type: str
    messages: int
    rate: float | None
    bags: int
    of_bags: int


def topics_of_bags(paths: Sequence[Path]) -> list[RecordedTopic]:
    """The topics of those sources that are bags and not damaged, by name."""
    messages: dict[tuple[str, str], int] = defaultdict(int)
    seconds: dict[tuple[str, str], float] = defaultdict(float)
    bags: dict[tuple[str, str], int] = defaultdict(int)
    of_bags = 0
    for path in paths:
        if not (is_bag_folder(path) or is_bag_file(path)):
            continue
        try:
            found = bag_summary(path)
        except SourceError:  # who reads the bag says what is wrong with it
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
