# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The demo's flow-matching policy at run time: two ONNX models and their metadata."""

import hashlib
import json
from pathlib import Path

import numpy as np
import numpy.typing as npt

from failure_monitor.decision import PolicyFormat
from failure_monitor.demo_data import DEMO_DATA
from failure_monitor.errors import FailureMonitorError
from failure_monitor.policy_description import PolicyDescription
from failure_monitor.policy_models.models import ObservationEncoder, PolicySampler
from failure_monitor.policy_models.onnx_file import OnnxFile, read_onnx_file

SAMPLES = 64
"""B, action chunks sampled per decision."""

MODELS = DEMO_DATA / "models"
"""One folder per task with the models that come with the package."""

CAMERA = "camera"
"""The one camera, as the encoder calls it."""


class FlowPolicy:
    """An observation encoder and a sampler of action chunks, one thread each."""

    def __init__(self, folder: Path) -> None:
        encoder, sampler = _read(folder / "encoder.onnx"), _read(folder / "sampler.onnx")
        self._encoder, self._sampler = ObservationEncoder(encoder), PolicySampler(sampler)
        hashes = (encoder.sha256 + sampler.sha256).encode()
        self._checkpoint, self._folder = hashlib.sha256(hashes).hexdigest(), folder
        self.task: str = json.loads(self._sampler.properties["task"])
        self.h_exec: int = self._sampler.contract.executed_actions or self._sampler.horizon
        self.horizon = self._sampler.horizon
        self.action_names = self._sampler.action_names
        self.joint_names = self._encoder.joint_names
        self.image_size = self._encoder.cameras[CAMERA].height

    @property
    def format(self) -> PolicyFormat:
        """The format of its decisions."""
        return self._sampler.policy_format(samples=SAMPLES)

    def describe(
        self, executed_actions: int = 0, *, states_checkpoint: bool = True
    ) -> PolicyDescription:
        """Return what the policy states about itself.

        Args:
            executed_actions: from one decision to the next; 0 for the policy's own h_exec.
            states_checkpoint: whether it states of which checkpoint it is.
        """
        contract = self._sampler.contract
        return PolicyDescription(
            policy="flow_matching",
            checkpoint=self._checkpoint if states_checkpoint else "",
            checkpoint_name=self._folder.name if states_checkpoint else "",
            action_names=self.action_names,
            action_kind=contract.action_kind,
            position_names=contract.position_names or (),
            unit="robot",
            execution="queue",
            executed_actions=executed_actions or self.h_exec,
            guided_actions=0,
            dispersion_of="noise",
        )

    def embed(
        self, image: npt.NDArray[np.uint8], joints: npt.NDArray[np.floating]
    ) -> npt.NDArray[np.float32]:
        """Embed an RGB image (height, width, 3) and joint positions (J,) to (E,)."""
        return self._encoder.embed({CAMERA: image}, joints.astype(np.float32))

    def sample(
        self,
        embedding: npt.NDArray[np.float32],
        rng: np.random.Generator,
        samples: int = SAMPLES,
    ) -> npt.NDArray[np.float32]:
        """Sample action chunks (B, H, D) for an embedding (E,)."""
        noise = rng.standard_normal((samples, *self._sampler.noise_shape), dtype=np.float32)
        return self._sampler.sample(embedding, noise)


def _read(path: Path) -> OnnxFile:
    if not path.is_file():
        raise FailureMonitorError(
            f"there is no policy model '{path}': name a folder with encoder.onnx and "
            "sampler.onnx, or train one with 'python -m failure_monitor.demo.train_policy'"
        )
    return read_onnx_file(path)
