# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What can go wrong in the simulation: kind, strength and onset of a perturbation."""

import math
from dataclasses import dataclass

from failure_monitor.errors import FailureMonitorError

KINDS = {
    "none": "nothing is perturbed",
    "object_range": "the object starts outside the training range",
    "displacement": "the object is moved during the rollout",
    "camera": "the camera is moved",
    "light": "the light fades and is tinted",
    "occlusion": "part of the image is covered",
    "dynamics": "friction, damping and mass change",
    "actuation": "the executed actions are noisy and biased",
    "nearer": "the object stands nearer along the hand's way, which ends with it half moved",
    "jam": "the object jams before it has been moved all the way",
    "slip": "the object slips from under the hand, half moved, and goes back",
    "early": "success is claimed before the hand is where a success leaves it",
    "lookalike": "what the policy finds is a look-alike; the right object stands beside it",
}
"""Every kind of perturbation and its description."""

AT_START = ("object_range", "nearer", "lookalike")
"""Those that change where the object starts, whatever the onset."""

MAX_STRENGTH = 2.0
"""Largest strength; at 1 the visual and positional kinds usually make the policy fail."""


@dataclass(frozen=True)
class Perturbation:
    """One perturbation of a rollout; `effects.py` defines its strength."""

    kind: str = "none"
    """One of `KINDS`."""
    strength: float = 1.0
    """0 (no effect) to `MAX_STRENGTH`; linear in the units of the kind."""
    onset: float = 0.0
    """Simulated seconds after the start; those of `AT_START` are there from it."""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise FailureMonitorError(
                f"there is no perturbation '{self.kind}': choose one of {', '.join(KINDS)}."
            )
        if not 0.0 <= self.strength <= MAX_STRENGTH:
            raise FailureMonitorError(
                f"the strength of perturbation '{self.kind}' is {self.strength}: "
                f"it must lie in [0, {MAX_STRENGTH}]."
            )
        if not (math.isfinite(self.onset) and self.onset >= 0.0):
            raise FailureMonitorError(
                f"the onset of perturbation '{self.kind}' is {self.onset} s: "
                "it must be finite and not negative."
            )


UNDISTURBED = Perturbation(kind="none", strength=0.0)
"""No perturbation."""
