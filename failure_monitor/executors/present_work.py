# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What a piece of work can say and know of itself while an executor runs it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass


def _nobody(share: float) -> None:
    """Tell nobody how far the work is."""


@dataclass
class _Present:
    told: Callable[[float], None] = _nobody
    worker: str = ""


_present = _Present()


@contextmanager
def present_work(
    told: Callable[[float], None] = _nobody, worker: str | None = None
) -> Iterator[None]:
    """Let the work in the block tell how far it is, and know where it runs.

    Args:
        told: Receives the share of the work that is done.
        worker: Names the worker; None if it is known already, or of this machine.
    """
    before = _present.told, _present.worker
    _present.told = told
    _present.worker = before[1] if worker is None else worker
    try:
        yield
    finally:
        _present.told, _present.worker = before


def advance(share: float) -> None:
    """Tell which share of the present piece of work is done."""
    _present.told(share)


def on_worker() -> str:
    """Return where the work runs, as in ' on worker NODE'; empty on this machine."""
    return f" on {_present.worker}" if _present.worker else ""
