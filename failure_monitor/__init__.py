# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Runtime failure prediction for learned robot policies.

`calibrate`, `evaluate`, `load_bundle` and `FailureMonitor` do in Python what the commands and the
monitor node do (docs/python_api.md). They are loaded when they are first used: nodes import this
package without them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from failure_monitor.bundle.folder import load as load_bundle
    from failure_monitor.calibration.from_sources import calibrate
    from failure_monitor.evaluation.from_sources import evaluate
    from failure_monitor.monitoring.monitor import FailureMonitor
    from failure_monitor.sources.reading_options import ReadingOptions

__version__ = "0.2.0"

__all__ = [
    "FailureMonitor",
    "ReadingOptions",
    "__version__",
    "calibrate",
    "evaluate",
    "load_bundle",
]

_PLACES = {
    "FailureMonitor": ("monitoring.monitor", "FailureMonitor"),
    "ReadingOptions": ("sources.reading_options", "ReadingOptions"),
    "calibrate": ("calibration.from_sources", "calibrate"),
    "evaluate": ("evaluation.from_sources", "evaluate"),
    "load_bundle": ("bundle.folder", "load"),
}
"""Module and name of what is loaded when it is first used."""


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    module, attribute = _PLACES[name]
    return getattr(import_module(f"{__name__}.{module}"), attribute)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
