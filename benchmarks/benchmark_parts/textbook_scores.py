# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Every score once more, as its formula stands in the docstring: plain numpy, double precision.

What the package's scores are timed against, and checked against. Each function takes what was
fitted (`ScoreState`), the policy's format and the rollout's decisions up to now, and returns the
score of the last one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
import onnx
from numpy.typing import NDArray

from failure_monitor.decision import Decision, PolicyFormat
from failure_monitor.scores.base.folded_score import FoldedScore
from failure_monitor.scores.base.score import Score, ScoreState
from failure_monitor.scores.base.together_score import FoldedTogether, TogetherScore

Array: TypeAlias = NDArray[np.float64]
Past: TypeAlias = Sequence[Decision]
Formula: TypeAlias = Callable[[ScoreState, PolicyFormat, Past], float]

CLIP = 10.0
KNN_NEIGHBOURS, NEIGHBOURS = 10, 8
PHASE_WIDTH = 3
COMMANDS_BACK = 3
REGRESSIONS = {
    "one_step": "weights",
    "command_effect": "regression",
    "joint_effect": "regression",
    "gripper_effect": "regression",
}
"""By score, the array that holds the regressions of all models side by side."""


def textbook(score: Score, policy: PolicyFormat) -> Callable[[Past], float]:
    """Return a fitted score as a formula: from decisions up to now, the score of the last."""
    state, formula = states_of_models(of_one(score))[0], FORMULAS[score.name]
    return lambda past: formula(state, policy, past)


def textbook_of_folds(
    score: FoldedScore, policy: PolicyFormat
) -> Callable[[Past], NDArray[np.float64]]:
    """Return a score of F models as a formula that gives the score of every model, (F,).

    Every model is asked by itself: nothing that they have in common is computed once.
    """
    states = states_of_models(score)
    formula = FORMULAS[score.name]
    return lambda past: np.array([formula(state, policy, past) for state in states])


def of_one(score: Score) -> FoldedScore:
    """Return a score of one model as one of several."""
    return FoldedTogether(score) if isinstance(score, TogetherScore) else FoldedScore([score])


def states_of_models(score: FoldedScore) -> list[ScoreState]:
    """Return the state of each model as if it had been fitted alone."""
    if not isinstance(score, FoldedTogether):
        return [unpacked(model.state()) for model in score.models]
    return [_of_fold(score.state(), score.name, fold) for fold in range(score.folds)]


def _of_fold(state: ScoreState, score: str, fold: int) -> ScoreState:
    arrays = dict(state.arrays)
    if "folds" in arrays:
        outside = arrays["folds"] != fold
        arrays |= {part: arrays[part][outside] for part in ("memory", "numbers")}
    regression = REGRESSIONS.get(score)
    if regression is not None:
        models = len(arrays["residual"])
        of_models = np.split(arrays[regression], models, axis=1)
        apart = {"residual", "whitening", "weights"} & arrays.keys()
        arrays |= {part: arrays[part][[fold]] for part in apart}
        arrays[regression] = of_models[fold]
    return ScoreState(state.parameters, arrays)


def unpacked(state: ScoreState) -> ScoreState:
    """Add a network's numbers as arrays: `input_…` of its standardisation, `weight_i`, `bias_i`.

    Its linear layers are counted in the order in which the graph runs them.
    """
    if not state.models:
        return state
    graph = onnx.load_from_string(state.models["network"]).graph
    values = {i.name: onnx.numpy_helper.to_array(i) for i in graph.initializer}
    for node in graph.node:
        if node.op_type == "Identity" and node.input[0] in values:
            values[node.output[0]] = values[node.input[0]]
    arrays = {f"input_{part}": values[f"0.{part}"] for part in ("varying", "mean", "deviation")}
    arrays |= {
        part: values[f"1.{part}"] for part in ("mean", "deviation") if f"1.{part}" in values
    }
    layers = [node.input for node in graph.node if node.op_type == "Gemm"]
    for index, (_, weight, bias) in enumerate(layers):
        arrays[f"weight_{index}"] = values[weight].astype(np.float64)
        arrays[f"bias_{index}"] = values[bias].astype(np.float64)
    return ScoreState(state.parameters, arrays)


# What several formulas need.


def standardised(values: NDArray[np.floating], arrays: dict[str, Array], prefix: str) -> Array:
    varying = arrays[f"{prefix}_varying"]
    scaled = (values[varying] - arrays[f"{prefix}_mean"]) / arrays[f"{prefix}_deviation"]
    clipped = np.clip(scaled, -CLIP, CLIP)
    components = arrays.get(f"{prefix}_components")
    return clipped if components is None else clipped @ components


def mean_chunk(decision: Decision) -> Array:
    return decision.chunks.mean(axis=0, dtype=np.float64).ravel()


def executed_chunk(decision: Decision) -> Array:
    return decision.chunks[0].astype(np.float64).ravel()


def fourier_features(inputs: Array, arrays: dict[str, Array]) -> Array:
    waves = np.cos(inputs @ arrays["frequencies"].astype(np.float64) + arrays["phases"])
    return np.concatenate([waves, inputs, [1.0]])


def nearest(query: Array, memory: Array, count: int) -> tuple[NDArray[np.int64], Array]:
    """Return the rows nearest to a query, and their distances, nearest first."""
    distances = np.linalg.norm(memory - query, axis=1)
    order = np.argsort(distances, kind="stable")[:count]
    return order, distances[order]


def entropy(counts: NDArray[np.int64]) -> float:
    p = counts / counts.sum()
    return float(-np.sum(p * np.log2(p)))


# The formulas.


def ace(state: ScoreState, policy: PolicyFormat, past: Past) -> float:
    cells = grid_cells(state, past[-1])
    steps = range(policy.horizon)
    return float(
        np.mean(
            [entropy(np.unique(cells[:, h], axis=0, return_counts=True)[1]) for h in steps],
        )
    )


def ace_per_dimension(state: ScoreState, policy: PolicyFormat, past: Past) -> float:
    cells = grid_cells(state, past[-1])
    return float(
        np.mean(
            [
                sum(
                    entropy(np.unique(cells[:, h, d], return_counts=True)[1])
                    for d in range(cells.shape[2])
                )
                for h in range(policy.horizon)
            ]
        )
    )


def grid_cells(state: ScoreState, decision: Decision) -> Array:
    """Return the cell of every sample at every step, (B, H, P)."""
    positions = decision.chunks[..., state.arrays["indices"]].astype(np.float64)
    if state.parameters["integrate"]:
        positions = np.cumsum(positions, axis=1)
    return np.floor((positions - state.arrays["anchor"]) / state.arrays["cell"])


def stac(state: ScoreState, policy: PolicyFormat, past: Past) -> float:
    if len(past) < 2:
        return np.nan
    k, samples = int(state.parameters["executed"]), policy.samples
    x = (past[-2].chunks[:, k:] * state.arrays["weights"]).reshape(samples, -1)
    y = (past[-1].chunks[:, : policy.horizon - k] * state.arrays["weights"]).reshape(samples, -1)
    both = np.concatenate([x, y]).astype(np.float64)
    squared = np.array([np.sum((both - point) ** 2, axis=1) for point in both])
    kernel = np.exp(-squared / (2 * np.median(squared[squared > 0])))
    within_x, within_y = kernel[:samples, :samples], kernel[samples:, samples:]
    return float(within_x.mean() + within_y.mean() - 2 * kernel[:samples, samples:].mean())


def stac_single(state: ScoreState, policy: PolicyFormat, past: Past) -> float:
    if len(past) < 2:
        return np.nan
    k = int(state.parameters["executed"])
    apart = past[-2].chunks[0, k:].astype(np.float64) - past[-1].chunks[0, : policy.horizon - k]
    return float(np.mean(np.linalg.norm(apart * state.arrays["weights"], axis=1)))


def dispersion_profile(state: ScoreState, policy: PolicyFormat, past: Past) -> float:
    deviations = past[-1].chunks.std(axis=0, dtype=np.float64)
    profile = np.log(deviations + state.arrays["smallest"]).ravel()
    return phase_distance(state, profile, len(past) - 1)


def phase_knn(state: ScoreState, policy: PolicyFormat, past: Past) -> float:
    return phase_distance(state, past[-1].embedding, len(past) - 1)


def phase_distance(state: ScoreState, values: NDArray[np.floating], number: int) -> float:
    """Return the mean distance to the nearest memories of about the same time."""
    times = state.arrays["numbers"]
    later = times[times >= number]
    centre = later.min() if len(later) else times.max()
    in_phase = np.abs(times - centre) <= PHASE_WIDTH
    query = standardised(values, state.arrays, "embedding")
    memory = state.arrays["memory"][in_phase]
    return float(nearest(query, memory, NEIGHBOURS)[1].mean())


def knn(state: ScoreState, policy: PolicyFormat, past: Past) -> float:
    query = standardised(past[-1].embedding, state.arrays, "embedding")
    _, distances = nearest(query, state.arrays["memory"], KNN_NEIGHBOURS)
    return float(distances.mean())


def lag(state: ScoreState, policy: PolicyFormat, past: Past) -> float:
    return behind(state, past[-1].embedding, len(past) - 1)


def chunk_lag(state: ScoreState, policy: PolicyFormat, past: Past) -> float:
    return behind(state, mean_chunk(past[-1]), len(past) - 1)


def behind(state: ScoreState, values: NDArray[np.floating], number: int) -> float:
    """Return the decisions by which similar ones came earlier."""
    query = standardised(values, state.arrays, "embedding")
    places, _ = nearest(query, state.arrays["memory"], NEIGHBOURS)
    return max(0.0, number - float(np.median(state.arrays["numbers"][places])))


def retrieval(state: ScoreState, policy: PolicyFormat, past: Past) -> float:
    query = standardised(past[-1].embedding, state.arrays, "embedding")
    places, _ = nearest(query, state.arrays["memory"], NEIGHBOURS)
    chunk = standardised(mean_chunk(past[-1]), state.arrays, "chunk")
    return float(np.linalg.norm(state.arrays["chunks"][places] - chunk, axis=1).min())


def mahalanobis(state: ScoreState, policy: PolicyFormat, past: Past) -> float:
    apart = standardised(past[-1].embedding, state.arrays, "embedding") - state.arrays["mean"]
    return float(np.linalg.norm(apart @ state.arrays["whitening"]))


def pca_kmeans(state: ScoreState, policy: PolicyFormat, past: Past) -> float:
    projected = (past[-1].embedding - state.arrays["mean"]) @ state.arrays["components"]
    return float(np.linalg.norm(projected - state.arrays["centroids"], axis=1).min())


def kernel_support(state: ScoreState, policy: PolicyFormat, past: Past) -> float:
    arrays, decision = state.arrays, past[-1]
    flat = decision.chunks.reshape(policy.samples, -1).astype(np.float64)
    waves = np.cos(flat @ arrays["frequencies"] + arrays["phases"])
    mean = np.sqrt(2 / waves.shape[1]) * waves.mean(axis=0)
    seen = standardised(decision.embedding, arrays, "embedding")
    point = np.concatenate([seen / arrays["bandwidths"][0], mean / arrays["bandwidths"][1]])
    kernel = np.exp(-np.sum((arrays["support"] - point) ** 2, axis=1) / 2)
    return max(0.0, 1 - float(np.sum((arrays["whitening"] @ kernel) ** 2)))


def one_step(state: ScoreState, policy: PolicyFormat, past: Past) -> float:
    if len(past) < 2:
        return np.nan
    arrays = state.arrays
    before, now = (standardised(d.embedding, arrays, "embedding") for d in past[-2:])
    inputs = np.concatenate([before, standardised(mean_chunk(past[-2]), arrays, "chunk")])
    predicted = before + fourier_features(inputs, arrays) @ arrays["weights"]
    scaled = np.clip((now - predicted) / arrays["residual"], -CLIP, CLIP)
    return float(np.linalg.norm(scaled @ arrays["whitening"]))


def command_effect(state: ScoreState, policy: PolicyFormat, past: Past) -> float:
    k, arrays = int(state.parameters["executed"]), state.arrays
    if state.parameters["are_positions"]:
        places = [past[0].chunks[0, 0], *(d.chunks[0, k - 1] for d in past[:-1])]
    else:
        moves = [d.chunks[0, :k].sum(axis=0, dtype=np.float64) for d in past[:-1]]
        places = [np.zeros(len(policy.action_names)), *np.cumsum(moves, axis=0)]
    now, before = places[-1], places[max(len(places) - 1 - COMMANDS_BACK, 0)]
    inputs = np.concatenate([standardised(u, arrays, "command") for u in (now, before)])
    predicted = fourier_features(inputs, arrays) @ arrays["regression"]
    embedding = standardised(past[-1].embedding, arrays, "embedding")
    z = np.clip((embedding - predicted) / arrays["residual"], -CLIP, CLIP)
    return float(np.sqrt(np.sum(arrays["weights"] * z**2)))


def joint_effect(state: ScoreState, policy: PolicyFormat, past: Past) -> float:
    if len(past) < 2:
        return np.nan
    arrays, (before, now) = state.arrays, past[-2:]
    known = [joints_of(decision, arrays["quantities"]) for decision in (before, now)]
    (states, _), (reached, means) = known
    targets = arrays["targets"]
    change = np.where(arrays["are_means"], means[targets], reached[targets]) - states[targets]
    command = before.chunks[0, : int(state.parameters["executed"])].astype(np.float64).mean(axis=0)
    moved = standardised(np.concatenate([states, command]), arrays, "motion")
    embedding = standardised(before.embedding, arrays, "embedding")
    if "components" in arrays:
        embedding = embedding @ arrays["components"]
    predicted = np.concatenate([moved, embedding, [1.0]]) @ arrays["regression"]
    residual = (standardised(change, arrays, "change") - predicted) / arrays["residual"][0]
    fourths = np.clip(residual, -CLIP, CLIP) ** 4
    return float((arrays["weights"][0] @ fourths) ** 0.25)


def joints_of(decision: Decision, quantities: Array) -> tuple[Array, Array]:
    """Return states and means of these quantities."""
    assert decision.joints is not None
    places = [decision.joints.names.index(str(name)) for name in quantities]
    return decision.joints.states[places], decision.joints.means[places]


def kinematics(state: ScoreState, policy: PolicyFormat, past: Past) -> float:
    velocities = past[-1].chunks[0][:, state.arrays["indices"]].astype(np.float64)
    if state.parameters["are_positions"]:
        velocities = np.diff(velocities, axis=0)
    v = velocities / state.arrays["sizes"]
    jerk = np.sqrt(np.mean(np.sum((v[2:] - 2 * v[1:-1] + v[:-2]) ** 2, axis=1)))
    variation = np.mean(np.linalg.norm(v[1:] - v[:-1], axis=1))
    scales = state.arrays["scales"]
    return float(np.sum([jerk, variation] / scales) / np.isfinite(scales).sum())


def reversal_rate(state: ScoreState, policy: PolicyFormat, past: Past) -> float:
    if len(past) < 2:
        return np.nan
    k, indices = int(state.parameters["executed"]), state.arrays["indices"]
    executed = [decision.chunks[0, :k][:, indices].astype(np.float64) for decision in past[:-1]]
    velocities = np.concatenate(executed)
    if state.parameters["are_positions"]:
        velocities = np.concatenate([np.zeros((1, len(indices))), np.diff(velocities, axis=0)])
    changes = 0
    for column, least in zip(velocities.T, state.arrays["least"], strict=True):
        direction = 0.0
        for step, velocity in enumerate(column):
            if abs(velocity) > least:
                is_new = step >= len(column) - k
                changes += is_new and direction * velocity < 0
                direction = velocity
    return float(changes / (k * len(indices)))


def token_distance(state: ScoreState, policy: PolicyFormat, past: Past) -> float:
    weights = state.arrays["weights"].astype(np.float64)
    apart = (past[-1].tokens - state.arrays["means"]) @ weights
    return float(np.mean(np.linalg.norm(apart, axis=1)))


def tracking(state: ScoreState, policy: PolicyFormat, past: Past) -> float:
    if len(past) < 2:
        return np.nan
    before, now = past[-2].positions, past[-1].positions
    k = int(state.parameters["executed"])
    actions = past[-2].chunks[0, :k][:, state.arrays["indices"]].astype(np.float64)
    commanded = actions[-1] - before if state.parameters["are_positions"] else actions.sum(axis=0)
    slope, offset = state.arrays["line"]
    measured = now.astype(np.float64) - before
    residual = (measured - slope * commanded - offset) / state.arrays["residual"]
    return float(np.sqrt(np.sum(residual**2) / np.isfinite(state.arrays["residual"]).sum()))


def elapsed_time(state: ScoreState, policy: PolicyFormat, past: Past) -> float:
    return float(len(past))


# The networks.


def perceptron(inputs: Array, arrays: dict[str, Array], layers: range) -> Array:
    """Linear layers with rectified linear units between them."""
    for layer in layers:
        outputs = arrays[f"weight_{layer}"] @ inputs + arrays[f"bias_{layer}"]
        inputs = np.maximum(outputs, 0)
    return outputs


def rnd_oe(state: ScoreState, policy: PolicyFormat, past: Past) -> float:
    return distilled(state.arrays, past[-1].embedding)


def rnd_a(state: ScoreState, policy: PolicyFormat, past: Past) -> float:
    return distilled(state.arrays, executed_chunk(past[-1]))


def distilled(arrays: dict[str, Array], values: NDArray[np.floating]) -> float:
    """Return the distance between the trained network, of 4 layers, and the random one, of 3."""
    inputs = standardised(values, arrays, "input")
    trained, fixed = (perceptron(inputs, arrays, layers) for layers in (range(4), range(4, 7)))
    return float(np.linalg.norm(trained - fixed))


def logpzo(state: ScoreState, policy: PolicyFormat, past: Past) -> float:
    inputs = standardised(past[-1].embedding, state.arrays, "input")
    velocity = perceptron(np.append(inputs, 0.0), state.arrays, range(3))
    return float(np.sum((inputs + velocity) ** 2))


def pseudo_count(state: ScoreState, policy: PolicyFormat, past: Past) -> float:
    arrays = state.arrays
    values = np.concatenate([past[-1].embedding, executed_chunk(past[-1])])
    inputs = standardised(values, arrays, "input")
    prior = (perceptron(inputs, arrays, range(2)) - arrays["mean"]) / arrays["deviation"]
    hidden = perceptron(inputs, arrays, range(2, 3))
    for block in (range(3, 5), range(5, 7)):
        hidden = hidden + perceptron(np.maximum(hidden, 0), arrays, block)
    learned = perceptron(np.maximum(hidden, 0), arrays, range(7, 8))
    return float(np.linalg.norm(learned + prior))


FORMULAS: dict[str, Formula] = {
    "ace": ace,
    "ace_per_dimension": ace_per_dimension,
    "chunk_lag": chunk_lag,
    "command_effect": command_effect,
    "dispersion_profile": dispersion_profile,
    "elapsed_time": elapsed_time,
    "gripper_effect": joint_effect,
    "joint_effect": joint_effect,
    "kernel_support": kernel_support,
    "kinematics": kinematics,
    "knn": knn,
    "lag": lag,
    "logpzo": logpzo,
    "mahalanobis": mahalanobis,
    "one_step": one_step,
    "pca_kmeans": pca_kmeans,
    "phase_knn": phase_knn,
    "pseudo_count": pseudo_count,
    "retrieval": retrieval,
    "reversal_rate": reversal_rate,
    "rnd_a": rnd_a,
    "rnd_oe": rnd_oe,
    "stac": stac,
    "stac_single": stac_single,
    "token_distance": token_distance,
    "tracking": tracking,
}
