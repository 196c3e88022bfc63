# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Reads rollouts from a folder as FIPER publishes them, with a pickle per episode.

    calibration/episode_s_0000.pkl    {"metadata": {...}, "rollout": [one dict per decision]}
    test/episode_f_0013.pkl           s: succeeded, f: failed; the mark may be missing

Read are, of `metadata`, successful, rollout_subtype (the group), num_robots, action_mappings and
action_execution_horizon; of a decision, obs_embedding (E,), action_pred (B, H, D), action (the
executed chunk) and timestamp in seconds.

The pickles are not executed, see `plain_pickle`.
"""

from __future__ import annotations

import hashlib
import logging
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from failure_monitor.decision import ActionKind, Rollout
from failure_monitor.sources.plain_pickle import PickleError, read_plain_pickle
from failure_monitor.sources.source import Advance, BagOptions, SourceContents, SourceError

logger = logging.getLogger(__name__)

PARTS = ("calibration", "test")
EPISODE_PATTERN = "episode_*.pkl"
OUTCOME_MARK = re.compile(r"episode_([sf])_")

MAX_EPISODE_SIZE = 4 << 30
"""Maximum size in bytes of the file of an episode, and of its decisions as float32."""

IN_DISTRIBUTION_SUBTYPES = frozenset({"ca", "calibration", "id", "na"})
"""The names of undisturbed rollouts in FIPER."""

POSITION_MAPPINGS: Mapping[str, ActionKind] = {
    "pos": "position",
    "vel": "velocity",
    "joint_pos": "position",
    "joint_vel": "velocity",
}
"""The action mappings that may span positions, and their kinds; the first present one counts."""


class FiperFolder:
    """A FIPER rollout folder."""

    def recognises(self, path: Path) -> bool:
        """Return whether the folder has episodes in `calibration/` or `test/`."""
        return any(_episode_files(path / part) for part in PARTS)

    def read(self, path: Path, options: BagOptions, advance: Advance) -> SourceContents:
        """Return its episodes without failed ones of `calibration/`; `options` have no effect.

        Raises:
            SourceError: An episode is damaged, holds more than plain values and arrays, is
                incomplete, contradicts its name, or differs from the others in its actions.
        """
        episodes = [
            _read_episode(file, part == "calibration")
            for part in PARTS
            for file in _episode_files(path / part)
        ]
        actions = _shared_actions(episodes)
        kept = [e for e in episodes if not (e.rollout.calibration and e.rollout.success is False)]
        _log_assumptions(path, episodes, kept)
        return SourceContents(
            tuple(episode.rollout for episode in kept),
            actions.names,
            actions.kind,
            actions.position_names,
            actions.executed,
        )


class _Actions(NamedTuple):
    """The actions of an episode, as in `SourceContents`."""

    names: tuple[str, ...]
    kind: ActionKind | None
    position_names: tuple[str, ...] | None
    executed: int | None


@dataclass(frozen=True, eq=False)
class _Episode:
    """The rollout of one file, and what had to be assumed.

    Attributes:
        rollout: The rollout.
        actions: Its actions.
        timed: True if every decision has a later time stamp than the one before.
        executed_known: True if the executed chunk is among the samples of every decision.
    """

    rollout: Rollout
    actions: _Actions
    timed: bool
    executed_known: bool


def _episode_files(folder: Path) -> list[Path]:
    return sorted(folder.glob(EPISODE_PATTERN)) if folder.is_dir() else []


def _read_episode(file: Path, calibration: bool) -> _Episode:
    content = _content(file)
    metadata, steps = _parts(file, content)
    embeddings = _series(file, steps, "obs_embedding", "E")
    chunks = _series(file, steps, "action_pred", "B, H, D")
    executed_known = _put_executed_first(chunks, [_of_one_robot(s.get("action")) for s in steps])
    stamps = _stamps(steps)
    rollout = Rollout(
        name=f"{file.parent.name}/{file.stem}",
        stamps=np.arange(float(len(steps))) if stamps is None else stamps,
        embeddings=embeddings,
        chunks=chunks,
        success=_outcome(file, metadata),
        group=_group(file, metadata),
        source=str(file),
        sha256=hashlib.sha256(content).hexdigest(),
        calibration=calibration,
    )
    actions = _actions(file, metadata, chunks)
    return _Episode(rollout, actions, stamps is not None, executed_known)


def _content(file: Path) -> bytes:
    try:
        size = file.stat().st_size
        if size > MAX_EPISODE_SIZE:
            raise SourceError(
                f"{file} has {size} bytes, more than the {MAX_EPISODE_SIZE} of an episode: leave "
                "the images out when saving it"
            )
        return file.read_bytes()
    except OSError as error:
        raise SourceError(f"{file} cannot be read: {error}") from None


def _parts(file: Path, content: bytes) -> tuple[dict[Any, Any], list[dict[Any, Any]]]:
    try:
        episode = read_plain_pickle(content)
    except PickleError as error:
        raise SourceError(f"{file}: {error}") from None
    if not isinstance(episode, dict) or not {"metadata", "rollout"} <= episode.keys():
        raise _wrong(file, "the episode", episode, "a dict of 'metadata' and 'rollout'")
    metadata, steps = episode["metadata"], episode["rollout"]
    if not isinstance(metadata, dict):
        raise _wrong(file, "'metadata'", metadata, "a dict")
    if not isinstance(steps, list) or not steps or not all(isinstance(s, dict) for s in steps):
        raise _wrong(file, "'rollout'", steps, "a list of dicts, one per decision, at least one")
    robots = metadata.get("num_robots", 1)
    if type(robots) is not int or robots != 1:
        raise _wrong(file, "'num_robots' in 'metadata'", robots, "1, an episode for each robot")
    return metadata, steps


def _of_one_robot(value: Any) -> Any:
    """Return the only item of a list, which FIPER uses in tasks that allow several robots."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def _series(
    file: Path, steps: Sequence[Mapping[Any, Any]], key: str, sides: str
) -> NDArray[np.float32]:
    """Return the arrays of all decisions under `key`, (T, …)."""
    arrays = [_of_one_robot(step.get(key)) for step in steps]
    for index, array in enumerate(arrays):
        what = f"'{key}' of decision {index}"
        if (
            not isinstance(array, np.ndarray)
            or array.dtype.kind != "f"
            or array.ndim != len(sides.split(","))
            or array.size == 0
        ):
            raise _wrong(file, what, array, f"a float array ({sides})")
        if array.shape != arrays[0].shape:
            raise _wrong(file, what, array, f"{arrays[0].shape} as before")
    if 4 * len(arrays) * math.prod(arrays[0].shape) > MAX_EPISODE_SIZE:
        raise SourceError(
            f"{file}: '{key}' of {len(arrays)} decisions of shape {arrays[0].shape} takes more "
            f"than {MAX_EPISODE_SIZE} bytes: split the episode or leave it out"
        )
    return np.array(arrays, dtype=np.float32)


def _put_executed_first(chunks: NDArray[np.float32], executed: Sequence[Any]) -> bool:
    """Swap the executed sample with the first; return False if one is not among the samples."""
    known = True
    for samples, action in zip(chunks, executed, strict=True):
        if not isinstance(action, np.ndarray) or action.dtype.kind != "f":
            continue
        if action.ndim != 2 or action.shape[1] != samples.shape[2]:
            continue
        steps = min(len(action), samples.shape[1])
        same = (samples[:, :steps] == action[:steps].astype(np.float32)).all(axis=(1, 2))
        known &= bool(same.any())
        place = int(same.argmax())
        samples[[0, place]] = samples[[place, 0]]
    return known


def _stamps(steps: Sequence[Mapping[Any, Any]]) -> NDArray[np.float64] | None:
    """Return the time stamps in seconds (T,), or None if they are missing or do not increase."""
    stamps = [step.get("timestamp") for step in steps]
    # False for NaN, and for integers that no float can hold.
    if not all(isinstance(stamp, (int, float)) and abs(stamp) < 2**53 for stamp in stamps):
        return None
    values = np.array(stamps, dtype=np.float64)
    return values if (np.diff(values) > 0).all() else None


def _outcome(file: Path, metadata: Mapping[Any, Any]) -> bool | None:
    stated = metadata.get("successful")
    if stated is not None and not isinstance(stated, bool):
        raise _wrong(file, "'successful' in 'metadata'", stated, "True or False")
    mark = OUTCOME_MARK.match(file.name)
    if mark is None:
        return stated
    named = mark[1] == "s"
    if stated is not None and stated is not named:
        raise SourceError(
            f"{file}: by its name the episode {_ended(named)}, by 'successful' in its 'metadata' "
            f"it {_ended(stated)}: correct one of them, or leave it out"
        )
    return named


def _ended(success: bool) -> str:
    return "succeeded" if success else "failed"


def _group(file: Path, metadata: Mapping[Any, Any]) -> str:
    subtype = metadata.get("rollout_subtype")
    if subtype is None:
        return ""
    if not isinstance(subtype, str):
        raise _wrong(file, "'rollout_subtype' in 'metadata'", subtype, "a text")
    return "id" if subtype in IN_DISTRIBUTION_SUBTYPES else subtype


def _actions(file: Path, metadata: Mapping[Any, Any], chunks: NDArray[np.float32]) -> _Actions:
    horizon, dimensions = chunks.shape[2:]
    mappings = _action_mappings(file, metadata, dimensions)
    names = {
        dimension: f"{part}_{number}"
        for part, its_dimensions in reversed(mappings.items())
        for number, dimension in enumerate(its_dimensions)
    }
    action_names = tuple(names.get(index, f"action_{index}") for index in range(dimensions))
    executed = metadata.get("action_execution_horizon")
    if executed is not None and (type(executed) is not int or not 1 <= executed <= horizon):
        what = "'action_execution_horizon' in 'metadata'"
        raise _wrong(file, what, executed, f"a whole number from 1 to {horizon}")
    for part, kind in POSITION_MAPPINGS.items():
        if mappings.get(part):
            spanned = tuple(action_names[dimension] for dimension in mappings[part])
            return _Actions(action_names, kind, spanned, executed)
    return _Actions(action_names, None, None, executed)


def _action_mappings(
    file: Path, metadata: Mapping[Any, Any], dimensions: int
) -> dict[str, list[int]]:
    """Return the dimensions of each named part of an action."""
    stated = metadata.get("action_mappings")
    if stated is None:
        return {}
    if not isinstance(stated, dict) or not all(isinstance(part, str) for part in stated):
        raise _wrong(file, "'action_mappings' in 'metadata'", stated, "a dict with names as keys")
    mappings = {}
    for part, its_dimensions in stated.items():
        if its_dimensions is None:
            continue
        if not isinstance(its_dimensions, (list, tuple)) or not all(
            type(dimension) is int and 0 <= dimension < dimensions for dimension in its_dimensions
        ):
            raise _wrong(
                file,
                f"'{part[:40]}' of 'action_mappings' in 'metadata'",
                its_dimensions,
                f"a list of numbers from 0 to {dimensions - 1}",
            )
        mappings[part] = list(its_dimensions)
    return mappings


def _shared_actions(episodes: Sequence[_Episode]) -> _Actions:
    first = episodes[0]
    for other in episodes[1:]:
        if other.actions != first.actions:
            differences = "; ".join(
                f"{name.replace('_', ' ')} {one} against {another}"
                for name, one, another in zip(
                    _Actions._fields, first.actions, other.actions, strict=True
                )
                if one != another
            )
            raise SourceError(
                f"{first.rollout.source} and {other.rollout.source} differ in their actions "
                f"({differences}): keep the episodes of one policy in a folder"
            )
    return first.actions


def _log_assumptions(path: Path, episodes: Sequence[_Episode], kept: Sequence[_Episode]) -> None:
    failed = len(episodes) - len(kept)
    if failed:
        logger.warning(
            "%s: %d of the %d episodes in calibration/ failed and are left out",
            path,
            failed,
            sum(bool(episode.rollout.calibration) for episode in episodes),
        )
    untimed = sum(not episode.timed for episode in kept)
    if untimed:
        logger.warning(
            "%s: %d of %d episodes have no increasing time stamps; their decisions are assumed to "
            "be one second apart",
            path,
            untimed,
            len(kept),
        )
    unknown = sum(not episode.executed_known for episode in kept)
    if unknown:
        logger.warning(
            "%s: in %d of %d episodes 'action' is not always one of 'action_pred'; there the "
            "first sample is assumed to be the executed chunk",
            path,
            unknown,
            len(kept),
        )


def _wrong(file: Path, what: str, value: Any, expected: str) -> SourceError:
    return SourceError(
        f"{file}: {what} is {_described(value)}, expected {expected}: save it as FIPER does, or "
        "leave it out"
    )


def _described(value: Any) -> str:
    """Describe a value briefly; the items of a container, which may be endless, are left out."""
    if isinstance(value, np.ndarray):
        return f"an array of {value.dtype} {value.shape}"
    if value is None or isinstance(value, (bool, float)):
        return str(value)
    if isinstance(value, int) and abs(value) < 2**63:
        return str(value)
    if isinstance(value, str):
        return repr(value[:40])
    if isinstance(value, dict):
        return f"a dict of {', '.join(key for key in value if isinstance(key, str))[:80] or '…'}"
    return f"of type {type(value).__name__}"
