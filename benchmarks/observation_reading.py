# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What it takes from cameras' messages to an embedding, beside ONNX Runtime on its own.

python benchmarks/observation_reading.py: reading a 640×480 image in every encoding, scaled to
224×224. Then, turn by turn, for two such cameras and seven joints: `ObservationEncoder.embed`
against the session's bare `run` on the same arrays, and messages to embedding likewise; with an
encoder as large as ResNet-18, and with one that does next to nothing, so that what is around it
shows. On one thread, in its time on the processor, which other programs do not lengthen by having
their turn; the least and the median.
"""

from __future__ import annotations

import array
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

from benchmark_parts import one_thread

# isort: split
import cv2
import numpy as np
import onnxruntime
import torch
from benchmark_parts.residual_encoder import SIDE, export_residual_policy
from numpy.typing import NDArray
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from failure_monitor.cli.app import run_alone
from failure_monitor.messages.camera_image import ENCODINGS, read_camera_image
from failure_monitor.messages.matching import MatchedMessages
from failure_monitor.policy_models.contract import JOINTS
from failure_monitor.policy_models.export import export_encoder
from failure_monitor.policy_models.models import ObservationEncoder
from failure_monitor.policy_models.observation import ObservationReader
from failure_monitor.policy_models.onnx_file import read_onnx_file

assert one_thread
HEIGHT, WIDTH = 480, 640
JOINT_NAMES = tuple(f"joint_{index}" for index in range(7))
READINGS, SLOW_RUNS, FAST_RUNS = 200, 50, 3000
CHANNELS = {"rgba8": 4, "bgra8": 4, "rgb8": 3, "bgr8": 3, "yuyv": 2, "uyvy": 2, "yuv422": 2}

console = Console(width=100)


class Glance(nn.Module):
    """A few pixels and the joints."""

    def forward(self, camera_0: Tensor, camera_1: Tensor, joints: Tensor) -> Tensor:
        pixels = [image[:, ::56, ::56].float().flatten(1) for image in (camera_0, camera_1)]
        return torch.cat((*pixels, joints), dim=1)


def scene() -> NDArray[np.uint8]:
    """Return colours that change over some ten pixels, as in a picture."""
    coarse = np.random.default_rng(0).integers(256, size=(HEIGHT // 8, WIDTH // 8, 3), dtype="u1")
    return cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)


def camera_messages() -> dict[str, SimpleNamespace]:
    """Return the scene in every form in which a camera may send it."""
    pixels = scene()
    messages = {}
    for encoding in ENCODINGS:
        channels = CHANNELS.get(encoding.removesuffix("_yuy2"), 1)
        data = np.resize(pixels, (HEIGHT, WIDTH * channels))
        messages[encoding] = SimpleNamespace(
            encoding=encoding,
            height=HEIGHT,
            width=WIDTH,
            step=WIDTH * channels,
            data=array.array("B", data.tobytes()),
        )
    for kind in ("jpeg", "png"):
        _, data = cv2.imencode(f".{kind}", pixels)
        messages[kind] = SimpleNamespace(format=kind, data=array.array("B", data.tobytes()))
    return messages


def by_turns(runs: int, **calls: Callable[[], object]) -> dict[str, NDArray[np.float64]]:
    """Return the milliseconds of each call."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(runs):
        for name, call in calls.items():
            begin = time.thread_time()
            call()
            times[name].append(1e3 * (time.thread_time() - begin))
    return {name: np.array(values) for name, values in times.items()}


def measure_encoder(path: Path, runs: int, messages: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """Time the bare session, the encoder, and messages to embedding."""
    encoder = ObservationEncoder(read_onnx_file(path))
    reader = ObservationReader(encoder)
    joints = SimpleNamespace(name=list(JOINT_NAMES), position=array.array("d", range(7)))
    matched = MatchedMessages(
        1, {**dict.fromkeys(encoder.cameras, messages["bgr8"]), JOINTS: joints}
    )
    seen = reader.read(matched)
    assert seen.joints is not None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    bare = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    arrays = {name: image[np.newaxis] for name, image in seen.images.items()}
    arrays[JOINTS] = seen.joints[np.newaxis]

    def from_messages() -> NDArray[np.float32]:
        observation = reader.read(matched)
        return encoder.embed(observation.images, observation.joints)

    models = by_turns(
        runs,
        bare=lambda: bare.run(None, arrays),
        embed=lambda: encoder.embed(seen.images, seen.joints),
    )
    # Apart, as it leaves the processor's caches full of images.
    return models | by_turns(runs, messages=from_messages)


def main() -> None:
    """Time the reading of images and of whole observations."""
    cv2.setNumThreads(1)
    messages = camera_messages()
    table = Table("one 640×480 image to 224×224", "least ms", "median ms", box=SIMPLE_HEAD)
    for name, message in messages.items():
        times = by_turns(READINGS, read=lambda m=message: read_camera_image(m, SIDE, SIDE))["read"]
        table.add_row(name, f"{times.min():.3f}", f"{np.median(times):.3f}")
    console.print(table)

    table = Table(
        *("encoder of two cameras", "what", "least ms", "median ms", "medians, over bare"),
        box=SIMPLE_HEAD,
    )
    with TemporaryDirectory() as folder:
        residual, _ = export_residual_policy(
            Path(folder), joint_names=JOINT_NAMES, horizon=16, actions=7
        )
        glance = Path(folder) / "glance.onnx"
        sizes = {"camera_0": (SIDE, SIDE), "camera_1": (SIDE, SIDE)}
        export_encoder(Glance(), glance, cameras=sizes, joint_names=JOINT_NAMES)
        for name, path, runs in (("ResNet-18", residual, SLOW_RUNS), ("none", glance, FAST_RUNS)):
            results = measure_encoder(path, runs, messages)
            for what, times in results.items():
                median, ratio = np.median(times), np.median(times) / np.median(results["bare"])
                table.add_row(name, what, f"{times.min():.4f}", f"{median:.4f}", f"{ratio:.3f}")
    console.print(table)


if __name__ == "__main__":
    run_alone(main)
