# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What it takes to steer by one decision, on one thread.

python benchmarks/steering_latency.py: the median and the 99th percentile of the trusted horizon
and of every way to choose a chunk, beside a plain numpy version of the same formula that is given
the same decisions in the same run, and the largest difference between what the two say.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial

from benchmark_parts import one_thread

# isort: split
import numpy as np
from numpy.typing import NDArray
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from failure_monitor.calibration.fitting.fit import fit_score
from failure_monitor.cli.app import run_alone
from failure_monitor.decision import Decision, PolicyFormat, Rollout
from failure_monitor.monitoring.response.chosen_chunk import Medoid
from failure_monitor.monitoring.response.trusted_horizon import Dispersion
from failure_monitor.scores.base.reached_positions import ReachedPositions
from failure_monitor.scores.pseudo_count import PseudoCount
from failure_monitor.scores.retrieval import NEIGHBOURS, Retrieval

assert one_thread
SAMPLES, HORIZON, ACTIONS, EMBEDDING = 256, 16, 7, 512
ROLLOUTS, DECISIONS, FITTING_SAMPLES = 50, 40, 4
TIMED = 300
LEADING = 8

Steer = Callable[[Decision], NDArray[np.floating]]
console = Console(width=100)


def rollout(rng: np.random.Generator, samples: int) -> Rollout:
    """Return embeddings and chunks that drift, samples that scatter."""
    phase = np.linspace(0, 1, DECISIONS)[:, np.newaxis]
    embeddings = np.sin(phase * np.arange(1, EMBEDDING + 1))
    embeddings += 0.1 * rng.normal(size=embeddings.shape)
    shape = (DECISIONS, samples, HORIZON, ACTIONS)
    chunks = np.cos(3 * phase)[..., np.newaxis, np.newaxis] + 0.1 * rng.normal(size=shape)
    return Rollout("drift", phase[:, 0], embeddings.astype("f"), chunks.astype("f"))


def textbook_dispersion(dispersion: Dispersion, decision: Decision) -> NDArray[np.floating]:
    """Return d_h as its formula reads."""
    positions = np.cumsum(decision.chunks.astype(np.float64), axis=1)
    return np.sqrt((positions.var(axis=0) / dispersion.usual**2).mean(axis=1))


def textbook_medoid(decision: Decision) -> NDArray[np.floating]:
    """Return the sums of distances as their formula reads."""
    points = np.cumsum(decision.chunks, axis=1).reshape(SAMPLES, -1)
    return np.linalg.norm(points[:, np.newaxis] - points, axis=-1).sum(axis=1)


def textbook_pseudo_count(score: PseudoCount, decision: Decision) -> NDArray[np.floating]:
    """Run the network, sample by sample."""
    alone = (Decision(0, decision.embedding, chunk[np.newaxis]) for chunk in decision.chunks)
    return np.array([score.update(one) for one in alone])


def textbook_retrieval(score: Retrieval, decision: Decision) -> NDArray[np.floating]:
    """Return the least distances as their formula reads."""
    state = score.state().arrays
    query = (decision.embedding - state["embedding_mean"]) / state["embedding_deviation"]
    apart = np.linalg.norm(state["memory"] - query.clip(-10, 10), axis=1)
    done = state["chunks"][np.argsort(apart)[:NEIGHBOURS]]
    chunks = decision.chunks.reshape(SAMPLES, -1)
    standardised = (chunks - state["chunk_mean"]) / state["chunk_deviation"]
    distances = np.linalg.norm(standardised.clip(-10, 10)[:, np.newaxis] - done, axis=-1)
    return distances.min(axis=1)


def timed(steer: Steer, decisions: Sequence[Decision]) -> NDArray[np.float64]:
    """Return the microseconds of every call."""
    seconds = []
    for number in range(TIMED):
        decision = decisions[number % len(decisions)]
        begin = time.perf_counter()
        steer(decision)
        seconds.append(time.perf_counter() - begin)
    return 1e6 * np.array(seconds)


def main() -> None:
    """Measure, and print the table."""
    rng = np.random.default_rng(0)
    names = tuple(f"joint_{number}" for number in range(ACTIONS))
    policy = PolicyFormat(EMBEDDING, SAMPLES, HORIZON, names, "delta")
    fitting = [rollout(rng, FITTING_SAMPLES) for _ in range(ROLLOUTS)]
    decisions = list(rollout(rng, SAMPLES).decisions())
    dispersion = Dispersion.fit(fitting, policy, LEADING)
    pseudo_count = fit_score("pseudo_count", fitting, policy, 0)
    retrieval = fit_score("retrieval", fitting, policy, 0)
    assert isinstance(pseudo_count, PseudoCount)
    assert isinstance(retrieval, Retrieval)
    rows: dict[str, tuple[Steer, Steer]] = {
        "trusted horizon": (
            lambda decision: dispersion(decision.chunks),
            partial(textbook_dispersion, dispersion),
        ),
        "medoid": (Medoid(ReachedPositions.of(policy)).score_samples, textbook_medoid),
        "pseudo_count": (pseudo_count.score_samples, partial(textbook_pseudo_count, pseudo_count)),
        "retrieval": (retrieval.score_samples, partial(textbook_retrieval, retrieval)),
    }
    sizes = f"B {SAMPLES}, H {HORIZON}, D {ACTIONS}, E {EMBEDDING}"
    drawn = Table(box=SIMPLE_HEAD, title=f"{sizes}, one thread, µs", title_justify="left")
    for column in ("", "p50", "p99", "plain numpy, p50", "faster by", "largest difference"):
        drawn.add_column(column, justify="right" if column else "left")
    for name, (steer, textbook) in rows.items():
        apart = max(float(np.abs(steer(d) / textbook(d) - 1).max()) for d in decisions[:10])
        timed(steer, decisions)
        ours, theirs = timed(steer, decisions), timed(textbook, decisions[:10])
        drawn.add_row(
            name,
            f"{np.median(ours):.0f}",
            f"{np.quantile(ours, 0.99):.0f}",
            f"{np.median(theirs):.0f}",
            f"{np.median(theirs) / np.median(ours):.1f}",
            f"{apart:.1e}",
        )
    console.print(drawn)


if __name__ == "__main__":
    run_alone(main)
