# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The rule that calibration chooses where no scores are named: the best that is known for what
policy and robot give.

Each default score needs some of what they may give, and some scores only stand in for what is
missing. The table was chosen on development tasks, every task by the others:
docs/detection_appendix.md, "The rules for less, measured".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from failure_monitor.decision import PolicyFormat, Rollout
from failure_monitor.listed_names import list_names
from failure_monitor.scores.base.executed_actions import usual_actions
from failure_monitor.scores.base.score import ScoreUndefinedError
from failure_monitor.scores.registry import score_named
from failure_monitor.thresholds.conformal import CalibrationError


class Signal(Enum):
    """What policy and robot may give: what it is called, and what a rule lacks without it."""

    EMBEDDING = (
        "an embedding",
        "no embedding: with it the rule knows what the policy sees, and on development tasks "
        "early AUROC was .87 instead of .85; where there are joint states it brought nothing more "
        "(publish what the action head is conditioned on)",
    )
    SAMPLES = (
        "several sampled chunks a decision",
        "one chunk a decision, or several that are the same: with 16 sampled ones their "
        "disagreement counts, too, which matters most where there is no embedding",
    )
    EXECUTED = (
        "how many actions are executed",
        "unknown how many actions of a chunk are executed: with that the rule knows what was "
        "commanded, which is its strongest score where there is an embedding (--control-period or "
        "--executed-actions)",
    )
    JOINTS = (
        "joint states",
        "no joint states: with them changed dynamics and a weak gripper are found earlier, and on "
        "development tasks of an arm early AUROC was .91 instead of .85",
    )
    TOKENS = (
        "tokens",
        "no tokens: with them each part of what the policy sees is compared for itself",
    )

    def __init__(self, title: str, without: str) -> None:
        self.title = title
        self.without = without


@dataclass(frozen=True)
class Candidate:
    """A score that may be part of the chosen rule.

    Attributes:
        score: its name.
        needs: what it needs.
        stands_in_for: what must be missing for it to be worth its place.
    """

    score: str
    needs: frozenset[Signal] = frozenset()
    stands_in_for: frozenset[Signal] = frozenset()

    def belongs_to(self, given: frozenset[Signal]) -> bool:
        """Return whether it is part of the rule for what is given."""
        return self.needs <= given and not self.stands_in_for & given


OF_ROLLOUTS: Mapping[Signal, Callable[[Rollout], bool]] = {
    Signal.JOINTS: lambda rollout: rollout.joints is not None,
    Signal.TOKENS: lambda rollout: rollout.tokens is not None,
}
"""Whether a rollout gives what some may give and others not."""

CANDIDATES = (
    Candidate("command_effect", frozenset({Signal.EMBEDDING, Signal.EXECUTED})),
    Candidate("dispersion_profile", frozenset({Signal.SAMPLES})),
    Candidate("one_step", frozenset({Signal.EMBEDDING})),
    Candidate("phase_knn", frozenset({Signal.EMBEDDING})),
    Candidate("chunk_lag"),
    # Either says what it needs where neither executed actions nor sent commands are known.
    Candidate("joint_effect", frozenset({Signal.JOINTS})),
    Candidate("gripper_effect", frozenset({Signal.JOINTS})),
    Candidate(
        "stac",
        needs=frozenset({Signal.SAMPLES, Signal.EXECUTED}),
        stands_in_for=frozenset({Signal.EMBEDDING}),
    ),
    Candidate(
        "stac_single",
        needs=frozenset({Signal.EXECUTED}),
        stands_in_for=frozenset({Signal.EMBEDDING, Signal.SAMPLES}),
    ),
)


@dataclass(frozen=True)
class RuleChoice:
    """The scores that were chosen.

    Attributes:
        scores: their names.
        why: why these; a sentence.
        left_out: which others mean nothing for these rollouts, and why; a sentence each.
        lacking: what is not given, and what it would bring; a sentence each.
    """

    scores: tuple[str, ...]
    why: str
    left_out: tuple[str, ...] = ()
    lacking: tuple[str, ...] = ()

    @property
    def reasons(self) -> tuple[str, ...]:
        """All of it, a sentence each."""
        return (self.why, *self.left_out, *self.lacking)


def choose_rule(rollouts: Sequence[Rollout], policy: PolicyFormat) -> RuleChoice:
    """Return the scores of the best rule that is known for what these rollouts give.

    Raises:
        CalibrationError: none of them can be used.
        InvalidDecisionError: a decision is not of the policy's format.
    """
    for rollout in rollouts:
        rollout.check(policy)
    given = signals_of(rollouts, policy)
    chosen: list[str] = []
    left_out: list[str] = []
    for candidate in CANDIDATES:
        if candidate.belongs_to(given):
            try:
                score_named(candidate.score).fit(rollouts, policy)
            except ScoreUndefinedError as error:
                reason = str(error).removeprefix(f"{candidate.score}: ")
                left_out.append(f"without the score {candidate.score}: {reason}")
            else:
                chosen.append(candidate.score)
    if not chosen:
        raise CalibrationError(f"none of the default scores can be used: {'; '.join(left_out)}")
    return RuleChoice(
        tuple(chosen), _why(chosen, given), tuple(left_out), tuple(_lacking(given, rollouts))
    )


def _why(scores: Sequence[str], given: frozenset[Signal]) -> str:
    titles = [signal.title for signal in Signal if signal in given]
    return (
        f"the rule is of {', '.join(scores)}: the best that is known for rollouts that give "
        f"{', '.join(titles) or 'one chunk a decision and nothing else'}"
    )


def _lacking(given: frozenset[Signal], rollouts: Sequence[Rollout]) -> list[str]:
    """Return what each missing signal would bring, where a score is there that would use it."""
    more = [
        candidate
        for candidate in CANDIDATES
        if not candidate.belongs_to(given) and not candidate.stands_in_for & given
    ]
    missing = frozenset().union(*(candidate.needs for candidate in more)) - given
    return [_without(signal, rollouts) for signal in Signal if signal in missing]


def _without(signal: Signal, rollouts: Sequence[Rollout]) -> str:
    """Return what a rule lacks without a signal, and which rollouts lack it if not all do."""
    gives = OF_ROLLOUTS.get(signal)
    names = [rollout.name for rollout in rollouts if gives is not None and not gives(rollout)]
    if gives is None or len(names) == len(rollouts):
        return signal.without
    count = f"{len(names)} of {len(rollouts)} rollouts"
    return f"{signal.without} ({count} lack them: {list_names(names)})"


def signals_of(rollouts: Sequence[Rollout], policy: PolicyFormat) -> frozenset[Signal]:
    """Return what all of the rollouts give."""
    given = {signal for signal, gives in OF_ROLLOUTS.items() if all(map(gives, rollouts))}
    if policy.embedding_size:
        given.add(Signal.EMBEDDING)
    if any((rollout.chunks[:, 1:] != rollout.chunks[:, :1]).any() for rollout in rollouts):
        given.add(Signal.SAMPLES)
    if usual_actions(policy, rollouts) is not None:
        given.add(Signal.EXECUTED)
    return frozenset(given)
