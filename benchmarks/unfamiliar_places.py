# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Whether the unfamiliar place in a picture is found: foreign objects put into the demo's
pictures.

    python benchmarks/unfamiliar_places.py

Scores are fitted on 25 of a task's bags. Into pictures of the other five a square of a quarter or
a third of the picture's side is put at a random place, of one random colour or of noise. Found is
an object that holds the middle of the patch with the largest share. Patches are covered with the
picture of 0.25 s before, as the monitor does with the last familiar one, or with the mean colour
around them.
"""

from __future__ import annotations

from collections import defaultdict
from functools import partial
from pathlib import Path

import numpy as np
from rosbags.rosbag2 import Reader
from rosbags.typesys import Stores, get_typestore

from failure_monitor.cli.app import run_alone
from failure_monitor.demo.make_assets import BAGS
from failure_monitor.demo.policy import MODELS
from failure_monitor.messages.camera_image import read_camera_image
from failure_monitor.monitoring.unfamiliarity import CELLS, score_embedding, unfamiliarity
from failure_monitor.policy_models.models import ObservationEncoder
from failure_monitor.policy_models.onnx_file import read_onnx_file
from failure_monitor.scores.base.score import Score
from failure_monitor.scores.registry import score_named
from failure_monitor.sources.rollouts import read_rollouts

SCORES = ("mahalanobis", "knn", "phase_knn")
FITTED_ON = 25
FRAMES = (8, 16, 24, 30)
BEFORE = 5
"""Frames, of 0.05 s each."""

TYPES = get_typestore(Stores.ROS2_JAZZY)


def main() -> None:
    """Put objects into pictures and count those that are found."""
    print("| task | score | covered with | found | share of the score | pictures |")
    print("|---|---|---|---|---|---|")
    for task in sorted(path.name for path in BAGS.iterdir()):
        for (score, cover), found in measure(task).items():
            hits, shares = np.array(found).T
            figures = f"{hits.mean():.0%} | {shares.mean():.2f} | {len(hits)}"
            print(f"| {task} | {score} | {cover} | {figures} |")


def measure(task: str) -> dict[tuple[str, str], list[tuple[bool, float]]]:
    encoder = ObservationEncoder(read_onnx_file(MODELS / task / "encoder.onnx"))
    bags = sorted((BAGS / task).iterdir())
    fitted_on = read_rollouts(bags[:FITTED_ON])
    scores = [score_named(name).fit(fitted_on.rollouts, fitted_on.policy) for name in SCORES]
    random = np.random.default_rng(0)
    results = defaultdict(list)
    for bag in bags[FITTED_ON:]:
        pictures, joints = read(bag, encoder)
        for number in (min(number, len(pictures) - 2) for number in FRAMES):
            before = pictures[max(0, number - BEFORE)]
            for part in (4, 3):
                picture, place = with_object(pictures[number], part, random)
                for score in scores:
                    novelty = partial(score_picture, encoder, score, joints[number], number // 2)
                    for cover, familiar in (("before", before), ("around", around(picture))):
                        share = unfamiliarity(picture, familiar, novelty, score="").share
                        found = (is_found(share, place, len(picture)), share.max())
                        results[score.name, cover].append(found)
    return results


def score_picture(
    encoder: ObservationEncoder, score: Score, joints: np.ndarray, number: int, seen: np.ndarray
) -> float:
    return score_embedding(score, encoder.embed({"camera": seen}, joints), number)


def read(bag: Path, encoder: ObservationEncoder) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return a bag's pictures, as the encoder takes them, and the joints at each."""
    size = encoder.cameras["camera"]
    pictures, joints, last = [], [], {}
    with Reader(bag) as reader:
        for connection, _, data in reader.messages():
            if connection.topic == "/joint_states":
                state = TYPES.deserialize_cdr(data, connection.msgtype)
                last = dict(zip(state.name, state.position, strict=True))
            elif connection.topic.endswith("/compressed") and last:
                image = TYPES.deserialize_cdr(data, connection.msgtype)
                pictures.append(read_camera_image(image, size.height, size.width))
                joints.append(np.array([last[name] for name in encoder.joint_names], np.float32))
    return pictures, joints


def with_object(
    picture: np.ndarray, part: int, random: np.random.Generator
) -> tuple[np.ndarray, tuple[int, int, int]]:
    """Return the picture with a foreign square, and its top, left and side."""
    side = len(picture) // part
    top, left = random.integers(0, len(picture) - side, 2)
    shape = (3,) if random.random() < 0.5 else (side, side, 3)
    changed = picture.copy()
    changed[top : top + side, left : left + side] = random.integers(0, 255, shape)
    return changed, (int(top), int(left), side)


def around(picture: np.ndarray) -> np.ndarray:
    """Return for each cell's patch the mean colour around it."""
    side = len(picture)
    cell = side // CELLS
    padded = np.pad(
        picture.astype(float), ((2 * cell, 2 * cell), (2 * cell, 2 * cell), (0, 0)), "edge"
    )
    covers = np.empty_like(picture)
    for row in range(CELLS):
        for column in range(CELLS):
            window = padded[row * cell : (row + 5) * cell, column * cell : (column + 5) * cell]
            inner = window[cell : 4 * cell, cell : 4 * cell]
            mean = (window.sum((0, 1)) - inner.sum((0, 1))) / (16 * cell * cell)
            covers[row * cell : (row + 1) * cell, column * cell : (column + 1) * cell] = mean
    return covers


def is_found(share: np.ndarray, place: tuple[int, int, int], side: int) -> bool:
    top, left, length = place
    row, column = np.unravel_index(share.argmax(), share.shape)
    y, x = (row + 0.5) * side / CELLS, (column + 0.5) * side / CELLS
    return bool(top <= y <= top + length and left <= x <= left + length)


if __name__ == "__main__":
    run_alone(main)
