# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""All inputs of the monitor while it is active, combined into decisions.

Action chunks make a decision, as soon as they are received, alone where the policy has no
embedding; where a sampler makes the chunks, the embedding does, and where the monitor runs both
models, the observation. Every decision of a
rollout gets a number then, and is handed on or counted as one that cannot be scored.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus
from numpy.typing import NDArray
from rclpy.node import Node

from failure_monitor.bundle.input_types import image_type, number_type
from failure_monitor.joint_motion import JointMotionError
from failure_monitor.messages.matching import MatchedMessages
from failure_monitor.messages.measured_positions import MeasurementError
from failure_monitor.monitoring.decision_pace import DecisionPace
from failure_monitor.monitoring.decision_tally import NOT_YET_SCORED, DecisionTally
from failure_monitor.monitoring.plan_age import ArrivalClock
from failure_monitor.parameters.monitor import MonitorParameters
from failure_monitor.ros.common.key_values import key_values
from failure_monitor.ros.monitor.awaited_values import (
    AwaitedValues,
    Incomplete,
    Places,
    Settled,
)
from failure_monitor.ros.monitor.external_input import ExternalInput
from failure_monitor.ros.monitor.format_input import FormatInput
from failure_monitor.ros.monitor.joint_input import (
    JointInput,
    commands_topic,
    more_joint_topics,
)
from failure_monitor.ros.monitor.monitored_bundle import MonitoredBundle
from failure_monitor.ros.monitor.monitored_models import MonitoredModels
from failure_monitor.ros.monitor.monitored_topic import MonitoredTopic
from failure_monitor.ros.monitor.observation_input import ObservationInput
from failure_monitor.ros.monitor.pairing import DecisionPairing, Pair, Unpaired
from failure_monitor.ros.monitor.pending_decision import CHUNKS, EMBEDDING, TOKENS, PendingDecision
from failure_monitor.ros.monitor.policy_input import PolicyInput, ReceivedPart
from failure_monitor.ros.monitor.positions_input import PositionsInput
from failure_monitor.ros.monitor.rollout_boundaries import RolloutBoundaries
from failure_monitor.ros.monitor.stamp_guard import StampGuard

EMBEDDING_BYTES = 1 << 25
"""Bytes of embeddings that may wait for their action chunks, as far as the limits below allow."""

MIN_WAITING_EMBEDDINGS, MAX_WAITING_EMBEDDINGS = 64, 1024

MAX_WAITING_VALUES = 256
"""Number of values of an external score that may wait for their decisions."""

TOKEN_BYTES = 1 << 26
"""Bytes of tokens that may wait for their action chunks, as far as the limits below allow."""

MIN_WAITING_TOKENS, MAX_WAITING_TOKENS = 4, 32

TOKENS_OF = "policy/tokens"
"""Stands for tokens among the values that are awaited, with names that no score has."""

MAX_WAITING_IMAGES = 32
"""Number of observations that may wait for their action chunks: images take memory."""

LOST = (
    "it was lost on its way: this machine or the network is overloaded, or the policy published "
    "more at once than is kept"
)
CLOCK_SET_BACK = "a clock was set back while it waited for its other part"

NO_EMBEDDING = np.empty(0, np.float32)

OnDecision = Callable[[PendingDecision, float], None]
"""Called with a decision, and when it was complete on the monotonic clock."""


class MonitorInput(Protocol):
    """One kind of input: its topics, and what is wrong with each."""

    settings: MonitorParameters

    @property
    def topics(self) -> Sequence[MonitoredTopic]:
        """The topics of this input."""

    def problem(self, topic: MonitoredTopic, now: float) -> str:
        """Return what is wrong with one of the topics; empty if nothing is."""


class MonitorInputs:
    """Subscriptions, created on activation and destroyed on deactivation."""

    def __init__(
        self,
        node: Node,
        settings: MonitorParameters,
        monitored: MonitoredBundle,
        boundaries: RolloutBoundaries,
        tally: DecisionTally,
        *,
        on_decision: OnDecision,
        on_fault: Callable[[str], None],
        on_unscored: Callable[[], None],
        on_change: Callable[[], None],
    ) -> None:
        """Subscribe.

        Args:
            node: the node that subscribes.
            settings: name the topics and bound their ages.
            monitored: what is expected on the topics, and which parts of decisions models make.
            boundaries: what starts and ends rollouts.
            tally: gives every decision its number, and counts those that cannot be scored.
            on_decision: called with every decision that can be scored.
            on_fault: called with why a message cannot be used.
            on_unscored: called when the tally has counted a decision that cannot be scored.
            on_change: called when the policy has stated something else about itself.
        """
        self._clock = node.get_clock()
        self._arrivals = ArrivalClock()
        self._boundaries = boundaries
        self._tally = tally
        known = monitored.bundle.description
        self._pace = DecisionPace(known.longest_gap, known.decision_period or 0.0)
        self._on_decision = on_decision
        self._on_unscored = on_unscored
        self._last_complete: float | None = None
        models = monitored.models
        guard = StampGuard(node, on_fault=on_fault, on_restart=self._on_clock_set_back)
        # First: of waiting messages the executor takes those of older subscriptions, and a score
        # or position that came before its decision must be known with it.
        scores, description = monitored.bundle.external_topics, monitored.bundle.description
        types = {name: number_type(topic, description) for name, topic in scores.items()}
        self._external = ExternalInput(
            node,
            settings,
            scores,
            types,
            stated_extras=lambda: self._format.extras,
            on_value=self._on_external_value,
        )
        self._positions: PositionsInput | None = None
        if monitored.positions_topic is not None:
            self._positions = PositionsInput(node, settings, monitored.positions_topic)
        self._format = FormatInput(node, settings, description, on_change=on_change)
        self._observations = self._observation_input(node, settings, monitored, guard)
        self._joints = JointInput(
            node,
            settings,
            needed=monitored.bundle.joint_quantities,
            more_topics=more_joint_topics(settings, description),
            commands=commands_topic(settings, monitored.bundle),
            on_message=self._observations.add_joints
            if self._observations is not None and models.takes_joints
            else None,
        )
        self._policy = PolicyInput(
            node,
            settings,
            monitored.bundle.policy,
            (*models.published_parts, *((TOKENS,) if monitored.bundle.needs_tokens else ())),
            guard,
            token_shape=monitored.bundle.token_shape,
            on_received=self._on_received,
            on_part=self._on_part,
            on_rejected=self._on_rejected,
            on_fault=on_fault,
        )
        capacities = dict.fromkeys(scores, MAX_WAITING_VALUES)
        waiting_tokens = waiting_tokens_of(monitored.bundle.token_shape)
        self._awaited = AwaitedValues({**capacities, TOKENS_OF: waiting_tokens})
        self._pairing = _pairing(models, monitored.bundle.policy.embedding_size)
        self._why_incomplete_yet = _why_incomplete_yet(self._observations, self._policy)
        self._inputs: tuple[MonitorInput, ...] = (
            self._format,
            self._policy,
            self._external,
            *(() if self._positions is None else (self._positions,)),
            self._joints,
            *(() if self._observations is None else (self._observations,)),
        )

    def _observation_input(
        self,
        node: Node,
        settings: MonitorParameters,
        monitored: MonitoredBundle,
        guard: StampGuard,
    ) -> ObservationInput | None:
        """Return the input of the encoder; None without an encoder."""
        models = monitored.models
        if not models.cameras:
            return None
        return ObservationInput(
            node,
            settings,
            monitored.cameras,
            {
                camera: image_type(topic, monitored.bundle.description)
                for camera, topic in monitored.cameras.items()
            },
            monitored.black_box,
            guard,
            joints=models.takes_joints,
            history=models.history,
            has_rate=CHUNKS not in models.published_parts,
            on_observation=self._on_observation,
        )

    @property
    def unpaired(self) -> int:
        """Number of messages without the other part of their decision."""
        return 0 if self._pairing is None else self._pairing.unpaired

    @property
    def is_rollout_running(self) -> bool:
        """Whether decisions are expected."""
        return self._policy.is_expected

    def expect_silence(self, expected: bool) -> None:
        """Set whether the policy is silent because the monitor itself has stopped it."""
        self._policy.may_be_silent = expected

    def expect_commands(self, expected: bool) -> None:
        """Set whether the gate lets commands pass, so that some are expected."""
        self._joints.expect_commands(expected)

    @property
    def is_policy_there(self) -> bool:
        """Whether decisions that are made would be received."""
        deciding = self._policy.topics[-1:] or (
            () if self._observations is None else self._observations.topics
        )
        return all(topic.has_publisher for topic in deciding)

    def change_settings(self, settings: MonitorParameters) -> None:
        """Bound ages by changed parameters from now on."""
        for part in self._inputs:
            part.settings = settings

    def start_rollout(self, *, by_decision: bool) -> None:
        """Expect decisions.

        Args:
            by_decision: whether a decision starts the rollout, so that its parts may have come. If
                not, what came before belongs to old decisions, and stamps may start again.
        """
        self._policy.is_expected = True
        self._last_complete = None
        self._pace.start_rollout()
        self._joints.start_rollout()
        if not by_decision:
            self._policy.start_rollout()
            if self._pairing is not None:
                self._pairing.start_rollout()
            self._awaited.clear()
            if self._observations is not None:
                self._observations.start_rollout()

    def end_rollout(self) -> None:
        """Expect no decisions until the next rollout."""
        self._policy.is_expected = False
        self._policy.start_rollout()
        if self._pairing is not None:
            self._pairing.drop_chunks()
        self._awaited.clear()

    def _on_clock_set_back(self) -> None:
        self._last_complete = None
        self._policy.restart()
        if self._positions is not None:
            self._positions.forget()
        self._joints.restart()
        if self._pairing is not None:
            self._handle(self._pairing.restart(CLOCK_SET_BACK), time.monotonic())
        for number in self._awaited.clear():
            self._on_rejected(number, CLOCK_SET_BACK)
        if self._observations is not None:
            self._observations.restart()

    def destroy(self) -> None:
        """Destroy the subscriptions."""
        self._boundaries.destroy()
        for _, topic in self._topics():
            topic.destroy()

    # Problems

    def problems(self, now: float) -> list[str]:
        """Return all present problems, a sentence for each."""
        problems = [part.problem(topic, now) for part, topic in self._topics()]
        problems = [
            *self._boundaries.problems(),
            self._policy.unexpected_embedding(),
            *problems,
            self._why_incomplete(now),
        ]
        return [problem for problem in problems if problem]

    def warning(self, now: float) -> str:
        """Return what may be wrong with the decisions; empty if nothing is known."""
        return self._pace.warning(now) if self.is_rollout_running else ""

    def diagnose(self, now: float, *, name: str, hardware_id: str) -> list[DiagnosticStatus]:
        """Return a diagnostic status for every topic."""
        statuses = []
        for part, topic in self._topics():
            level, message, values = topic.diagnose(now, part.problem(topic, now))
            statuses.append(
                DiagnosticStatus(
                    level=level,
                    # The aggregator makes a space of every slash.
                    name=f"{name}: input {topic.name.removeprefix('/')}",
                    message=message,
                    hardware_id=hardware_id,
                    values=key_values(values),
                )
            )
        return statuses

    def _topics(self) -> Iterator[tuple[MonitorInput, MonitoredTopic]]:
        for part in self._inputs:
            for topic in part.topics:
                yield part, topic

    def _why_incomplete(self, now: float) -> str:
        """Return why decisions are late although their messages come; empty if they are not."""
        if self._policy.may_be_silent:
            return ""
        limit = self._policy.settings.max_decision_age
        is_late = self._last_complete is None or now - self._last_complete > limit
        needed = [
            topic
            for part in (self._policy, self._observations)
            if part is not None
            for topic in part.topics
        ]
        if not (is_late and self._policy.is_expected) or any(
            topic.stream.is_silent(now, limit) for topic in needed
        ):
            return ""
        return "" if self._observations is None else self._observations.why_unmatched()

    # From messages to decisions

    def _on_observation(self, matched: MatchedMessages, now: float) -> None:
        if self._pairing is not None:
            self._handle(self._pairing.add_embedding(matched.stamp, matched), now)
            return
        number = self._receive_decision(now)
        if number is not None:
            self._complete(_Parts(number, matched.stamp, matched, None), now)

    def _on_received(self, message: ReceivedPart) -> int | None:
        if message.part == TOKENS:
            return None
        if self._pairing is not None and (
            message.part == EMBEDDING or self._is_old(message.stamp)
        ):
            return None
        return self._receive_decision(message.received, message.lost, is_first=message.is_first)

    def _is_old(self, stamp: int) -> bool:
        """Return whether chunks are the rest of a decision from before the rollout.

        Only before its first decision: later ones come in the order of their stamps, or count.
        """
        return (
            self._pairing is not None
            and self.is_rollout_running
            and self._tally.received == 0
            and self._pairing.is_old(stamp)
        )

    def _receive_decision(
        self, now: float, lost: int = 0, *, is_first: bool = False
    ) -> int | None:
        """Return the number of a decision; None if it belongs to no rollout."""
        self._boundaries.receive_decision(now, is_first=is_first)
        if not self.is_rollout_running:
            return None
        self._pace.add(now)
        if lost:
            self._tally.lose(lost, now, LOST)
            self._on_unscored()
        return self._tally.receive(now, self._why_incomplete_yet)

    def _on_rejected(self, number: int | None, why: str) -> None:
        if number is not None:
            self._tally.set_unscored(number, why)
            self._on_unscored()

    def _on_part(self, message: ReceivedPart, number: int | None, values: Any) -> None:
        if message.part == TOKENS:
            settled_by_tokens = self._awaited.add_value(TOKENS_OF, message.stamp, values)
            self._handle_awaited(settled_by_tokens, message.received)
        elif self._pairing is not None and message.part == EMBEDDING:
            self._handle(self._pairing.add_embedding(message.stamp, values), message.received)
        elif number is None:
            return
        elif self._pairing is not None:
            chunks = _Chunks(values, message.publication)
            settled = self._pairing.add_chunks(number, message.stamp, chunks)
            self._handle(settled, message.received)
        elif message.part == CHUNKS:
            parts = _Parts(number, message.stamp, NO_EMBEDDING, values)
            self._await_values(parts, message.publication, message.received)
        else:
            self._complete(_Parts(number, message.stamp, values, None), message.received)

    def _handle(self, settled: Sequence[Pair | Unpaired], now: float) -> None:
        for one in settled:
            if isinstance(one, Unpaired):
                self._on_rejected(one.number, one.why)
            else:
                self._await_values(
                    _Parts(one.number, one.stamp, one.embedding, one.chunks.values),
                    one.chunks.publication,
                    now,
                )

    def _await_values(self, parts: _Parts, publication: Places, now: float) -> None:
        """Complete a decision once the values have come that are published with it."""
        places = dict.fromkeys(self._external.extras, publication)
        if TOKENS in self._policy.topics_by_part:
            places[TOKENS_OF] = Places(parts.stamp - 1, parts.stamp)
        self._handle_awaited(self._awaited.add_decision(parts.number, parts, places), now)
        if missing := self._awaited.missing():
            self._tally.set_waiting(parts.number, self._why_missing(missing))

    def _on_external_value(self, name: str, published: int, value: float) -> None:
        self._handle_awaited(self._awaited.add_value(name, published, value), time.monotonic())

    def _handle_awaited(self, settled: Settled, now: float) -> None:
        for one in settled:
            if isinstance(one, Incomplete):
                self._on_rejected(one.number, self._why_missing(one.missing))
            else:
                self._complete(one.decision, now, one.values)

    def _why_missing(self, name: str) -> str:
        if name == TOKENS_OF:
            topic = self._policy.topics_by_part[TOKENS].name
            return (
                f"no tokens with its stamp have come on '{topic}': publish those of every "
                "decision, with its stamp"
            )
        topic = self._external.topic_of(name).name
        return (
            f"the policy's tap published no value on '{topic}' with it, or it was lost: publish "
            f"the extra '{name}' with every decision"
        )

    def _complete(
        self, parts: _Parts, now: float, values: Mapping[str, Any] | None = None
    ) -> None:
        """Hand a decision on, unless a position or score that the rule needs is missing.

        Args:
            parts: what has come of it.
            now: when it was complete, in seconds of the monotonic clock.
            values: the external scores and tokens that were published with it.
        """
        self._last_complete = now
        number, stamp = parts.number, parts.stamp
        try:
            # First: whether the decision can be scored or not, the next one's interval begins.
            joints = self._joints.take(stamp)
            positions = None if self._positions is None else self._positions.at(stamp)
        except (JointMotionError, MeasurementError) as error:
            self._on_rejected(number, str(error))
            return
        for topic in self._external.topics:
            if problem := self._external.problem(topic, now):
                self._on_rejected(number, problem)
                return
        self._tally.set_at_work(number)
        extras = dict(values or {})
        tokens = extras.pop(TOKENS_OF, None)
        external = {**self._external.values(), **extras}
        age = self._arrivals.age(stamp, self._clock.now().nanoseconds, time.monotonic())
        self._on_decision(
            PendingDecision(
                number,
                stamp,
                parts.observation,
                parts.chunks,
                positions,
                joints,
                external,
                tokens,
                age,
            ),
            now,
        )


@dataclass(frozen=True, eq=False)
class _Chunks:
    """Action chunks, and when the values were published that belong to them."""

    values: NDArray[np.float32]
    publication: Places


@dataclass(frozen=True, eq=False)
class _Parts:
    """What has come of a decision: as in `PendingDecision`."""

    number: int
    stamp: int
    observation: Any
    chunks: NDArray[np.float32] | None


def _why_incomplete_yet(observations: ObservationInput | None, policy: PolicyInput) -> str:
    """Return why a decision that has just come cannot be scored yet."""
    if observations is not None:
        return "no observation with its stamp has come: it is late, or the stamps differ"
    if EMBEDDING in policy.topics_by_part and CHUNKS in policy.topics_by_part:
        topic = policy.topics_by_part[EMBEDDING].name
        return f"no embedding with its stamp has come on '{topic}': it is missing, or late"
    return NOT_YET_SCORED


def waiting_tokens_of(shape: tuple[int, int] | None) -> int:
    """Return of how many decisions tokens of a shape may wait for their action chunks."""
    if shape is None:
        return MAX_WAITING_TOKENS
    waiting = TOKEN_BYTES // (4 * shape[0] * shape[1])
    return min(max(waiting, MIN_WAITING_TOKENS), MAX_WAITING_TOKENS)


def _pairing(models: MonitoredModels, embedding_size: int) -> DecisionPairing | None:
    """Return the pairing of the policy's messages; None where one message is a decision."""
    if CHUNKS not in models.published_parts:
        return None
    if models.cameras:
        return DecisionPairing(MAX_WAITING_IMAGES)
    if EMBEDDING not in models.published_parts:
        return None
    waiting = EMBEDDING_BYTES // (4 * embedding_size)
    return DecisionPairing(min(max(waiting, MIN_WAITING_EMBEDDINGS), MAX_WAITING_EMBEDDINGS))
