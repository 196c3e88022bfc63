# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Publishes from a Python policy node, in one line, what the monitor needs of its decisions.

tap = DecisionTap(self, action_names=["dx", "dy", "dz", "gripper"])
...
tap.publish(embedding, chunks, image.header.stamp)

With a description, what the policy states about itself need not be repeated to any command, and
the monitor rejects another policy than it was calibrated for:

description = PolicyDescription(action_kind="delta", executed_actions=8)
tap = DecisionTap(self, action_names=["dx", "dy", "dz", "gripper"], description=description)
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from numbers import Real
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.time import Time as ClockTime
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import Float64, Header, String

from failure_monitor.messages.policy_arrays import float_array
from failure_monitor.parameters.topics import (
    ACTION_CHUNKS_TOPIC,
    EMBEDDING_TOPIC,
    EXTERNAL_NAME,
    POLICY_FORMAT_TOPIC,
    TOKENS_TOPIC,
    external_topic,
)
from failure_monitor.policy_description import PolicyDescription
from failure_monitor.ros.common.messages import (
    action_chunks_message,
    embedding_message,
    tokens_message,
)
from failure_monitor.ros.common.qos import DECISION_QOS, LATCHED_QOS

__all__ = [
    "ACTION_CHUNKS_TOPIC",
    "EMBEDDING_TOPIC",
    "POLICY_FORMAT_TOPIC",
    "TOKENS_TOPIC",
    "DecisionTap",
    "PolicyDescription",
]

MAX_EXTRA_NAME = 100
"""Characters of an extra's name: a topic has 255 in all."""


class DecisionTap:
    """Publishes a policy's observation embedding and sampled action chunks from its own node."""

    def __init__(
        self,
        node: Node,
        *,
        action_names: Sequence[str],
        frame_id: str = "",
        description: PolicyDescription | None = None,
    ) -> None:
        """Create the publishers of `policy/embedding`, `action_chunks` and `tokens` on the node.

        Args:
            node: the policy's node.
            action_names: the names of the D action dimensions, in order.
            frame_id: the frame of Cartesian actions; empty for others.
            description: what the policy states about itself, published as by `describe`; None to
                state nothing.

        Raises:
            ValueError: the description names other actions.
        """
        self._node = node
        self._action_names = tuple(action_names)
        self._frame_id = frame_id
        # There before the first embedding, so that this one is received; gone with the first
        # decision that has none.
        self._embedding_publisher: Publisher | None = node.create_publisher(
            PointCloud2, EMBEDDING_TOPIC, DECISION_QOS
        )
        self._has_published = False
        self._chunks_publisher = node.create_publisher(
            PointCloud2, ACTION_CHUNKS_TOPIC, DECISION_QOS
        )
        self._tokens_publisher = node.create_publisher(PointCloud2, TOKENS_TOPIC, DECISION_QOS)
        self._extra_publishers: dict[str, Publisher] = {}
        self._description: PolicyDescription | None = None
        self._format_publisher: Publisher | None = None
        if description is not None:
            self.describe(description)

    def describe(self, description: PolicyDescription) -> None:
        """Publish on `policy/format` what the policy states about itself; it is latched.

        Call it again when the policy is swapped, before the new one's first decision. The names
        in its `extras` are published from its first decision on; `publish` adds what is missing.

        Args:
            description: the statement, which the names of the actions complete.

        Raises:
            ValueError: it names other actions, or nobody could read it; nothing was published.
        """
        names = description.action_names or self._action_names
        if names != self._action_names:
            raise ValueError(
                f"the description names the actions {list(names)}, the tap "
                f"{list(self._action_names)}: name the same ones, in the order of the chunks"
            )
        completed = replace(description, action_names=names)
        if reason := completed.why_unreadable():
            raise ValueError(f"the description is impossible: {reason}")
        for name in completed.extras:
            self._create_extra_publisher(name)
        self._description = completed
        if self._format_publisher is None:
            self._format_publisher = self._node.create_publisher(
                String, POLICY_FORMAT_TOPIC, LATCHED_QOS
            )
        self._format_publisher.publish(String(data=completed.to_json()))

    def close(self) -> None:
        """Destroy the publishers, so that another tap may take their place."""
        for publisher in (
            self._embedding_publisher,
            self._chunks_publisher,
            self._tokens_publisher,
            self._format_publisher,
            *self._extra_publishers.values(),
        ):
            if publisher is not None:
                self._node.destroy_publisher(publisher)

    def publish(
        self,
        embedding: Any,
        chunks: Any,
        stamp: Time | ClockTime,
        *,
        extras: Mapping[str, Any] | None = None,
        tokens: Any = None,
    ) -> None:
        """Publish one decision.

        Args:
            embedding: the input of the policy's action head, (E,), as numpy array, or as torch
                tensor on any device and of any real dtype; None, or (0,), if the policy has none.
            chunks: the sampled action chunks, (B, H, D), likewise; the first one is executed.
            stamp: the stamp of the observation, which is that of the camera image.
            extras: further scores of this decision, by name; larger is worse. Each is published
                on `external_scores/<name>` before the chunks, and is `external:<name>` in a rule.
            tokens: the last layer's tokens of the policy's network, (N, F), like the embedding,
                for scores that need them; None to publish none.

        Raises:
            ValueError: a shape or name is not as above, an extra is NaN or infinite, or one
                decision has an embedding and another has none; nothing was published.
            TypeError: there are no real numbers, or no stamp; nothing was published.
        """
        numbers = None if embedding is None else self._checked_embedding(embedding)
        samples = self._checked_chunks(float_array(chunks, "action chunks"))
        header = Header(stamp=checked_stamp(stamp), frame_id=self._frame_id)
        scores = {} if extras is None else _checked_extras(extras)
        features = None if tokens is None else _checked_tokens(float_array(tokens, "tokens"))
        # Last of what may be rejected: it settles whether there are embeddings.
        publisher = self._embedding_publisher_for(numbers)
        self._state_extras(scores)
        # First, so that the monitor knows them when the decision is complete.
        for name, score in scores.items():
            self._extra_publishers[name].publish(Float64(data=score))
        if features is not None:
            self._tokens_publisher.publish(tokens_message(features, header))
        if publisher is not None and numbers is not None:
            publisher.publish(embedding_message(numbers, header))
        self._chunks_publisher.publish(action_chunks_message(samples, self._action_names, header))

    def _state_extras(self, scores: Mapping[str, float]) -> None:
        """State extras that were not stated before, so that each value counts for one decision."""
        stated = self._description or PolicyDescription()
        new = [name for name in scores if name not in stated.extras]
        if new:
            self.describe(replace(stated, extras=(*stated.extras, *new)))

    def _create_extra_publisher(self, name: str) -> None:
        if name not in self._extra_publishers:
            self._extra_publishers[name] = self._node.create_publisher(
                Float64, external_topic(name), DECISION_QOS
            )

    def _embedding_publisher_for(self, embedding: NDArray[np.float32] | None) -> Publisher | None:
        """Return what publishes the embedding of a decision; None if it has none.

        The first decision settles whether there are embeddings. Where there are none, nobody must
        wait for them.
        """
        if embedding is None and not self._has_published and self._embedding_publisher is not None:
            self._node.destroy_publisher(self._embedding_publisher)
            self._embedding_publisher = None
        if (embedding is None) != (self._embedding_publisher is None):
            now, before = ("no", "had one") if embedding is None else ("an", "had none")
            raise ValueError(
                f"the decision has {now} embedding, and those before {before}: pass an embedding "
                "with every decision, or None with every decision"
            )
        self._has_published = True
        return self._embedding_publisher

    @staticmethod
    def _checked_embedding(values: Any) -> NDArray[np.float32] | None:
        """Return the embedding; None if it is empty."""
        embedding = float_array(values, "embedding")
        if embedding.ndim == 1:
            return embedding if embedding.size else None
        remedy = "; of a batch of one pass embedding[0]" if embedding.shape[:-1] == (1,) else ""
        raise ValueError(f"an embedding has shape (E,), got {embedding.shape}{remedy}")

    def _checked_chunks(self, chunks: NDArray[np.float32]) -> NDArray[np.float32]:
        dimensions = len(self._action_names)
        if chunks.ndim == 3 and chunks.shape[2] == dimensions and chunks.size:
            return chunks
        remedy = ""
        if chunks.ndim == 2 and chunks.shape[1] == dimensions:
            remedy = "; pass a single sample as chunks[None]"
        elif chunks.ndim == 4 and chunks.shape[0] == 1:
            remedy = "; of a batch of one observation pass chunks[0]"
        elif chunks.ndim == 3 and not chunks.size:
            remedy = ": there must be a sample (B) and an action (H) at least"
        raise ValueError(
            f"action chunks have shape (B, H, {dimensions}) for the actions "
            f"{list(self._action_names)}, got {chunks.shape}{remedy}"
        )


def checked_stamp(stamp: Time | ClockTime) -> Time:
    """Return a stamp as a message.

    Raises:
        TypeError: it is none.
    """
    message = stamp.to_msg() if isinstance(stamp, ClockTime) else stamp
    if not isinstance(message, Time):
        raise TypeError(
            f"the stamp is a {type(stamp).__name__}, expected builtin_interfaces.msg.Time: pass "
            "that of the observation's header"
        )
    return message


def _checked_tokens(tokens: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return tokens (N, F).

    Raises:
        ValueError: they have another shape.
    """
    if tokens.ndim == 2 and tokens.size:
        return tokens
    remedy = "; of a batch of one observation pass tokens[0]" if tokens.shape[:1] == (1,) else ""
    raise ValueError(f"tokens have shape (N, F), got {tokens.shape}{remedy}")


def _checked_extras(extras: Mapping[str, Any]) -> dict[str, float]:
    """Return extras as numbers.

    Raises:
        ValueError: a name could not be part of a topic, or a value is NaN or infinite.
        TypeError: there are no names, or a value is no real number.
    """
    if not isinstance(extras, Mapping):
        raise TypeError(
            f"the extras are a {type(extras).__name__}, expected numbers by their names: pass "
            'them as {"name": value}'
        )
    return {_checked_name(name): _checked_extra(name, value) for name, value in extras.items()}


def _checked_name(name: Any) -> str:
    if not isinstance(name, str):
        raise TypeError(f"the extra {name!r} has no text as its name: pass names and values")
    if not re.fullmatch(EXTERNAL_NAME, name) or len(name) > MAX_EXTRA_NAME:
        raise ValueError(
            f"'{name}' cannot name an extra, since it becomes part of a topic: use letters, "
            f"digits and underscores, a letter first, at most {MAX_EXTRA_NAME}"
        )
    return name


def _checked_extra(name: str, value: Any) -> float:
    if isinstance(value, Real) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
    else:
        array = float_array(value, f"extra '{name}'")
        if array.ndim or isinstance(value, bool) or "bool" in str(getattr(value, "dtype", "")):
            raise TypeError(
                f"the extra '{name}' is of shape {array.shape} and type {type(value).__name__}, "
                "expected one real number: pass its mean or its largest value, say"
            )
        number = float(array)
    if not math.isfinite(number):
        raise ValueError(
            f"the extra '{name}' is {number}, expected a finite number: leave it out of a "
            "decision that has none, which the monitor then does not score"
        )
    return number
