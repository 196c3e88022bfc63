# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""How the monitor makes decisions from cameras and joints: as calibration did.

A bundle that holds the policy's exported models states it all. One that does not, because it is
older or was calibrated on the policy's own messages, leaves it to the parameters.
"""

from __future__ import annotations

from dataclasses import dataclass

from failure_monitor.bundle.bundle import Bundle
from failure_monitor.bundle.description import BlackBoxSection
from failure_monitor.errors import UsageError
from failure_monitor.parameters.monitor import AS_CALIBRATED, MonitorParameters

DEFAULTS = BlackBoxSection(observation_rate=0.0, matching_tolerance=0.05, noise_seed=0)
"""The defaults of `failure-monitor calibrate`."""


@dataclass(frozen=True)
class BlackBoxSettings:
    """How observations and decisions are made, by the bundle or the parameters.

    Attributes:
        observation_rate: decisions per second; None for one at every image of the first camera.
        matching_tolerance: seconds by which the stamps of an observation may lie apart.
        noise_seed: the seed of the sampler's noise.
    """

    observation_rate: float | None
    matching_tolerance: float
    noise_seed: int


def black_box_settings(parameters: MonitorParameters, bundle: Bundle) -> BlackBoxSettings:
    """Return the settings of the bundle, or else of the parameters.

    Raises:
        UsageError: a parameter contradicts the bundle, or is out of range.
    """
    calibrated_with = bundle.description.black_box

    def setting(name: str) -> float:
        value: float = getattr(parameters, name)
        if value != AS_CALIBRATED and value < 0:
            raise UsageError(
                f"the parameter '{name}' is {value:g}: give 0 or more, or {AS_CALIBRATED} for "
                "what the bundle was calibrated with"
            )
        calibrated: float = getattr(calibrated_with or DEFAULTS, name)
        if calibrated_with is not None and value not in (AS_CALIBRATED, calibrated):
            raise UsageError(
                f"the parameter '{name}' is {value:g}, the bundle was calibrated with "
                f"{calibrated:g}: leave it at {AS_CALIBRATED}, or calibrate again"
            )
        return calibrated if value == AS_CALIBRATED else value

    return BlackBoxSettings(
        observation_rate=setting("observation_rate") or None,
        matching_tolerance=setting("matching_tolerance"),
        noise_seed=int(setting("noise_seed")),
    )
