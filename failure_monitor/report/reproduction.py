# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""How to come to the same page again: what was run, with which versions, on which rollouts."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from failure_monitor import __version__
from failure_monitor.bundle.bundle import Bundle
from failure_monitor.bundle.promise_text import Row
from failure_monitor.decision import Rollout
from failure_monitor.text_table import TextTable

PACKAGES = ("numpy", "scipy", "onnxruntime", "torch")
"""Whose versions figures may depend on."""


@dataclass(frozen=True)
class Origin:
    """Where a page comes from.

    Attributes:
        command: the command line that made it.
        bundle: the folder of the bundle.
        bundle_sha256: the hash by which the bundle is known.
        made: when, as text.
    """

    command: str
    bundle: str
    bundle_sha256: str
    made: str


def origin_rows(origin: Origin, bundle: Bundle) -> list[Row]:
    """Return rows for the bundle, the settings and the versions."""
    description = bundle.description
    return [
        ("bundle", origin.bundle),
        ("its SHA-256", f"{origin.bundle_sha256} (of bundle.yaml)"),
        (
            "calibrated",
            f"{description.created} by failure_monitor {description.tool_version}, "
            f"{description.folds} folds, seed {description.seed}",
        ),
        ("this page", f"{origin.made} by failure_monitor {__version__}"),
        ("versions", ", ".join([f"Python {platform.python_version()}", *_versions()])),
    ]


def _versions() -> Iterable[str]:
    for package in PACKAGES:
        try:
            yield f"{package} {version(package)}"
        except PackageNotFoundError:  # torch is not needed to evaluate
            continue


def rollouts_table(title: str, rollouts: Sequence[Rollout]) -> TextTable:
    """Return every rollout with the hash that identifies it."""
    return TextTable(
        title=title,
        columns=("rollout", "source", "decisions", "SHA-256"),
        left_aligned=frozenset({"source", "SHA-256"}),
        rows=tuple((r.name, r.source, str(len(r)), r.sha256) for r in rollouts),
    )


def bundle_rollouts_table(bundle: Bundle) -> TextTable:
    """Return a table of the rollouts that made the bundle."""
    description = bundle.description
    purposes = (
        ("calibration", description.calibration),
        ("fitting", description.fit),
        ("failures", description.failures),
    )
    return TextTable(
        title="The rollouts that made the bundle",
        columns=("rollout", "for", "decisions", "SHA-256"),
        left_aligned=frozenset({"for", "SHA-256"}),
        rows=tuple(
            (rollout.name, purpose, str(rollout.decisions), rollout.sha256)
            for purpose, rollouts in purposes
            for rollout in rollouts
        ),
    )
