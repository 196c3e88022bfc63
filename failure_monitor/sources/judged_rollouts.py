# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""An outside judge's numbers of labelled rollouts.

They are read from recordings, from rollout logs and from CSV, whose first row names the columns:

    rollout,value,outcome
    rollout_0001,0.93,success
    rollout_0002,0.41,failure
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from failure_monitor.decision import OutcomeSource, Rollout
from failure_monitor.errors import UsageError
from failure_monitor.listed_names import list_names
from failure_monitor.parameters.topics import judge_topic
from failure_monitor.rollout_log.log_file import SUFFIX, read_log
from failure_monitor.sources.addresses import is_address, located, shown
from failure_monitor.sources.csv_table import read_rows, read_text
from failure_monitor.sources.labels import OUTCOMES
from failure_monitor.sources.reading_options import Progress, ReadingOptions, no_progress
from failure_monitor.sources.source import SourceError

logger = logging.getLogger(__name__)

COLUMNS = ("rollout", "value", "outcome")

NO_OUTCOME, NO_NUMBER = "without a known outcome", "without a number of this judge"
NOT_FINITE, HUMAN = "whose number is NaN or infinite", "in which a human acted"


@dataclass(frozen=True)
class JudgedRollout:
    """A labelled rollout and a judge's number of it.

    Attributes:
        name: its name.
        value: the number; None without one.
        success: whether it was a success; None if unknown.
        by: who stated the outcome.
        why_not: why it cannot count, whatever its number; empty if it can.
    """

    name: str
    value: float | None
    success: bool | None
    by: OutcomeSource = ""
    why_not: str = ""

    @property
    def why_left_out(self) -> str:
        """Why it is left out; empty if it counts."""
        if self.why_not:
            return self.why_not
        if self.success is None:
            return NO_OUTCOME
        if self.value is None:
            return NO_NUMBER
        return "" if math.isfinite(self.value) else NOT_FINITE


def judged_rollouts(
    name: str,
    sources: Sequence[Path],
    *,
    reading: ReadingOptions | None = None,
    progress: Progress = no_progress,
) -> list[JudgedRollout]:
    """Return the rollouts of all sources, with a judge's numbers of them.

    Raises:
        FailureMonitorError: a source cannot be read, names a rollout twice, or no rollout has a
            number.
    """
    sources = [located(path) for path in sources]
    tables = [path for path in sources if path.suffix.lower() == ".csv"]
    logs = [path for path in sources if path.name.endswith(SUFFIX)]
    recordings = [path for path in sources if path not in tables and path not in logs]
    for path in (*tables, *logs):
        if is_address(path):
            raise SourceError(
                f"{shown(path)} is an address, and tables and rollout logs are files of this "
                "machine: copy it here"
            )
    judged = [each for path in tables for each in _of_table(path)]
    judged += [each for path in logs for each in _of_log(path, name)]
    if recordings:
        options = reading_judge(reading or ReadingOptions(), name)
        rollouts = options.read(recordings, progress=progress).rollouts
        judged += [judged_rollout(rollout, name) for rollout in rollouts]
    elif reading is not None and reading.labels is not None:
        raise UsageError("'--labels' is for recordings: write outcomes into the CSV itself")
    repeated = [each for each, count in Counter(one.name for one in judged).items() if count > 1]
    if repeated:
        raise SourceError(
            f"{list_names(repeated)} are named twice among the rollouts: leave one of them out"
        )
    require_numbers(name, judged)
    return judged


def reading_judge(options: ReadingOptions, name: str) -> ReadingOptions:
    """Return options by which a judge's numbers are read from bags: on its usual topic, if no
    other is named.
    """
    topic = options.topics.judge or f"/{judge_topic(name)}"
    return replace(options, topics=replace(options.topics, judge=topic))


def require_numbers(name: str, judged: Sequence[JudgedRollout]) -> None:
    """Reject rollouts of which none has a number of a judge of this name.

    Raises:
        SourceError: states what to record.
    """
    left_out = Counter(each.why_left_out for each in judged)
    if not left_out[""] and left_out[NO_NUMBER]:
        raise SourceError(
            f"none of {len(judged)} rollouts has a number of the judge '{name}': record "
            f"'/{judge_topic(name)}' until after each rollout, or name its topic, "
            "--judge-topic TOPIC"
        )


def judged_rollout(rollout: Rollout, name: str) -> JudgedRollout:
    """Return a rollout that was read, with a judge's number of it.

    Without one, the last value of an external score of its name is its number.
    """
    value = rollout.judged
    if value is None and name in rollout.external and len(rollout):
        value = float(rollout.external[name][-1])
    human = HUMAN if rollout.has_intervention else ""
    return JudgedRollout(rollout.name, value, rollout.success, rollout.outcome_by, human)


def _of_log(path: Path, name: str) -> Iterator[JudgedRollout]:
    for record in read_log(path, lambda remark: logger.warning("%s", remark)):
        yield JudgedRollout(
            record.rollout,
            record.judges.get(name),
            None if record.outcome is None else record.outcome == "success",
            "operator" if record.label else "claim",
            HUMAN if record.intervention else "",
        )


def _of_table(path: Path) -> Iterator[JudgedRollout]:
    for number, row in read_rows(path, read_text(path), COLUMNS):
        yield _of_row(path, number, row)


def _of_row(path: Path, number: int, row: Mapping[str, str]) -> JudgedRollout:
    rollout, value, outcome = (row[column].strip() for column in COLUMNS)
    if not rollout:
        raise SourceError(f"{path}, line {number}: the rollout has no name: give it one")
    if outcome.lower() not in OUTCOMES:
        raise SourceError(
            f"{path}, line {number}: the outcome is '{outcome}', expected success or failure"
        )
    try:
        said = float(value) if value else None
    except ValueError:
        raise SourceError(
            f"{path}, line {number}: the value is '{value}', expected a number"
        ) from None
    return JudgedRollout(rollout, said, OUTCOMES[outcome.lower()], "labels")
