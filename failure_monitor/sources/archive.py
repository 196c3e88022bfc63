# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Reads and writes rollout archives: one `.npz` file with the decisions of all rollouts in a row.

N is the number of decisions, M of rollouts; B, H, D and E are as everywhere.

    action_chunks    (N, B, H, D)  float
    stamp            (N,)          float, seconds; or env_step (N,), whole, control steps
    episode_start    (M,)          whole, a rollout's first decision
    episode_length   (M,)          whole, its number of decisions
    success          (M,)          bool
    meta_json        ()            str: action_names, action_kind, position_dims, stated_policy,
                                   control_period, and, for env_step, decision_dt_s and
                                   exec_horizon

stated_policy is what the policy stated about itself on policy/format, and may be missing.
exec_horizon is how many actions of a chunk were executed before the next decision, and
control_period the seconds from one executed action to the next. With it, as with env_step, the
stamps tell how many were executed, decision by decision.

Optional arrays are obs_embedding (N, E) float, which policies without an embedding do not have;
is_calibration (M,) bool; subtype (M,) str, the group; success_known and
calibration_known (M,) bool, false where success and is_calibration are unknown; claim (M,) bool
and outcome_by (M,) str, who claimed and who stated the success; judged (M,) float, the number of
an outside judge; name, source and sha256 (M,) str; task (M,) str, by default the task of
meta_json; intervention (N,) bool, whether a human acted between the decision and the next; and
ee_pos (N, P) float, the measured positions of position_dims. ee_pos is divided by position_scale
of meta_json, by default 1. tokens (N, T, F) float are those of the policy's network, and
external_NAME (N,) float is the external score NAME. Beside any of claim, judged, intervention,
ee_pos, tokens and external_NAME, has_… (M,) bool says which rollouts have it, by default all.
Arrays of joints are described in `archive_joints`. Other arrays are not read.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from failure_monitor.atomic_file import write_atomically
from failure_monitor.decision import ACTION_KINDS, ActionKind, OutcomeSource, Rollout
from failure_monitor.errors import FailureMonitorError
from failure_monitor.messages.measured_positions import POSITION_TYPES, PositionsTopic
from failure_monitor.messages.sent_commands import SENT_TYPES
from failure_monitor.parameters.topics import EXTERNAL_NAME
from failure_monitor.policy_description import PolicyDescription, PolicyDescriptionError
from failure_monitor.schema import plain
from failure_monitor.sources.addresses import is_address, is_file, open_file, shown, write_file
from failure_monitor.sources.archive_joints import read_joints, written_joints
from failure_monitor.sources.rollout_set import RolloutSet
from failure_monitor.sources.source import Advance, BagOptions, SourceContents, SourceError

logger = logging.getLogger(__name__)

FLOATS, WHOLE_NUMBERS, TRUTHS, TEXTS = "f", "iu", "b", "U"
"""Kinds of dtypes in numpy."""

EMBEDDINGS = "obs_embedding"
"""The name of an array that may be missing."""

EXTERNAL = "external_"
"""What the names of the arrays of external scores begin with."""

HAS = "has_"
"""Prefix of the name of an array that says which rollouts have the values of another array."""

OUTCOME_SOURCES: tuple[OutcomeSource, ...] = get_args(OutcomeSource)

MAX_FIRST_STEP = 1e6
"""Seconds from a first stamp of 0 beyond which it is none, but missing."""

Array = NDArray[Any]
Size = int | str
"""The required size of an axis, or a letter for an axis of any size."""


class Archive:
    """A rollout archive."""

    def recognises(self, path: Path) -> bool:
        """Return whether it is an `.npz` file."""
        return is_file(path) and path.suffix == ".npz"

    def read(self, path: Path, options: BagOptions, advance: Advance) -> SourceContents:
        """Return all its rollouts; of `options` only empty topics of format and tokens count.

        Raises:
            SourceError: An array is missing, damaged, or of another kind or size; a rollout
                lies outside of the arrays.
        """
        with _open(path) as npz:
            return contents_of(path, npz, options)


class Arrays(Protocol):
    """The arrays of an open archive, of which one is read when it is asked for."""

    @property
    def files(self) -> Sequence[str]:
        """The names of all arrays."""

    def __getitem__(self, name: str) -> Array:
        """Return an array."""


def contents_of(path: Path, npz: Arrays, options: BagOptions) -> SourceContents:
    """Return all rollouts of an open archive, as `Archive.read` does."""
    return _read(
        path,
        _Arrays(shown(path), npz),
        reads_stated_policy=bool(options.topics.format),
        reads_tokens=bool(options.topics.tokens),
    )


class _Arrays:
    """The arrays of an open archive, each checked when it is read."""

    def __init__(self, path: str, npz: Arrays) -> None:
        self.path = path
        self._npz = npz

    @property
    def names(self) -> Sequence[str]:
        """The names of all arrays."""
        return self._npz.files

    def __contains__(self, name: str) -> bool:
        return name in self._npz.files

    def read(self, name: str, kinds: str, sizes: Sequence[Size]) -> Array:
        """Return the array of that name, with one of these kinds of dtypes and these sizes."""
        if name not in self:
            raise SourceError(
                f"{self.path} has no array '{name}', only {', '.join(sorted(self._npz.files))}: "
                "write it in the format of rollout archives"
            )
        try:
            array: Array = self._npz[name]
        except FailureMonitorError:  # of a store that does not answer
            raise
        except Exception as error:  # zip, zlib and numpy each have errors of their own
            raise SourceError(
                f"{self.path}: the array '{name}' cannot be read ({error}): the file is damaged "
                "or holds a pickle; write it again"
            ) from None
        fits = len(array.shape) == len(sizes) and all(
            isinstance(wanted, str) or wanted == size
            for wanted, size in zip(sizes, array.shape, strict=True)
        )
        if array.dtype.kind not in kinds or not fits:
            wanted = f"({', '.join(str(size) for size in sizes)})"
            raise SourceError(
                f"{self.path}: the array '{name}' is {array.dtype} {array.shape}, expected "
                f"{_named(kinds)} {wanted}: write it in the format of rollout archives"
            )
        return array

    def dimensions(self, name: str) -> int:
        """Return the number of an array's axes, 0 if it cannot be read."""
        try:
            return int(self._npz[name].ndim)
        except Exception:  # what is wrong is told when it is read
            return 0

    def dtype(self, name: str) -> np.dtype[Any]:
        """Return the dtype in which an array is written."""
        dtype: np.dtype[Any] = self._npz[name].dtype
        return dtype

    def read_or(self, default: Array, name: str, kinds: str) -> Array:
        """Return the array of that name, with the shape of the default; the default if missing."""
        return self.read(name, kinds, default.shape) if name in self else default


def _named(kinds: str) -> str:
    names = {FLOATS: "float", WHOLE_NUMBERS: "whole numbers", TRUTHS: "bool", TEXTS: "str"}
    return names[kinds]


@contextmanager
def _open(path: Path) -> Iterator[Arrays]:
    with ExitStack() as opened:
        try:
            npz = np.load(opened.enter_context(open_file(path)), allow_pickle=False)
            if isinstance(npz, np.ndarray):
                raise ValueError("it holds a single array")
        except FailureMonitorError:  # of a store that does not answer
            raise
        except Exception as error:  # zip, numpy and the file system each have errors of their own
            raise SourceError(
                f"{shown(path)} is not a readable .npz archive ({error}): it is truncated or "
                "something else; copy it again or leave it out"
            ) from None
        yield opened.enter_context(npz)


def _read(
    path: Path, arrays: _Arrays, *, reads_stated_policy: bool, reads_tokens: bool
) -> SourceContents:
    chunks = arrays.read("action_chunks", FLOATS, ("N", "B", "H", "D")).astype(np.float32)
    if not all(chunks.shape[1:]):
        raise SourceError(
            f"{arrays.path}: the array 'action_chunks' is of the shape {chunks.shape}, expected "
            "at least one chunk of one action of one dimension: write it again"
        )
    decisions = len(chunks)
    embeddings = _embeddings(arrays, decisions)
    meta = _Meta(arrays)
    stamps = _stamps(arrays, meta, decisions)
    slices = _slices(arrays, decisions)
    _reject_stamps_that_do_not_rise(arrays, stamps, slices)
    outcomes = _flags(arrays, "success", "success_known", len(slices))
    calibration = _flags(arrays, "is_calibration", "calibration_known", len(slices))
    unknown = np.full(len(slices), "")
    groups = arrays.read_or(unknown, "subtype", TEXTS)
    names = arrays.read_or(unknown, "name", TEXTS)
    origins = arrays.read_or(unknown, "source", TEXTS)
    hashes = arrays.read_or(unknown, "sha256", TEXTS)
    tasks = arrays.read_or(unknown, "task", TEXTS)
    action_names = meta.action_names(chunks.shape[-1])
    positions = _positions(arrays, meta, decisions, action_names, len(slices))
    count = len(slices)
    claims = _of_some(arrays, "claim", TRUTHS, (count,), count)
    judged = _of_some(arrays, "judged", FLOATS, (count,), count)
    outcomes_by = _outcomes_by(arrays, count)
    interventions = _of_some(arrays, "intervention", TRUTHS, (decisions,), count)
    joints = read_joints(arrays, meta.names, slices, decisions)
    tokens = _OfSome()
    if reads_tokens:
        tokens = _of_some(arrays, "tokens", FLOATS, (decisions, "T", "F"), count)
    external = _external(arrays, decisions, count)
    rollouts = tuple(
        Rollout(
            name=str(names[index]) or f"{path.stem}/{index:03d}",
            stamps=stamps[part],
            embeddings=embeddings[part],
            chunks=chunks[part],
            success=outcomes[index],
            group=str(groups[index]),
            source=str(origins[index]) or shown(path),
            sha256=str(hashes[index]) or _content_sha256(stamps, embeddings, chunks, part),
            calibration=calibration[index],
            positions=positions.of(index, part, np.float32),
            task=str(tasks[index]) or meta.text("task"),
            external={
                name: values
                for name, score in external.items()
                if (values := score.of(index, part, np.float64)) is not None
            },
            interventions=interventions.of(index, part, np.bool_),
            tokens=tokens.of(index, part, np.float32),
            joints=joints[index],
            claim=None if (claim := claims.one(index)) is None else bool(claim),
            outcome_by=outcomes_by[index],
            judged=None if (number := judged.one(index)) is None else float(number),
        )
        for index, part in enumerate(slices)
    )
    commands_topic, commands_type = meta.commands_topic()
    return SourceContents(
        rollouts,
        action_names,
        meta.action_kind(),
        meta.position_names(action_names),
        meta.executed_actions(),
        meta.control_period(has_steps="stamp" not in arrays),
        meta.stated_policy(action_names) if reads_stated_policy else None,
        positions_topic=meta.positions_topic(),
        joint_topics=meta.joint_topics(),
        commands_topic=commands_topic,
        message_types={
            **meta.message_types(),
            **({commands_topic: commands_type} if commands_topic else {}),
        },
        was_told_task=meta.was_told_task(),
    )


@dataclass(frozen=True, eq=False)
class _OfSome:
    """What some rollouts have and others lack; by default all lack it.

    Attributes:
        values: of all decisions, or one of each rollout.
        has: which rollouts have it, (M,).
    """

    values: Array | None = None
    has: NDArray[np.bool_] | None = None

    def one(self, index: int) -> Any:
        """Return the value of a rollout; None if it has none."""
        return self.values[index] if self._has(index) else None  # type: ignore[index]

    def of(self, index: int, part: slice, dtype: Any) -> Any:
        """Return the values at a rollout's decisions; None if it has none."""
        return self.values[part].astype(dtype) if self._has(index) else None  # type: ignore[index]

    def _has(self, index: int) -> bool:
        return self.values is not None and (self.has is None or bool(self.has[index]))


def _of_some(
    arrays: _Arrays, name: str, kinds: str, sizes: Sequence[Size], rollouts: int
) -> _OfSome:
    """Return an array that may be missing, or be of some of the rollouts alone."""
    if name not in arrays:
        return _OfSome()
    has = arrays.read_or(np.ones(rollouts, dtype=bool), HAS + name, TRUTHS)
    return _OfSome(arrays.read(name, kinds, sizes), has)


def _outcomes_by(arrays: _Arrays, count: int) -> list[OutcomeSource]:
    """Return who stated the outcome of each rollout."""
    stated: list[OutcomeSource] = arrays.read_or(np.full(count, ""), "outcome_by", TEXTS).tolist()
    for index, by in enumerate(stated):
        if by not in OUTCOME_SOURCES:
            raise SourceError(
                f"{arrays.path}: 'outcome_by' of rollout {index} is '{by}', expected "
                f"{', '.join(filter(None, OUTCOME_SOURCES))}, or nothing: write who stated it"
            )
    return stated


def _embeddings(arrays: _Arrays, decisions: int) -> NDArray[np.float32]:
    """Return the embeddings, (N, E); E is 0 where the policy gave none."""
    if EMBEDDINGS not in arrays:
        return np.empty((decisions, 0), np.float32)
    return arrays.read(EMBEDDINGS, FLOATS, (decisions, "E")).astype(np.float32)


def _external(arrays: _Arrays, decisions: int, rollouts: int) -> dict[str, _OfSome]:
    """Return the external scores by their names."""
    return {
        name.removeprefix(EXTERNAL): _of_some(arrays, name, FLOATS, (decisions,), rollouts)
        for name in arrays.names
        if re.fullmatch(EXTERNAL + EXTERNAL_NAME, name)
    }


def _stamps(arrays: _Arrays, meta: _Meta, decisions: int) -> NDArray[np.float64]:
    if "stamp" in arrays:
        return arrays.read("stamp", FLOATS, (decisions,)).astype(np.float64)
    steps = arrays.read("env_step", WHOLE_NUMBERS, (decisions,))
    return np.asarray(steps * meta.control_step_seconds(), dtype=np.float64)


def _reject_stamps_that_do_not_rise(
    arrays: _Arrays, stamps: NDArray[np.float64], slices: Sequence[slice]
) -> None:
    name = "stamp" if "stamp" in arrays else "env_step"
    for index, part in enumerate(slices):
        own = stamps[part]
        where = f"{arrays.path}: '{name}' of rollout {index}"
        if not np.isfinite(own).all():
            raise SourceError(
                f"{where} is NaN or infinite at its decision {_first(~np.isfinite(own))}: write "
                "the time of each observation"
            )
        falls = np.diff(own) <= 0
        if falls.any():
            at = _first(falls)
            raise SourceError(
                f"{where} does not rise: its decision {at} is of {own[at]:.9g} s and the next of "
                f"{own[at + 1]:.9g} s: {_why_not_rising(arrays, name, own, at)}"
            )
        if len(own) > 1 and own[0] == 0 and own[1] > MAX_FIRST_STEP:
            raise SourceError(
                f"{where} is 0 at its first decision and {own[1]:.9g} s at the next, so the first "
                "has no stamp: write the time of each observation, or leave the decision out"
            )


def _first(is_wrong: NDArray[np.bool_]) -> int:
    return int(np.flatnonzero(is_wrong)[0])


def _why_not_rising(arrays: _Arrays, name: str, own: NDArray[np.float64], at: int) -> str:
    dtype = arrays.dtype(name)
    if own[at + 1] == own[at] and dtype.kind == FLOATS and dtype.itemsize < 8:
        return (
            f"{dtype} cannot tell such times apart; write the stamps as float64, or in seconds "
            "from the rollout's begin"
        )
    if own[at + 1] < own[at]:
        return (
            "a clock was set back, or two rollouts are written as one; write each as a rollout of "
            "its own, or leave it out"
        )
    return "write the time of each observation, or leave out decisions on the same one"


def _positions(
    arrays: _Arrays, meta: _Meta, decisions: int, action_names: tuple[str, ...], rollouts: int
) -> _OfSome:
    """Return measured positions in the units of the actions; none if they are of other joints."""
    measured = _of_some(arrays, "ee_pos", FLOATS, (decisions, "P"), rollouts)
    if measured.values is None or measured.values.shape[1] != len(
        meta.position_names(action_names) or action_names
    ):
        return _OfSome()
    return replace(measured, values=measured.values / meta.position_scale())


def _slices(arrays: _Arrays, decisions: int) -> list[slice]:
    starts = arrays.read("episode_start", WHOLE_NUMBERS, ("M",))
    lengths = arrays.read("episode_length", WHOLE_NUMBERS, starts.shape)
    slices = []
    for index, (start, length) in enumerate(zip(starts.tolist(), lengths.tolist(), strict=True)):
        if length < 1:
            raise SourceError(
                f"{arrays.path}: 'episode_length' of rollout {index} is {length}, expected 1 or "
                "more: leave out rollouts without a decision"
            )
        if start < 0 or start + length > decisions:
            raise SourceError(
                f"{arrays.path}: 'episode_start' and 'episode_length' put rollout {index} at "
                f"decisions {start} to {start + length - 1}, but the arrays hold 0 to "
                f"{decisions - 1}: write it again"
            )
        slices.append(slice(start, start + length))
    _reject_shared_decisions(arrays, slices)
    return slices


def _reject_shared_decisions(arrays: _Arrays, slices: Sequence[slice]) -> None:
    in_order = sorted(range(len(slices)), key=lambda index: slices[index].start)
    for one, other in pairwise(in_order):
        if slices[other].start < slices[one].stop:
            raise SourceError(
                f"{arrays.path}: 'episode_start' and 'episode_length' give the decision "
                f"{slices[other].start} to the rollouts {one} and {other}: write each decision of "
                "each rollout once"
            )


def _flags(arrays: _Arrays, name: str, known_name: str, count: int) -> list[bool | None]:
    if name != "success" and name not in arrays:
        return [None] * count
    flags = arrays.read(name, TRUTHS, (count,))
    known = arrays.read_or(np.ones(count, dtype=bool), known_name, TRUTHS)
    return [bool(flag) if is_known else None for flag, is_known in zip(flags, known, strict=True)]


def _content_sha256(
    stamps: NDArray[np.float64],
    embeddings: NDArray[np.float32],
    chunks: NDArray[np.float32],
    part: slice,
) -> str:
    digest = hashlib.sha256()
    for array in (stamps, embeddings, chunks):
        digest.update(array[part].tobytes())
    return digest.hexdigest()


class _Meta:
    """The items of `meta_json`, each checked when it is read."""

    def __init__(self, arrays: _Arrays) -> None:
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
        kind = self._content.get("action_kind")
        if kind is not None and kind not in ACTION_KINDS:
            raise self._wrong("action_kind", kind, f"one of {', '.join(ACTION_KINDS)}")
        return kind

    def position_names(self, action_names: tuple[str, ...]) -> tuple[str, ...] | None:
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
        reason = "since there is no array 'stamp'"
        return self._positive("decision_dt_s", reason) / self._positive("exec_horizon", reason)

    def executed_actions(self) -> int | None:
        actions = self._content.get("exec_horizon")
        if actions is not None and (type(actions) is not int or actions < 1):
            raise self._wrong("exec_horizon", actions, "a positive whole number")
        return actions

    def control_period(self, *, has_steps: bool) -> float | None:
        if self._content.get("control_period") is not None:
            return self._positive("control_period", "the seconds from one action to the next")
        return self.control_step_seconds() if has_steps else None

    def stated_policy(self, action_names: tuple[str, ...]) -> PolicyDescription | None:
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
        types = self._content.get("message_types")
        if types is not None and not (
            isinstance(types, dict) and all(isinstance(kind, str) for kind in types.values())
        ):
            raise self._wrong("message_types", types, "the types of topics, by their names")
        return types or {}

    def was_told_task(self) -> bool:
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


def write_archive(path: Path, rollout_set: RolloutSet) -> None:
    """Write rollouts as an archive, whole or not at all.

    Args:
        path: A path that ends in `.npz`; an existing file is replaced.
        rollout_set: The rollouts to write.

    Raises:
        SourceError: The path does not end in `.npz`.
        UnwritableError: The archive cannot be written.
    """
    if path.suffix != ".npz":
        raise SourceError(f"{path} does not end in .npz: name an archive that does")
    arrays = arrays_of(rollout_set)
    if not is_address(path):
        write_atomically(path, lambda stream: np.savez_compressed(stream, **arrays))  # type: ignore[arg-type]
        return
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)  # type: ignore[arg-type]
    write_file(path, content.getvalue())


def arrays_of(rollout_set: RolloutSet) -> dict[str, Array]:
    """Return the arrays of an archive of rollouts, by their names."""
    policy, rollouts = rollout_set.policy, rollout_set.rollouts
    lengths = np.array([len(rollout) for rollout in rollouts])
    meta: dict[str, Any] = {
        "action_names": policy.action_names,
        # What nobody stated would contradict a bundle for which it was.
        **({"action_kind": policy.action_kind} if rollout_set.action_kind_is_known else {}),
        "position_dims": [policy.action_names.index(name) for name in policy.position_names],
        "exec_horizon": policy.executed_actions,
        "control_period": policy.control_period,
    }
    if rollout_set.stated_policy is not None:
        meta["stated_policy"] = plain(rollout_set.stated_policy)
    joints, joint_names = written_joints([r.joints for r in rollouts], lengths.tolist())
    meta |= joint_names
    if joint_names and rollout_set.joint_topics:
        meta["joint_topics"] = rollout_set.joint_topics
    if rollout_set.positions_topic is not None:
        meta["positions_topic"] = plain(rollout_set.positions_topic)
    if rollout_set.message_types:
        meta["message_types"] = dict(rollout_set.message_types)
    if rollout_set.was_told_task:
        meta["was_told_task"] = True
    if "command_names" in joint_names and rollout_set.commands_topic:
        topic = rollout_set.commands_topic
        meta["commands_topic"], meta["commands_type"] = topic, rollout_set.message_types[topic]
    return {
        "action_chunks": np.concatenate([rollout.chunks for rollout in rollouts]),
        "stamp": np.concatenate([rollout.stamps for rollout in rollouts]),
        "episode_start": np.cumsum(lengths) - lengths,
        "episode_length": lengths,
        "success": np.array([bool(rollout.success) for rollout in rollouts]),
        "success_known": np.array([rollout.success is not None for rollout in rollouts]),
        "is_calibration": np.array([bool(rollout.calibration) for rollout in rollouts]),
        "calibration_known": np.array([r.calibration is not None for r in rollouts]),
        "subtype": np.array([rollout.group for rollout in rollouts]),
        "task": np.array([rollout.task for rollout in rollouts]),
        "name": np.array([rollout.name for rollout in rollouts]),
        "source": np.array([rollout.source for rollout in rollouts]),
        "sha256": np.array([rollout.sha256 for rollout in rollouts]),
        "meta_json": np.array(json.dumps(meta)),
        **(
            {EMBEDDINGS: np.concatenate([rollout.embeddings for rollout in rollouts])}
            if policy.embedding_size
            else {}
        ),
        "claim": np.array([bool(rollout.claim) for rollout in rollouts]),
        "has_claim": np.array([rollout.claim is not None for rollout in rollouts]),
        "outcome_by": np.array([rollout.outcome_by for rollout in rollouts]),
        **_numbers("judged", [rollout.judged for rollout in rollouts]),
        **_written("intervention", [rollout.interventions for rollout in rollouts], rollouts),
        **_tokens(rollouts),
        **_written("ee_pos", [rollout.positions for rollout in rollouts], rollouts),
        **{
            array: values
            for name in sorted({name for rollout in rollouts for name in rollout.external})
            for array, values in _written(
                f"{EXTERNAL}{name}", [rollout.external.get(name) for rollout in rollouts], rollouts
            ).items()
        },
        **joints,
    }


def _numbers(name: str, numbers: Sequence[float | None]) -> dict[str, Array]:
    """Return the array of one number of each rollout that has it; none if no rollout has."""
    has = np.array([number is not None for number in numbers])
    if not has.any():
        return {}
    values = np.array([math.nan if number is None else number for number in numbers])
    return {name: values, HAS + name: has}


def _written(
    name: str, values: Sequence[Array | None], rollouts: Sequence[Rollout]
) -> dict[str, Array]:
    """Return the array of values at the decisions of rollouts that have them, and which do."""
    there = [own for own in values if own is not None]
    if not there:
        return {}
    # Readers that know of no rollouts without must not take 0 for a measured value.
    nothing = np.nan if there[0].dtype.kind == FLOATS else 0
    filled = [
        np.full((len(rollout), *there[0].shape[1:]), nothing, there[0].dtype)
        if own is None
        else own
        for own, rollout in zip(values, rollouts, strict=True)
    ]
    arrays = {name: np.concatenate(filled)}
    if len(there) < len(values):
        arrays[HAS + name] = np.array([own is not None for own in values])
    return arrays


def _tokens(rollouts: Sequence[Rollout]) -> dict[str, Array]:
    shapes = {rollout.tokens.shape[1:] for rollout in rollouts if rollout.tokens is not None}
    if len(shapes) > 1:
        logger.warning(
            "tokens are left out: the rollouts' differ in their shapes (%s), and an archive holds "
            "those of one; archive the rollouts of each shape by themselves",
            ", ".join(map(str, sorted(shapes))),
        )
        return {}
    return _written("tokens", [rollout.tokens for rollout in rollouts], rollouts)
