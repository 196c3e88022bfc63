# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The bundle: the folder that `calibrate` writes and the monitor node loads.

    bundle.yaml     what was promised, on what, for which policy, with which settings
    <score>.<fold>.<part>.onnx
    encoder.onnx, sampler.onnx    the policy's models whose outputs it did not publish, and weights
    arrays.npz      the scores' arrays, as <score>.<fold>.<part> or <score>.<part>; the limits of a
                    decision's values; the scales; the ends of true successes, as
                    outcome.<number of the task>.<part>.<name>

There is never a pickle. The folder is written beside its place and renamed, so it is always
complete. bundle.yaml holds every file's SHA-256; a file that is missing or changed is rejected by
name.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import yaml
from numpy.typing import NDArray

from failure_monitor import __version__
from failure_monitor.atomic_file import write_folder_atomically
from failure_monitor.bundle.bundle import Bundle, policy_format
from failure_monitor.bundle.description import (
    SCHEMA_VERSION,
    BundleDescription,
    ModelSection,
    ScoreSection,
    checked,
)
from failure_monitor.errors import FailureMonitorError
from failure_monitor.listed_names import list_names
from failure_monitor.outcome.check import OutcomeCheck
from failure_monitor.outcome.end_parts import PARTS, EndFormat
from failure_monitor.outcome.stored_check import StoredEndsError, arrays_of, ends_from
from failure_monitor.policy_models.onnx_file import OnnxFile
from failure_monitor.schema import SchemaError, plain, read
from failure_monitor.scores.base.folded_score import FoldedScore
from failure_monitor.scores.base.score import Score, ScoreState
from failure_monitor.scores.registry import restore_folded_score, restore_score
from failure_monitor.thresholds.conformal import Scale
from failure_monitor.thresholds.time_varying import TimeVaryingScale
from failure_monitor.thresholds.value_limits import ValueLimits

DESCRIPTION_FILE = "bundle.yaml"
ARRAYS_FILE = "arrays.npz"
BUNDLE_FILE = re.compile(
    r"bundle\.yaml|arrays\.npz|.*\.onnx|(encoder|sampler)\.weights_\d+|\.DS_Store"
)
"""The name of what may lie in a bundle that is replaced."""
CENTRE_ARRAY, SPREAD_ARRAY = "scale.centre", "scale.spread"
VERSION_1 = "time_varying_"
"""What the names of these two began with in version 1, which had them if they vary over time."""
LIMITS = "value_limits."
OUTCOME = "outcome."

Restored = TypeVar("Restored")


class BundleError(FailureMonitorError):
    """A folder that is no bundle, or that is incomplete, changed or of a newer schema."""


def save(bundle: Bundle, folder: Path) -> None:
    """Write a bundle, or replace one as a whole.

    Raises:
        BundleError: the folder holds something else, or what the bundle states is not possible.
        UnwritableError: the folder cannot be written.
    """
    reject_other_content(folder)
    try:
        files = _files(bundle)
    except SchemaError as error:
        raise BundleError(f"the bundle cannot be described: {error}: report this") from None
    write_folder_atomically(folder, files)


def reject_other_content(folder: Path) -> None:
    """Reject a folder that a bundle would replace, with what is no part of one.

    Raises:
        BundleError: names what the folder holds.
    """
    held = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    if held and not (folder / DESCRIPTION_FILE).is_file():
        raise BundleError(f"{folder} exists and is no bundle: name another folder")
    others = [name for name in held if not BUNDLE_FILE.fullmatch(name)]
    if others:
        raise BundleError(
            f"{folder} would be replaced, and holds {list_names(others)}, no part of a bundle: "
            "move that away, or name another folder"
        )


def _files(bundle: Bundle) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    arrays: dict[str, NDArray[np.generic]] = {}
    held: tuple[FoldedScore | Score, ...] = (*bundle.scores, *bundle.choosers)
    for score in held:
        state = score.state()
        files |= {f"{score.name}.{part}.onnx": model for part, model in state.models.items()}
        arrays |= {f"{score.name}.{part}": array for part, array in state.arrays.items()}
    for section, model in _models(bundle):
        files[section.file] = model.model
        files |= {file: model.weights[name] for name, file in section.weights.items()}
    centre, spread = _scale_arrays(bundle.description)
    arrays |= {centre: bundle.scale.centre, spread: bundle.scale.spread}
    arrays |= {LIMITS + name: array for name, array in bundle.limits.arrays().items()}
    arrays |= _outcome_arrays(bundle)
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    files[ARRAYS_FILE] = buffer.getvalue()
    hashes = {name: _sha256(content) for name, content in sorted(files.items())}
    description = checked(replace(bundle.description, files=hashes))
    text = yaml.safe_dump(plain(description), sort_keys=False, allow_unicode=True)
    return {DESCRIPTION_FILE: text.encode(), **files}


def _models(bundle: Bundle) -> Iterator[tuple[ModelSection, OnnxFile]]:
    black_box = bundle.description.black_box
    if black_box is not None:
        models = ((black_box.encoder, bundle.encoder), (black_box.sampler, bundle.sampler))
        for section, model in models:
            if section is not None and model is not None:
                yield section, model


def load(folder: str | Path) -> Bundle:
    """Read and check a bundle.

    Raises:
        BundleError: a file is missing, changed, malformed or of a newer schema.
        OnnxFileError: a model is no ONNX model, or keeps weights in a file that the bundle lacks.
    """
    folder = Path(folder)
    description = _read_description(folder)
    files = {
        name: _read_checked(folder, name, sha256) for name, sha256 in description.files.items()
    }
    arrays = _read_arrays(folder, files)
    scores = tuple(
        _restored(restore_folded_score, section, files, arrays) for section in description.scores
    )
    choosers = tuple(
        _restored(restore_score, section, files, arrays) for section in description.choosers
    )
    folds = max((score.folds for score in scores), default=1)
    _check_folds(folder, description, [score.folds for score in scores])
    scale = _read_scale(folder, description, arrays, folds)
    black_box = description.black_box
    encoder, sampler = (
        None if section is None else _read_model(folder, section, files)
        for section in ((black_box.encoder, black_box.sampler) if black_box else (None, None))
    )
    limits = _read_limits(folder, description, arrays)
    check = _read_outcome_check(folder, description, arrays)
    return Bundle(description, scores, scale, limits, choosers, encoder, sampler, check)


def load_description(folder: str | Path) -> BundleDescription:
    """Read and check what a bundle states of itself, and none of its other files.

    Raises:
        BundleError: it is missing, malformed or of a newer schema.
    """
    return _read_description(Path(folder))


def content_hash(folder: Path) -> str:
    """Return the SHA-256 of bundle.yaml, which identifies the bundle with all its files."""
    return _sha256(_read(folder, DESCRIPTION_FILE))


def _read_description(folder: Path) -> BundleDescription:
    path = folder / DESCRIPTION_FILE
    try:
        content = yaml.safe_load(_read(folder, DESCRIPTION_FILE))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise BundleError(f"{path} is no YAML ({error}): calibrate again") from None
    if not isinstance(content, dict) or not isinstance(content.get("schema_version"), int):
        raise BundleError(
            f"{path} has no schema_version, so this is no bundle: name a folder that "
            "`failure-monitor calibrate` wrote"
        )
    if content["schema_version"] > SCHEMA_VERSION:
        raise BundleError(
            f"{path} has schema version {content['schema_version']}, written by failure_monitor "
            f"{content.get('tool_version', '?')}; this is {__version__}, which reads up to "
            f"{SCHEMA_VERSION}: update failure_monitor on this machine, or calibrate with it"
        )
    try:
        return read(BundleDescription, content)
    except SchemaError as error:
        raise BundleError(f"{path}, {error}: calibrate again") from None


def _read_checked(folder: Path, name: str, sha256: str) -> bytes:
    content = _read(folder, name)
    if _sha256(content) != sha256:
        raise BundleError(
            f"{folder / name} is not the file that was calibrated (its SHA-256 differs from the "
            f"one in {DESCRIPTION_FILE}): copy the bundle again, or calibrate again"
        )
    return content


def _read(folder: Path, name: str) -> bytes:
    path = folder / name
    try:
        if path.exists() and not path.is_file():
            # To open a pipe waits for its other end.
            raise BundleError(f"{path} is no file, as one of a bundle is: copy the bundle again")
        return path.read_bytes()
    except FileNotFoundError:
        raise BundleError(
            f"the bundle {folder} lacks {name}: name a folder that `failure-monitor calibrate` "
            "wrote, whole"
        ) from None
    except OSError as error:
        raise BundleError(
            f"the bundle's file {path} cannot be read ({error.strerror or error}): let this user "
            "read it, or copy the bundle again"
        ) from None


def _read_arrays(folder: Path, files: dict[str, bytes]) -> dict[str, NDArray[np.generic]]:
    if ARRAYS_FILE not in files:
        return {}
    try:
        with np.load(io.BytesIO(files[ARRAYS_FILE]), allow_pickle=False) as arrays:
            return dict(arrays)
    except Exception as error:
        raise BundleError(
            f"{folder / ARRAYS_FILE} holds no arrays ({error}): calibrate again"
        ) from None


def _scale_arrays(description: BundleDescription) -> tuple[str, str]:
    """Return the names of the arrays of centres and spreads."""
    before = VERSION_1 if description.schema_version == 1 else ""
    return before + CENTRE_ARRAY, before + SPREAD_ARRAY


def _check_folds(folder: Path, description: BundleDescription, folds: Sequence[int]) -> None:
    """Reject scores of different numbers of models, and rollouts of a fold that has none."""
    last = max((rollout.fold or 0 for rollout in description.calibration), default=0)
    if len(set(folds)) > 1 or last >= folds[0]:
        raise BundleError(
            f"{folder} has {', '.join(map(str, folds))} models of its scores, and rollouts of "
            f"{last + 1} folds, expected as many models of each score as folds: calibrate again"
        )


def _read_scale(
    folder: Path,
    description: BundleDescription,
    arrays: dict[str, NDArray[np.generic]],
    folds: int,
) -> Scale:
    sections, is_constant = description.scores, description.threshold == "constant"
    kind, dimensions = (Scale, 2) if is_constant else (TimeVaryingScale, 3)
    if description.schema_version == 1 and is_constant:
        of_one = Scale(
            centre=np.array([section.centre for section in sections], dtype=np.float64),
            spread=np.array([section.spread for section in sections], dtype=np.float64),
        )
        return Scale.of_folds([of_one])
    try:
        centre, spread = (arrays[name].astype(np.float64) for name in _scale_arrays(description))
    except KeyError as error:
        raise BundleError(
            f"{folder / ARRAYS_FILE} lacks {error}, which the threshold needs: calibrate again"
        ) from None
    if description.schema_version == 1:
        centre, spread = (each.reshape(len(each), 1, -1) for each in (centre, spread))
    if not (
        centre.size
        and centre.ndim == dimensions
        and centre.shape == spread.shape
        and centre.shape[-2:] == (folds, len(sections))
        and np.isfinite(centre).all()
        and np.isfinite(spread).all()
        and (spread > 0).all()
    ):
        raise BundleError(
            f"{folder / ARRAYS_FILE} has a scale of shapes {centre.shape} and {spread.shape}, "
            f"expected finite numbers, and positive spreads, of {folds} folds and {len(sections)} "
            "scores: calibrate again"
        )
    return kind(centre, spread)


def _read_limits(
    folder: Path, description: BundleDescription, arrays: dict[str, NDArray[np.generic]]
) -> ValueLimits:
    policy = policy_format(description)
    stored = {name: array.astype(np.float64) for name, array in _under(LIMITS, arrays).items()}
    # Bundles of older versions have none.
    unknown = ValueLimits.unknown(policy)
    limits = replace(unknown, **stored) if stored else unknown
    sizes = [len(limits.embedding), len(limits.actions)]
    positive = all((array > 0).all() and np.isfinite(array).all() for array in stored.values())
    if sizes != [policy.embedding_size, len(policy.action_names)] or not positive:
        raise BundleError(
            f"{folder / ARRAYS_FILE} has limits of values that do not fit the policy: calibrate "
            "again"
        )
    return limits


def _outcome_arrays(bundle: Bundle) -> dict[str, NDArray[np.generic]]:
    section, check = bundle.description.outcome, bundle.outcome_check
    if section is None or check is None:
        return {}
    return {
        f"{OUTCOME}{number}.{name}": array
        for number, task in enumerate(section.tasks)
        if task.task in check.tasks
        for name, array in arrays_of(check.tasks[task.task]).items()
    }


def _read_outcome_check(
    folder: Path, description: BundleDescription, arrays: dict[str, NDArray[np.generic]]
) -> OutcomeCheck | None:
    section = description.outcome
    if section is None:
        return None
    strange = [part for part in section.parts if part not in PARTS]
    if strange:
        raise BundleError(
            f"{folder / DESCRIPTION_FILE} compares {list_names(strange)} of the ends of rollouts, "
            f"and known are {list_names(PARTS)}: update failure_monitor, or calibrate again"
        )
    promised = sorted(promise.task for promise in description.promises)
    if sorted(task.task for task in section.tasks) != promised:
        raise BundleError(
            f"{folder / DESCRIPTION_FILE} knows the ends of other tasks than it has promises for "
            f"({list_names(promised)}): calibrate again"
        )
    format_ = EndFormat(policy_format(description), section.joints)
    try:
        tasks = {
            task.task: ends_from(
                _under(f"{OUTCOME}{number}.", arrays), section.parts, section.rule, format_
            )
            for number, task in enumerate(section.tasks)
            if not task.unknown
        }
    except (StoredEndsError, ValueError) as error:
        raise BundleError(f"{folder / ARRAYS_FILE}: {error}: calibrate again") from None
    return OutcomeCheck(
        format_,
        section.alpha,
        tasks,
        section.parts,
        {task.task: task.unknown for task in section.tasks if task.unknown},
        section.left_out,
    )


def _under(prefix: str, arrays: dict[str, NDArray[np.generic]]) -> dict[str, NDArray[np.generic]]:
    """Return the arrays whose names begin with a prefix, by what follows it."""
    return {
        name.removeprefix(prefix): array
        for name, array in arrays.items()
        if name.startswith(prefix)
    }


def _restored(
    restore: Callable[[str, ScoreState], Restored],
    section: ScoreSection,
    files: dict[str, bytes],
    arrays: dict[str, NDArray[np.generic]],
) -> Restored:
    prefix = f"{section.name}."
    state = ScoreState(
        parameters=dict(section.parameters),
        arrays=_under(prefix, arrays),
        models={
            name.removeprefix(prefix).removesuffix(".onnx"): content
            for name, content in files.items()
            if name.startswith(prefix) and name.endswith(".onnx")
        },
    )
    try:
        return restore(section.name, state)
    except KeyError as error:
        raise BundleError(
            f"the bundle lacks {error} of the score {section.name}: calibrate again"
        ) from None


def _read_model(folder: Path, section: ModelSection, files: dict[str, bytes]) -> OnnxFile:
    try:
        weights = {name: files[file] for name, file in section.weights.items()}
        return OnnxFile(str(folder / section.file), files[section.file], weights)
    except KeyError as error:
        raise BundleError(
            f"{folder / DESCRIPTION_FILE} lists no SHA-256 of the model's file {error}: calibrate "
            "again"
        ) from None


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
