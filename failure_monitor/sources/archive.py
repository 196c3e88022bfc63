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

import io
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np

from failure_monitor.atomic_file import write_atomically
from failure_monitor.errors import FailureMonitorError
from failure_monitor.sources.addresses import is_address, is_file, open_file, shown, write_file
from failure_monitor.sources.archive_arrays import OpenArchive
from failure_monitor.sources.archive_reading import contents_of
from failure_monitor.sources.archive_writing import arrays_of
from failure_monitor.sources.rollout_set import RolloutSet
from failure_monitor.sources.source import Advance, BagOptions, SourceContents, SourceError


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


@contextmanager
def _open(path: Path) -> Iterator[OpenArchive]:
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


def reject_other_name(path: Path) -> None:
    """Reject a path that does not end as an archive's does.

    Raises:
        SourceError: The path does not end in `.npz`.
    """
    if path.suffix != ".npz":
        raise SourceError(f"{path} does not end in .npz: name an archive that does")


def write_archive(path: Path, rollout_set: RolloutSet) -> None:
    """Write rollouts as an archive, whole or not at all.

    Args:
        path: A path that ends in `.npz`; an existing file is replaced.
        rollout_set: The rollouts to write.

    Raises:
        SourceError: The path does not end in `.npz`.
        UnwritableError: The archive cannot be written.
    """
    reject_other_name(path)
    arrays = arrays_of(rollout_set)
    if not is_address(path):
        write_atomically(path, lambda stream: np.savez_compressed(stream, **arrays))  # type: ignore[arg-type]
        return
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)  # type: ignore[arg-type]
    write_file(path, content.getvalue())
