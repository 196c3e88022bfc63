# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What sources hold, as tables: topics, the rollouts in all, and each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.markup import escape
from rich.table import Table

from failure_monitor.cli.policy_rows import add_policy_rows
from failure_monitor.cli.terminal_table import terminal_table
from failure_monitor.decision import Rollout
from failure_monitor.schema import plain
from failure_monitor.text_table import TextTable

if TYPE_CHECKING:
    from failure_monitor.sources.bag_topics import RecordedTopic
    from failure_monitor.sources.rollout_set import RolloutSet
    from failure_monitor.sources.source import BlackBox, Reception, Topics

OUTCOMES = {True: "success", False: "failure", None: "unknown"}
UNDEFINED = "–"


def topics_table(topics: Sequence[RecordedTopic], wanted: Topics, black_box: BlackBox) -> Table:
    """Return a table of the topics of bags, and as what each is read."""
    meanings = {topic: name for name, topic in vars(wanted).items() if isinstance(topic, str)}
    meanings |= {topic: f"external:{name}" for name, topic in wanted.external.items()}
    if black_box.sampler is not None:
        del meanings[wanted.action_chunks]
    if black_box.encoder is not None:
        meanings.pop(wanted.embedding, None)
        meanings |= {topic: f"camera {name}" for name, topic in black_box.cameras.items()}
        meanings[black_box.joints] = "joints"
    table = Table(title="Topics", title_justify="left")
    table.add_column("topic", overflow="fold")
    table.add_column("type", overflow="fold")
    for column in ("messages", "per second", "in bags"):
        table.add_column(column, justify="right")
    table.add_column("read as")
    for topic in topics:
        table.add_row(
            escape(topic.name),
            escape(topic.message_type),
            str(topic.messages),
            _number(topic.rate, 1),
            "all" if topic.bags == topic.of_bags else f"{topic.bags} of {topic.of_bags}",
            meanings.get(topic.name, "").replace("_", " "),
        )
    return table


def contents_table(rollout_set: RolloutSet, title: str) -> Table:
    """Return a table of how many rollouts there are, and of what policy."""
    rollouts = rollout_set.rollouts
    outcomes = [rollout.success for rollout in rollouts]
    table = Table(title=title, show_header=False, title_justify="left")
    table.add_row(
        "rollouts",
        f"{len(rollouts)}: {outcomes.count(True)} succeeded, {outcomes.count(False)} failed, "
        f"{outcomes.count(None)} without an outcome",
    )
    if helped := sum(rollout.has_intervention for rollout in rollouts):
        table.add_row("interventions", f"a human acted in {helped} of them")
    tasks = sorted({rollout.task for rollout in rollouts} - {""})
    table.add_row("tasks", escape(", ".join(tasks)) or "unknown")
    groups = sorted({rollout.group for rollout in rollouts} - {""})
    if groups:
        table.add_row("groups", escape(", ".join(groups)))
    table.add_row("decisions", str(sum(len(rollout) for rollout in rollouts)))
    add_policy_rows(table, rollout_set.policy, rollout_set.stated_policy)
    return table


@dataclass(frozen=True)
class ListedRollout:
    """A rollout in a few numbers.

    Attributes:
        name: of the rollout.
        outcome: success, failure or unknown.
        group: what evaluation groups by.
        task: what the robot was to do.
        decisions: how many.
        seconds: from the first to the last.
        rate: the usual number of decisions a second; None for a single one.
        longest_gap: the longest time between two decisions, in seconds; None for a single one.
        delay: seconds from a header stamp to bag time, the median; None outside of bags.
        delay_spread: by how much it varies; None outside of bags.
        lost: messages of its bag without a partner or with a repeated stamp; None outside of bags.
        source: where it came from.
        sha256: of what it was read from.
    """

    name: str
    outcome: str
    group: str
    task: str
    decisions: int
    seconds: float
    rate: float | None
    longest_gap: float | None
    delay: float | None
    delay_spread: float | None
    lost: int | None
    source: str
    sha256: str


def rollouts_table(rollout_set: RolloutSet) -> Table:
    """Return a table with a row for each rollout, without columns that are empty."""
    rows = _listed_rollouts(rollout_set)
    columns = {
        "outcome": [row.outcome for row in rows],
        "group": [row.group for row in rows],
        "task": [row.task for row in rows],
        "decisions": [str(row.decisions) for row in rows],
        "seconds": [_number(row.seconds, 1) for row in rows],
        "per second": [_number(row.rate, 1) for row in rows],
        "longest gap": [_number(row.longest_gap, 3) for row in rows],
        "bag time behind stamps": [_delay(row) for row in rows],
        "messages lost": [str(row.lost or "") for row in rows],
    }
    shown = {
        name: cells
        for name, cells in columns.items()
        if any(c not in ("", UNDEFINED) for c in cells)
    }
    return terminal_table(
        TextTable(
            title="Rollouts",
            columns=("rollout", *shown),
            rows=tuple(zip((row.name for row in rows), *shown.values(), strict=True)),
            left_aligned=frozenset({"outcome", "group", "task"}),
        )
    )


def rollouts_json(rollout_set: RolloutSet) -> dict[str, Any]:
    """Return the policy and all rollouts in JSON's own types."""
    return {
        "policy": asdict(rollout_set.policy),
        "stated_policy": plain(rollout_set.stated_policy),
        "rollouts": [asdict(row) for row in _listed_rollouts(rollout_set)],
    }


def topics_json(topics: Sequence[RecordedTopic]) -> list[Mapping[str, Any]]:
    """Return the topics in JSON's own types."""
    return [asdict(topic) for topic in topics]


def _listed_rollouts(rollout_set: RolloutSet) -> list[ListedRollout]:
    return [
        _listed(rollout, rollout_set.receptions.get(rollout.sha256))
        for rollout in rollout_set.rollouts
    ]


def _listed(rollout: Rollout, reception: Reception | None) -> ListedRollout:
    timing = rollout.timing
    return ListedRollout(
        name=rollout.name,
        outcome=OUTCOMES[rollout.success],
        group=rollout.group,
        task=rollout.task,
        decisions=len(rollout),
        seconds=timing.seconds,
        rate=timing.rate,
        longest_gap=timing.longest_gap,
        delay=None if reception is None else float(np.median(reception.delays)),
        delay_spread=None if reception is None else float(np.ptp(reception.delays)),
        lost=None if reception is None else reception.unpaired + reception.repeated,
        source=rollout.source,
        sha256=rollout.sha256,
    )


def _delay(row: ListedRollout) -> str:
    if row.delay is None or row.delay_spread is None:
        return UNDEFINED
    return f"{row.delay:.3f} s ± {row.delay_spread / 2:.3f}"


def _number(value: float | None, digits: int) -> str:
    return UNDEFINED if value is None else f"{value:.{digits}f}"
