# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Reads outcomes, groups and tasks of rollouts from a file written by hand.

Either CSV, whose first row names the columns; `rollout` is required:

    rollout,outcome,group,task,claim
    rollout_0001,success,,,
    rollout_0002,failure,camera,pick,success

or YAML, with the outcome alone or with more fields:

    rollout_0001: success
    rollout_0002: {outcome: failure, group: camera, task: pick, claim: success}

The outcome is what is known by now, the claim what was said at the end of the rollout.

A rollout is named as in every table, or by the end of its path: `monday/rollout_0001`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from failure_monitor.decision import Rollout
from failure_monitor.listed_names import list_names
from failure_monitor.sources.addresses import resolved
from failure_monitor.sources.bag_files import FILE_SUFFIXES
from failure_monitor.sources.csv_table import read_rows, read_text
from failure_monitor.sources.source import SourceError

logger = logging.getLogger(__name__)

OUTCOMES = {
    **dict.fromkeys(("success", "true", "yes", "s", "1"), True),
    **dict.fromkeys(("failure", "false", "no", "f", "0"), False),
    **dict.fromkeys(("", "unknown"), None),
}
"""The words for an outcome, in any case; an empty one stands for an unknown outcome."""

NAME, OUTCOME, GROUP, TASK, CLAIM = COLUMNS = ("rollout", "outcome", "group", "task", "claim")


@dataclass(frozen=True)
class Label:
    """What is known of one rollout.

    Attributes:
        success: The outcome; None if unknown.
        group: The group for evaluation; empty if unknown.
        task: The robot's task; empty if unknown.
        claim: What was claimed at the end; None if unknown.
    """

    success: bool | None = None
    group: str = ""
    task: str = ""
    claim: bool | None = None


@dataclass(frozen=True)
class Labels:
    """The labels of a file.

    Attributes:
        path: The file.
        by_name: The labels, by the names of rollouts.
    """

    path: Path
    by_name: Mapping[str, Label]

    def apply(self, rollouts: Sequence[Rollout]) -> tuple[Rollout, ...]:
        """Return the rollouts with their labels; fields that are unknown stay as they were.

        The file may label rollouts of other sources too, of which a warning tells.

        Raises:
            SourceError: A label fits several rollouts, or none while a rollout has no label; or a
                rollout has several labels.
        """
        label_of: dict[int, str] = {}
        without: list[str] = []
        for name in self.by_name:
            place = self._place(name, rollouts)
            if place is None:
                without.append(name)
                continue
            if place in label_of:
                raise SourceError(
                    f"{self.path} labels {rollouts[place].name} twice, as '{label_of[place]}' and "
                    f"as '{name}': leave one of them out"
                )
            label_of[place] = name
        unlabelled = [each.name for place, each in enumerate(rollouts) if place not in label_of]
        self._report_without_rollout(without, unlabelled)
        return tuple(
            self._with_label(rollout, label_of.get(place))
            for place, rollout in enumerate(rollouts)
        )

    def reject_unlabelled(self, rollouts: Sequence[Rollout]) -> None:
        """Reject rollouts whose outcome is unknown, from labels and sources alike.

        Raises:
            SourceError: There is such a rollout.
        """
        unlabelled = [rollout.name for rollout in rollouts if rollout.success is None]
        if unlabelled:
            raise SourceError(
                f"{self.path} has no outcome for {list_names(unlabelled)}, nor have the sources: "
                "add a label, or leave the rollouts out"
            )

    def _report_without_rollout(self, without: Sequence[str], unlabelled: Sequence[str]) -> None:
        """Warn of labels without a rollout, unless they may be meant for one without a label.

        Raises:
            SourceError: One of them may be a misspelt name of a rollout.
        """
        if without and unlabelled:
            raise SourceError(
                f"{self.path} labels '{without[0]}', and there is no such rollout, while "
                f"{list_names(unlabelled)} {'has' if len(unlabelled) == 1 else 'have'} no label: "
                f"correct the name, or label all of these rollouts, or leave {len(without)} "
                f"label{'s' if len(without) > 1 else ''} without a rollout out "
                f"({list_names(without)})"
            )
        if without:
            logger.warning(
                "%s: %d labels are for rollouts that are not in these sources (%s)",
                self.path,
                len(without),
                list_names(without),
            )

    def _place(self, name: str, rollouts: Sequence[Rollout]) -> int | None:
        places = [place for place, rollout in enumerate(rollouts) if _is_called(rollout, name)]
        if not places:
            return None
        if len(places) > 1:
            raise SourceError(
                f"{self.path} labels '{name}', and there are {len(places)} such rollouts "
                f"({list_names(rollouts[place].source for place in places)}): name more of its "
                "path"
            )
        return places[0]

    def _with_label(self, rollout: Rollout, name: str | None) -> Rollout:
        if name is None:
            return rollout
        label = self.by_name[name]
        if None not in (label.success, rollout.success) and label.success is not rollout.success:
            logger.warning(
                "%s: %s overrides the outcome that was recorded", rollout.name, self.path
            )
        claim = rollout.claim if label.claim is None else label.claim
        success, by = rollout.success, rollout.outcome_by
        if label.success is not None:
            success, by = label.success, "labels"
        # What a source states of itself, as a simulator does, is worth more than a claim.
        elif claim is not None and (success is None or by == "claim"):
            success, by = claim, "claim"
        return replace(
            rollout,
            success=success,
            group=label.group or rollout.group,
            task=label.task or rollout.task,
            claim=claim,
            outcome_by=by,
        )


def read_labels(path: Path) -> Labels:
    """Read a file of labels.

    Raises:
        SourceError: It is missing, neither CSV nor YAML, or holds something other than labels.
    """
    readers = {".csv": _rows, ".yaml": _entries, ".yml": _entries}
    if path.suffix not in readers:
        raise SourceError(f"{path} is neither .csv nor .yaml: write the labels as one of these")
    by_name: dict[str, Label] = {}
    for name, fields in readers[path.suffix](path, read_text(path)):
        if name in by_name:
            raise SourceError(f"{path} labels '{name}' twice: leave one of them out")
        by_name[name] = _label(path, name, fields)
    return Labels(path, by_name)


def _rows(path: Path, text: str) -> Iterator[tuple[str, Mapping[str, str]]]:
    for _, row in read_rows(path, text, COLUMNS[:1], COLUMNS[1:]):
        yield row.pop(NAME).strip(), row


def _entries(path: Path, text: str) -> Iterator[tuple[str, Mapping[str, str]]]:
    # No value is constructed, so that tags have no effect, 0001 stays 0001, and repeated keys are
    # noticed.
    try:
        root = yaml.compose(text, yaml.BaseLoader)
    except (yaml.YAMLError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise SourceError(f"{path} is not YAML ({reason}): correct it") from None
    if not isinstance(root, yaml.MappingNode):
        raise SourceError(
            f"{path} holds no rollouts with their labels, such as 'rollout_0001: success'"
        )
    for name, label in _pairs(path, root):
        if isinstance(label, yaml.MappingNode):
            yield name, {key: _word(path, value) for key, value in _pairs(path, label)}
        else:
            yield name, {OUTCOME: _word(path, label)}


def _pairs(path: Path, node: yaml.MappingNode) -> Iterator[tuple[str, yaml.Node]]:
    for key, value in node.value:
        yield _word(path, key), value


def _word(path: Path, node: yaml.Node) -> str:
    if not isinstance(node, yaml.ScalarNode) or not node.tag.startswith("tag:yaml.org,2002:str"):
        line = node.start_mark.line + 1
        raise SourceError(f"{path}, line {line}: there is a {node.tag}, expected a word")
    return str(node.value)


def _label(path: Path, name: str, fields: Mapping[str, str]) -> Label:
    unknown = [key for key in fields if key not in COLUMNS[1:]]
    if unknown:
        raise SourceError(
            f"{path}, {name}: unknown field '{unknown[0]}', expected {', '.join(COLUMNS[1:])}"
        )
    outcome, group, task, claim = (fields.get(key, "").strip() for key in COLUMNS[1:])
    for what, word in ((OUTCOME, outcome), (CLAIM, claim)):
        if word.lower() not in OUTCOMES:
            raise SourceError(
                f"{path}, {name}: the {what} is '{word}', expected success or failure"
            )
    return Label(OUTCOMES[outcome.lower()], group, task, OUTCOMES[claim.lower()])


def _is_called(rollout: Rollout, name: str) -> bool:
    """Return whether a name is that of the rollout, or the end of its path and its number."""
    source = resolved(Path(rollout.source)).as_posix()
    number = "/" + rollout.name.rpartition("/")[2] if "/" in rollout.name else ""
    paths = {source, source.removesuffix(next(filter(source.endswith, FILE_SUFFIXES), ""))}
    return rollout.name == name or any(
        f"{path}{behind}".endswith(f"/{name}") for path in paths for behind in ("", number)
    )
