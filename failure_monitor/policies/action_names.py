# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The names of a LeRobot policy's actions: as given, or from the dataset that it learned from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from failure_monitor.errors import FailureMonitorError

INFO_FILE = Path("meta", "info.json")


class ActionNamesError(FailureMonitorError):
    """Names of actions that do not fit the policy."""


def action_names_of(policy: Any, given: Sequence[str] | str | Path) -> tuple[str, ...]:
    """Return the names of a policy's actions, in order.

    Args:
        policy: a LeRobot policy.
        given: the names; or the folder of a LeRobotDataset, which states them.

    Raises:
        ActionNamesError: they are not those of the policy's actions.
    """
    if isinstance(given, (str, Path)):
        names, origin = dataset_action_names(Path(given)), f"the dataset {given} names"
    elif isinstance(given, Sequence):
        names, origin = tuple(given), "action_names has"
    else:
        raise ActionNamesError(
            f"action_names is {given!r}: give a list of names, or the folder of a dataset"
        )
    _check_text(names)
    size = action_size(policy)
    if size is not None and len(names) != size:
        raise ActionNamesError(
            f"{origin} {len(names)} actions ({', '.join(names)}), the policy has {size}: give "
            "the names in the order of the policy's actions, or the folder of the dataset that it "
            "was trained on"
        )
    own = tuple(getattr(policy.config, "action_feature_names", None) or ())
    if own and own != names:
        raise ActionNamesError(
            f"{origin} the actions {', '.join(names)}, the policy's configuration "
            f"{', '.join(own)}: give the latter, in this order"
        )
    return names


def dataset_action_names(folder: Path) -> tuple[str, ...]:
    """Return the names of the actions in a LeRobotDataset.

    Raises:
        ActionNamesError: the folder is none, or does not name them.
    """
    path = folder / INFO_FILE
    try:
        info = json.loads(path.read_text())
        names = info["features"]["action"]["names"]
    except OSError as error:
        raise ActionNamesError(
            f"{path} cannot be read ({error.strerror}): give the names of the actions as a list, "
            "or the folder of a LeRobotDataset"
        ) from None
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ActionNamesError(
            f"{path} does not name the actions (features.action.names): give them as a list"
        ) from None
    return listed_names(names, where=str(path))


def listed_names(names: Any, *, where: str) -> tuple[str, ...]:
    """Return the names of an action feature, which older datasets keep as a list by a heading.

    Raises:
        ActionNamesError: they are not names.
    """
    if isinstance(names, Mapping) and len(names) == 1:
        (names,) = names.values()
    if not isinstance(names, Sequence) or isinstance(names, str):
        raise ActionNamesError(f"{where} does not list the names of the actions: give them")
    return tuple(str(name) for name in names)


def numbered_names(policy: Any) -> tuple[str, ...]:
    """Return names for the actions of a policy whose names are not known.

    Raises:
        ActionNamesError: the policy does not state how many there are.
    """
    size = action_size(policy)
    if size is None:
        raise ActionNamesError(
            "the policy's configuration does not state its actions (output_features): name them"
        )
    return tuple(f"action_{index}" for index in range(size))


def action_size(policy: Any) -> int | None:
    """Return the number of a policy's action dimensions; None if it does not state it."""
    feature = (getattr(policy.config, "output_features", None) or {}).get("action")
    shape = tuple(getattr(feature, "shape", ()))
    return int(shape[0]) if len(shape) == 1 else None


def _check_text(names: Sequence[str]) -> None:
    wrong = [name for name in names if not isinstance(name, str) or not name.strip()]
    if wrong or not names:
        raise ActionNamesError("an action has no name: give each a name, as the dataset does")
    repeated = sorted({name for name in names if list(names).count(name) > 1})
    if repeated:
        raise ActionNamesError(
            f"several actions have the name {', '.join(repeated)}: give each a name of its own"
        )
