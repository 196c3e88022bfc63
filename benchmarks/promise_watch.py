# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""How often the watch of a promise is wrong, and how soon it finds a shift.

Rollouts are numbers drawn from a normal distribution, n of them for calibration (alpha 0.1), and
new ones after that. Each stream has its own calibration.

Type I: the share of streams in which the promise is ever called broken, though nothing has
changed. `stopped` are streams in which the gate stops what exceeds the threshold. Beside the watch
stand ways that seem to do as well and do not: to take the calibration rollouts for the truth, to
leave out what was stopped, and to count every stop as a success where some were true failures.

Delay: the median number of rollouts from a shift, in standard deviations, to the word. Beside the
watch stand a CUSUM of normal scores of the ranks and a rank-sum test after every rollout, whose
limits were found by simulation for the same error over this very number of rollouts, and a bet
that is valid given the calibration rollouts (their distribution within the band of Dvoretzky,
Kiefer, Wolfowitz and Massart at delta/2).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from benchmark_parts import one_thread

# isort: split
import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta, norm

from failure_monitor.cli.app import run_alone
from failure_monitor.cli.declaration import Option
from failure_monitor.promise.martingale import Direction, Martingales
from failure_monitor.thresholds.conformal import rank

assert one_thread
ALPHA = 0.1
DELTA = 0.01
NUMBERS = (10, 20, 50)
SHIFTS = (1.0, 2.0, -1.0, -2.0)
STARTS = (0, 100)
TRUE_FAILURES = 0.05
BLOCK = 500

Values = NDArray[np.float64]
Draw = Callable[[np.random.Generator, tuple[int, int]], Values]


def continuous(random: np.random.Generator, shape: tuple[int, int]) -> Values:
    return random.normal(size=shape)


def five_values(random: np.random.Generator, shape: tuple[int, int]) -> Values:
    """Few values, in an order by lot among equal ones as the watch does it."""
    return np.clip(np.round(random.normal(size=shape)), -2, 2) + 1e-6 * random.random(shape)


class Blocks:
    """Streams of rollouts, and where they lie among those of calibration."""

    def __init__(self, n: int, rollouts: int, draw: Draw, seed: int) -> None:
        random = np.random.default_rng([seed, n])
        self.n, self.k = n, rank(n, ALPHA)
        self.calibration = np.sort(draw(random, (BLOCK, n)), axis=1)
        self.new = draw(random, (BLOCK, rollouts))
        self.random = random

    def shifted(self, shift: float, start: int) -> Blocks:
        other = object.__new__(Blocks)
        other.__dict__.update(self.__dict__)
        other.new = self.new + shift * (np.arange(self.new.shape[1]) >= start)
        return other

    @property
    def below(self) -> NDArray[np.int64]:
        return (self.calibration[:, None, :] < self.new[:, :, None]).sum(axis=2)


def first(crossed: NDArray[np.bool_]) -> Values:
    """Return when each stream first crossed, in rollouts; infinite if it never did."""
    return np.where(crossed.any(axis=1), crossed.argmax(axis=1) + 1.0, np.inf)


def series(cells: NDArray[np.int64], masses: Values, *directions: Direction) -> Values:
    """Return the capital after every rollout as a logarithm; a cell of −1 is no rollout."""
    streams, rollouts = cells.shape
    order = np.argsort(cells < 0, axis=1, kind="stable")
    packed = np.take_along_axis(cells, order, axis=1)
    bets = Martingales(masses, streams, *([directions] if directions else []))
    capital = np.zeros((streams, rollouts + 1))
    for at in range(rollouts):
        # What comes after the last rollout of a stream is never looked at.
        bets.update(np.maximum(packed[:, at], 0))
        capital[:, at + 1] = bets.log_capital
    return np.take_along_axis(capital, (cells >= 0).cumsum(axis=1), axis=1)


def watch(blocks: Blocks, alarms: NDArray[np.int64] | None = None) -> Values:
    """Return when the watch says that the promise is broken."""
    above = blocks.below >= blocks.k
    n, k = blocks.n, blocks.k
    below = series(np.where(above, -1, blocks.below), np.ones(k))
    counted = above.astype(np.int64) if alarms is None else alarms
    number = series(counted, np.array([k, n + 1.0 - k]), Direction.HIGHER)
    return first(np.maximum(below, number) >= math.log(2 / DELTA))


def stopped_left_out_of_the_number(blocks: Blocks) -> Values:
    """The watch where nobody says of stopped rollouts that they would have succeeded."""
    above = blocks.below >= blocks.k
    return watch(blocks, np.where(above, -1, 0))


def half_of_the_stopped_counted(blocks: Blocks) -> Values:
    above = blocks.below >= blocks.k
    dropped = blocks.random.random(above.shape) < 0.5
    return watch(blocks, np.where(above & dropped, -1, above.astype(np.int64)))


def stops_left_out(blocks: Blocks) -> Values:
    """Wrong: what was stopped is left out, and the others compared with all of calibration."""
    above = blocks.below >= blocks.k
    cells = np.where(above, -1, blocks.below)
    return first(series(cells, np.ones(blocks.n + 1)) >= math.log(1 / DELTA))


def stops_at_their_value(blocks: Blocks) -> Values:
    """Wrong: a rollout that was stopped counts with the value at the stop, just above."""
    cells = np.minimum(blocks.below, blocks.k)
    return first(series(cells, np.ones(blocks.n + 1)) >= math.log(1 / DELTA))


def true_failures_counted(blocks: Blocks) -> Values:
    """Wrong: every stop counts as a false one, where some rollouts truly fail."""
    failed = blocks.random.random(blocks.new.shape) < TRUE_FAILURES
    above = blocks.below >= blocks.k
    return watch(blocks, (above | failed).astype(np.int64))


def reference_as_truth(blocks: Blocks) -> Values:
    """Wrong: p-values from one calibration set taken for independent ones, with the same bets."""
    values = (blocks.below + blocks.random.random(blocks.below.shape)) / (blocks.n + 1)
    capital = _power_bets(values)
    return first(capital >= math.log(1 / DELTA))


def _power_bets(values: Values) -> Values:
    strengths = (1.5, 3.0, 8.0)
    logs = [
        np.log(e * side ** (e - 1)).cumsum(axis=1)
        for e in strengths
        for side in (values, 1 - values)
    ]
    return np.asarray(np.logaddexp.reduce(logs, axis=0) - math.log(len(logs)))


def given_the_calibration(blocks: Blocks) -> Values:
    """Valid given the calibration rollouts: the worst distribution within a band around theirs."""
    n = blocks.n
    band = math.sqrt(math.log(4 / DELTA) / (2 * n))
    places = (blocks.below + 0.5) / (n + 1)
    logs = []
    for strength in (1.5, 3.0, 8.0):
        payoff = strength * ((np.arange(n + 1) + 0.5) / (n + 1)) ** (strength - 1)
        # The largest mean that a distribution in the band can have moves mass to the top.
        reached = np.maximum(np.arange(1, n + 1) / n - band, 0.0)
        chances = np.diff(np.concatenate([[0.0], reached, [1.0]]))
        worst = float(chances @ payoff)
        for side in (places, 1 - places):
            bet = strength * side ** (strength - 1) / worst
            # A part of the capital is bet, so that none is ever lost as a whole.
            logs += [np.log(1 - part + part * bet).cumsum(axis=1) for part in (0.3, 0.9)]
    capital = np.logaddexp.reduce(logs, axis=0) - math.log(len(logs))
    return first(np.asarray(capital) >= math.log(2 / DELTA))


def cusum(blocks: Blocks) -> Values:
    """Return the larger of two sums over time, of normal scores less half a deviation."""
    scores = norm.ppf((blocks.below + 0.5) / (blocks.n + 1))
    sums = np.zeros((2, len(scores)))
    course = np.zeros_like(scores)
    for at, score in enumerate(scores.T):
        sums = np.maximum(sums + np.array([score, -score]) - 0.5, 0.0)
        course[:, at] = sums.max(axis=0)
    return course


def rank_sum(blocks: Blocks) -> Values:
    """Return the rank-sum statistic of all new rollouts so far against calibration."""
    n, m = blocks.n, np.arange(1, blocks.new.shape[1] + 1)
    pairs = blocks.below.cumsum(axis=1)
    return np.asarray(np.abs(pairs - n * m / 2) / np.sqrt(n * m * (n + m + 1) / 12))


TYPE_ONE = {
    "the watch": watch,
    "the watch, nobody speaks of stops": stopped_left_out_of_the_number,
    "the watch, half of the stops are called false": half_of_the_stopped_counted,
    "given the calibration rollouts": given_the_calibration,
    "wrong: calibration taken for the truth": reference_as_truth,
    "wrong: stopped rollouts left out": stops_left_out,
    "wrong: stopped rollouts at their value": stops_at_their_value,
    "wrong: true failures counted as false stops": true_failures_counted,
}


def main(
    streams: Annotated[int, Option(min=BLOCK, help="simulated streams of the watch")] = 10_000,
    other_streams: Annotated[int, Option(min=BLOCK, help="streams of what stands beside")] = 2_000,
    delay_streams: Annotated[int, Option(min=BLOCK, help="streams for each shift")] = 1_000,
    rollouts: Annotated[int, Option(min=10, help="new rollouts of a stream")] = 300,
    only: Annotated[int, Option(min=0, help="calibration rollouts; 0: 10, 20 and 50")] = 0,
    results: Annotated[Path | None, Option("--json", help="write the figures here")] = None,
) -> None:
    """Measure the errors and the delays."""
    figures: list[dict[str, object]] = []
    for n in (only,) if only else NUMBERS:
        for title, draw in (("continuous", continuous), ("five values", five_values)):
            figures += _type_one(n, rollouts, (streams, other_streams), title, draw)
        figures += _delays(n, rollouts, other_streams, delay_streams)
        if results is not None:
            results.write_text(json.dumps(figures, indent=2) + "\n")


def _type_one(
    n: int, rollouts: int, of_streams: tuple[int, int], title: str, draw: Draw
) -> list[dict[str, object]]:
    found = []
    for name, method in TYPE_ONE.items():
        streams = of_streams[0 if method is watch else 1]
        blocks = (Blocks(n, rollouts, draw, seed) for seed in range(streams // BLOCK))
        wrong = sum(int(np.isfinite(method(block)).sum()) for block in blocks)
        total = streams // BLOCK * BLOCK
        low = beta.ppf(0.025, wrong, total - wrong + 1) if wrong else 0.0
        high = beta.ppf(0.975, wrong + 1, total - wrong)
        print(f"n {n}, {title}, {name}: {wrong / total:.4f} ({low:.4f} to {high:.4f})", flush=True)
        found.append(
            {"n": n, "values": title, "what": name, "rate": wrong / total, "interval": [low, high]}
        )
    return found


def _delays(n: int, rollouts: int, streams: int, delay_streams: int) -> list[dict[str, object]]:
    limits = {}
    for name, statistic in (("CUSUM", cusum), ("rank sum", rank_sum)):
        largest = [
            statistic(Blocks(n, rollouts, continuous, 10_000 + seed)).max(axis=1)
            for seed in range(streams // BLOCK)
        ]
        limits[name] = (statistic, float(np.quantile(np.concatenate(largest), 1 - DELTA)))
    found = []
    for start in STARTS:
        for shift in SHIFTS:
            delays: dict[str, list[Values]] = {}
            for seed in range(delay_streams // BLOCK):
                blocks = Blocks(n, rollouts, continuous, 20_000 + seed).shifted(shift, start)
                times = {"the watch": watch(blocks), "given": given_the_calibration(blocks)}
                for name, (statistic, limit) in limits.items():
                    times[name] = first(statistic(blocks) > limit)
                for name, each in times.items():
                    delays.setdefault(name, []).append(each)
            for name, each in delays.items():
                times_of = np.concatenate(each)
                times_of = times_of[times_of > start]
                median = float(np.median(times_of)) - start
                share = float(np.isfinite(times_of).mean())
                print(
                    f"n {n}, shift {shift:+g} after {start}, {name}: {median:g} "
                    f"(found in {share:.2f})",
                    flush=True,
                )
                found.append(
                    {
                        "n": n,
                        "shift": shift,
                        "start": start,
                        "what": name,
                        "median_delay": median if math.isfinite(median) else None,
                        "found": share,
                    }
                )
    return found


if __name__ == "__main__":
    run_alone(main)
