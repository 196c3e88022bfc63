# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What `meta_json` of a rollout archive states, each item checked when it is read."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from failure_monitor.decision import ACTION_KINDS, ActionKind
from failure_monitor.messages.measured_positions import POSITION_TYPES, PositionsTopic
from failure_monitor.messages.sent_commands import SENT_TYPES
from failure_monitor.policy_description import PolicyDescription, PolicyDescriptionError
from failure_monitor.sources.archive_arrays import TEXTS, ArchiveArrays
from failure_monitor.sources.source import SourceError


class ArchiveMeta:
    """The items of `meta_json`, each checked when it is read.

    All methods raise a SourceError that names an item of another type or range.
    """

    def __init__(self, arrays: ArchiveArrays) -> None:
        path = arrays.path
        text = str(arrays.read("meta_json", TEXTS, ()))
        try:
            content = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise SourceError(
                f"{path}: 'meta_json' is not JSON ({error}): write it again"
            ) from None
        self._content: Mapping[str, Any] = content if isinstance(content, dict) else {}
        self._path = path

    def action_names(self, dimensions: int) -> tuple[str, ...]:
        """Return the names of so many action dimensions."""
        names = self._content.get("action_names")
        if (
            not isinstance(names, list)
            or len(names) != dimensions
            or not all(isinstance(name, str) for name in names)
        ):
            raise self._wrong("action_names", names, f"a list of {dimensions} names")
        return tuple(names)

    def names(
        self, key: str, count: int, default: Sequence[str], endings: tuple[str, ...] = ("",)
    ) -> tuple[str, ...]:
        """Return so many names, each another, that stand under a key; else the default ones.

        Each ends with one of the endings.
        """
        names = self._content.get(key)
        if names is None and default:
            return tuple(default)
        if (
            not isinstance(names, list)
            or len(names) != count
            or not all(name and isinstance(name, str) and name.endswith(endings) for name in names)
            or len(set(names)) != count
        ):
            ending = f" and ending with {' or '.join(endings)}" if all(endings) else ""
            raise self._wrong(key, names, f"a list of {count} names, each another{ending}")
        return tuple(names)

    def action_kind(self) -> ActionKind | None:
        """Return what actions are; None if that is not stated."""
        kind = self._content.get("action_kind")
        if kind is not None and kind not in ACTION_KINDS:
            raise self._wrong("action_kind", kind, f"one of {', '.join(ACTION_KINDS)}")
        return kind

    def position_names(self, action_names: tuple[str, ...]) -> tuple[str, ...] | None:
        """Return the names of the actions that are positions; None if there are none."""
        indices = self._content.get("position_dims")
        if indices is None:
            return None
        allowed = range(len(action_names))
        if not isinstance(indices, list) or not all(
            type(index) is int and index in allowed  # 1.0 and true are in it too
            for index in indices
        ):
            raise self._wrong("position_dims", indices, f"a list of numbers in {list(allowed)}")
        return tuple(action_names[index] for index in indices) or None

    def control_step_seconds(self) -> float:
        """Return the seconds of a control step, in which `env_step` counts."""
        reason = "since there is no array 'stamp'"
        return self._positive("decision_dt_s", reason) / self._positive("exec_horizon", reason)

    def executed_actions(self) -> int | None:
        """Return how many actions of a chunk were executed; None if that is not stated."""
        actions = self._content.get("exec_horizon")
        if actions is not None and (type(actions) is not int or actions < 1):
            raise self._wrong("exec_horizon", actions, "a positive whole number")
        return actions

    def control_period(self, *, has_steps: bool) -> float | None:
        """Return the seconds from an executed action to the next; None if they are unknown."""
        if self._content.get("control_period") is not None:
            return self._positive("control_period", "the seconds from one action to the next")
        return self.control_step_seconds() if has_steps else None

    def stated_policy(self, action_names: tuple[str, ...]) -> PolicyDescription | None:
        """Return what the policy stated about itself; None if nothing."""
        content = self._content.get("stated_policy")
        if content is None:
            return None
        try:
            stated = PolicyDescription.from_json(json.dumps(content))
        except PolicyDescriptionError as error:
            why_not = str(error)
        else:
            why_not = stated.why_not_of(action_names)
        if why_not:
            raise SourceError(
                f"{self._path}: 'stated_policy' in 'meta_json': {why_not}; or read the archive "
                "without it, --format-topic ''"
            )
        return stated

    def joint_topics(self) -> tuple[str, ...]:
        """Return the topics that joints were read from."""
        topics = self._content.get("joint_topics")
        count = len(topics) if isinstance(topics, list) else 0
        return () if topics is None else self.names("joint_topics", count, ())

    def commands_topic(self) -> tuple[str, str]:
        """Return the topic of commands as sent and its type; both empty if unknown."""
        topic, message_type = self.text("commands_topic"), self.text("commands_type")
        if topic and message_type not in SENT_TYPES:
            raise self._wrong("commands_type", message_type, f"one of {', '.join(SENT_TYPES)}")
        return topic, message_type

    def positions_topic(self) -> PositionsTopic | None:
        """Return the topic that positions were read from; None if it is unknown."""
        topic = self._content.get("positions_topic")
        if topic is None:
            return None
        stated = topic if isinstance(topic, dict) else {}
        name, kind, joints = (stated.get(key) for key in ("name", "message_type", "joints"))
        if (
            not isinstance(name, str)
            or kind not in POSITION_TYPES
            or not isinstance(joints, list)
            or not all(isinstance(joint, str) for joint in joints)
        ):
            expected = f"its name, its message_type ({' or '.join(POSITION_TYPES)}) and its joints"
            raise self._wrong("positions_topic", topic, expected)
        return PositionsTopic(name, kind, tuple(joints))

    def message_types(self) -> Mapping[str, str]:
        """Return the types of topics, by their names."""
        types = self._content.get("message_types")
        if types is not None and not (
            isinstance(types, dict) and all(isinstance(kind, str) for kind in types.values())
        ):
            raise self._wrong("message_types", types, "the types of topics, by their names")
        return types or {}

    def was_told_task(self) -> bool:
        """Return whether the policy was told its task."""
        told = self._content.get("was_told_task")
        if told is not None and not isinstance(told, bool):
            raise self._wrong("was_told_task", told, "true or false")
        return bool(told)

    def text(self, key: str) -> str:
        """Return a text; empty if there is none."""
        text = self._content.get(key)
        if text is not None and not isinstance(text, str):
            raise self._wrong(key, text, "a text")
        return text or ""

    def position_scale(self) -> float:
        """Return by what measured positions are divided."""
        scale = self._content.get("position_scale")
        return 1.0 if scale is None else self._positive("position_scale", "to divide 'ee_pos' by")

    def _positive(self, key: str, reason: str) -> float:
        value = self._content.get(key)
        # In Python the true of JSON is also the number 1.
        if (
            isinstance(value, bool)
            or not isinstance(value, (int, float))
            or not 0 < value < math.inf
        ):
            raise self._wrong(key, value, f"a positive number, {reason}")
        return float(value)

    def _wrong(self, key: str, value: object, expected: str) -> SourceError:
        return SourceError(
            f"{self._path}: '{key}' in 'meta_json' is {json.dumps(value)}, expected {expected}: "
            "write it in the format of rollout archives"
        )
