# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The demo's flow-matching policy at run time: two ONNX models and what they say of themselves."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from failure_monitor.errors import FailureMonitorError

SAMPLES = 64
"""B, action chunks sampled per decision."""

MODELS = Path(__file__).parent / "models"
"""One folder per task with the models that come with the package."""


class FlowPolicy:
    """An observation encoder and a sampler of action chunks, one thread each."""

    def __init__(self, folder: Path) -> None:
        self._encoder = _load(folder / "encoder.onnx")
        self._sampler = _load(folder / "sampler.onnx")
        about = _metadata(self._sampler)
        self.task: str = about["task"]
        self.h_exec: int = about["h_exec"]
        self.horizon: int = about["horizon"]
        self.action_names: tuple[str, ...] = tuple(about["action_names"])
        self.joint_names: tuple[str, ...] = tuple(about["joint_names"])
        self.image_size: int = about["image_size"]

    def embed(
        self, image: npt.NDArray[np.uint8], joints: npt.NDArray[np.floating]
    ) -> npt.NDArray[np.float32]:
        """Embed an RGB image (height, width, 3) and joint positions (J,) to (E,)."""
        inputs = {"image": image[None], "joints": np.asarray(joints, dtype=np.float32)[None]}
        embedding: npt.NDArray[np.float32] = self._encoder.run(None, inputs)[0][0]
        return embedding

    def sample(
        self,
        embedding: npt.NDArray[np.float32],
        rng: np.random.Generator,
        samples: int = SAMPLES,
    ) -> npt.NDArray[np.float32]:
        """Sample action chunks (B, H, D) for an embedding (E,)."""
        shape = (samples, self.horizon, len(self.action_names))
        noise = rng.standard_normal(shape, dtype=np.float32)
        inputs = {"embedding": embedding[None], "noise": noise}
        chunks: npt.NDArray[np.float32] = self._sampler.run(None, inputs)[0]
        return chunks


def _load(path: Path) -> onnxruntime.InferenceSession:
    if not path.is_file():
        raise FailureMonitorError(
            f"there is no policy model '{path}': name a folder with encoder.onnx and sampler.onnx, "
            "or train one with 'python -m failure_monitor.demo.train_policy'"
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(
        str(path), sess_options=options, providers=["CPUExecutionProvider"]
    )


def _metadata(session: onnxruntime.InferenceSession) -> dict[str, Any]:
    properties = session.get_modelmeta().custom_metadata_map
    return {key: json.loads(value) for key, value in properties.items()}
