# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""How often `fleet` names a robot that is like the others, and how often one that is not.

Twenty robots run the same bundle (30 calibration rollouts, alpha 0.1, drawn anew for every fleet).
A rollout is a number from a normal distribution; that of a robot that differs is shifted, in
standard deviations. All rollouts succeeded.

Beside what `fleet` does stand: the same with alarms alone, as where no bundle is at hand; the same
with every robot compared with all others together; twenty one-sided tests of Fisher at 5 % for
more alarms than all others together; and these with the correction of Benjamini and Hochberg.

Named wrongly: the mean over fleets of the share of robots like most among those named (the
false-discovery rate). Any: the share of fleets in which such a robot is named. Found: of the
robots that differ, the share that is named.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from benchmark_parts import one_thread

# isort: split
import numpy as np
from numpy.typing import NDArray
from scipy.stats import hypergeom

from failure_monitor.cli.app import run_alone
from failure_monitor.cli.declaration import Option
from failure_monitor.evaluation.metrics import clopper_pearson
from failure_monitor.fleet import unlike
from failure_monitor.thresholds.conformal import rank

assert one_thread
ALPHA = 0.1
CALIBRATION = 30
ROBOTS = 20
LEVEL = 0.1
TEST = 0.05
LENGTHS = (50, 100, 200, 500, 0)
"""Rollouts of each robot; 0 for a number from 50 to 500, another one for each."""

SCENARIOS = {
    "nothing differs": (),
    "one by +0.5": (0.5,),
    "one by +1": (1.0,),
    "one by +2": (2.0,),
    "one by −1": (-1.0,),
    "three by +1": (1.0, 1.0, 1.0),
    "three by −1": (-1.0, -1.0, -1.0),
    "three by −2": (-2.0, -2.0, -2.0),
}

Fleet = Sequence[unlike.CountedRollouts]
Method = Callable[[Fleet], list[bool]]


def by_fleet(robots: Fleet) -> list[bool]:
    return named(unlike.compare(robots, CALIBRATION))


def by_alarms(robots: Fleet) -> list[bool]:
    return named(unlike.compare(robots, None))


def against_all(robots: Fleet) -> list[bool]:
    """Name robots by the same e-values of alarms, against all others together."""
    alarms = np.array([robot.alarms.sum() for robot in robots])
    numbers = np.array([len(robot.alarms) for robot in robots])
    logs = [
        unlike.log_e_value(int(x), int(n), int(alarms.sum() - x), int(numbers.sum() - n))
        for x, n in zip(alarms, numbers, strict=True)
    ]
    return unlike.e_bh(logs, LEVEL)


def by_tests(robots: Fleet) -> list[bool]:
    return [p <= TEST for p in p_values(robots)]


def by_corrected_tests(robots: Fleet) -> list[bool]:
    p = p_values(robots)
    ordered = np.sort(p)
    limits = LEVEL * np.arange(1, len(p) + 1) / len(p)
    enough = np.flatnonzero(ordered <= limits)
    return [bool(enough.size) and value <= ordered[enough[-1]] for value in p]


METHODS: dict[str, Method] = {
    "fleet": by_fleet,
    "alarms alone": by_alarms,
    "against all others": against_all,
    "twenty tests at 5 %": by_tests,
    "these by Benjamini and Hochberg": by_corrected_tests,
}


def named(comparisons: Sequence[unlike.Comparison | None]) -> list[bool]:
    return unlike.e_bh([each.log_e if each else 0.0 for each in comparisons], LEVEL)


def p_values(robots: Fleet) -> NDArray[np.float64]:
    alarms = np.array([robot.alarms.sum() for robot in robots])
    numbers = np.array([len(robot.alarms) for robot in robots])
    return np.asarray(hypergeom.sf(alarms - 1, numbers.sum(), alarms.sum(), numbers))


def drawn_fleet(
    random: np.random.Generator, shifts: Sequence[float], length: int
) -> list[unlike.CountedRollouts]:
    calibration = np.sort(random.normal(size=CALIBRATION))
    threshold = rank(CALIBRATION, ALPHA)
    robots = []
    for shift in [*shifts, *[0.0] * (ROBOTS - len(shifts))]:
        number = length or int(random.integers(50, 501))
        below = np.searchsorted(calibration, random.normal(shift, size=number))
        robots.append(unlike.CountedRollouts(below >= threshold, below))
    return robots


@dataclass(frozen=True)
class Figures:
    """What a method did over many fleets."""

    wrong: float
    wrong_error: float
    any_wrong: tuple[float, float, float]
    found: float | None

    @property
    def text(self) -> str:
        share, low, high = self.any_wrong
        found = "" if self.found is None else f" {self.found:.2f}"
        return (
            f"{self.wrong:.4f} ± {self.wrong_error:.4f} {share:.3f} ({low:.3f}–{high:.3f}){found}"
        )


def figures(method: Method, fleets: Sequence[Fleet], different: int) -> Figures:
    wrong, any_wrong, found = [], 0, 0
    for fleet in fleets:
        names = method(fleet)
        right = sum(names[:different])
        false = sum(names) - right
        wrong.append(false / max(right + false, 1))
        any_wrong += false > 0
        found += right
    low, high = clopper_pearson(any_wrong, len(fleets)) or (0.0, 1.0)
    return Figures(
        float(np.mean(wrong)),
        2 * float(np.std(wrong)) / len(wrong) ** 0.5,
        (any_wrong / len(fleets), low, high),
        found / len(fleets) / different if different else None,
    )


def measure(
    draws: Annotated[int, Option(min=2, help="fleets of each kind")] = 1000,
    scenario: Annotated[
        str, Option(choices=("", *SCENARIOS), help="only this one; default: all")
    ] = "",
    lengths: Annotated[
        str, Option(help="rollouts of each robot; 0 for 50 to 500")
    ] = "50,100,200,500,0",
    json_file: Annotated[Path | None, Option("--json", writes="file", help="keep it here")] = None,
    seed: Annotated[int, Option(min=0)] = 0,
) -> None:
    """Print the share of robots named wrongly, and of those found, by each method."""
    print(f"{draws} fleets of {ROBOTS} robots; false-discovery rate {LEVEL:g}")
    print("named wrongly ± 2 standard errors, any (95 % interval), found")
    kept: dict[str, dict[str, object]] = {}
    for name, shifts in SCENARIOS.items():
        if scenario not in ("", name):
            continue
        for length in map(int, lengths.split(",")):
            random = np.random.default_rng([seed, length, *name.encode()])
            fleets = [drawn_fleet(random, shifts, length) for _ in range(draws)]
            for method, names in METHODS.items():
                found = figures(names, fleets, len(shifts))
                print(f"{name:16} {length or '50–500':>6} {method:32} {found.text}", flush=True)
                kept[f"{name}, {length}, {method}"] = vars(found)
    if json_file is not None:
        json_file.write_text(json.dumps(kept, indent=2))


if __name__ == "__main__":
    run_alone(measure)
