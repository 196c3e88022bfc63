# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The exported parts of the policy that the monitor runs itself: encoder, sampler, or both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from failure_monitor.bundle.bundle import Bundle
from failure_monitor.decision import Decision, PolicyFormat
from failure_monitor.errors import UsageError
from failure_monitor.messages.matching import MatchedMessages
from failure_monitor.messages.observation_history import History
from failure_monitor.parameters.monitor import MonitorParameters
from failure_monitor.policy_models.onnx_file import OnnxFile, read_onnx_file
from failure_monitor.ros.monitor.pending_decision import CHUNKS, EMBEDDING, PendingDecision

if TYPE_CHECKING:
    from failure_monitor.policy_models.models import ObservationEncoder, PolicySampler


class MonitoredModels:
    """Makes decisions from observations, as the policy does."""

    def __init__(self, settings: MonitorParameters, bundle: Bundle, *, noise_seed: int) -> None:
        """Load and check the models of the bundle, or else those that the parameters name.

        Args:
            settings: may name the models, and state how they are run.
            bundle: may hold the models, and states the format of decisions.
            noise_seed: the seed of the sampler's noise.

        Raises:
            OnnxFileError: a file that a parameter names is not a model.
            OnnxSessionError: a model cannot be loaded, or not with a requested provider.
            OnnxContractError: a model does not keep the contract.
            OnnxModelError: a model fails when it is run.
            UsageError: a model does not belong to the bundle's policy, or differs from the one
                that the bundle holds.
        """
        self._encoder: ObservationEncoder | None = None
        self._sampler: PolicySampler | None = None
        self._samples = bundle.policy.samples
        self._has_embedding = bundle.policy.embedding_size > 0
        self._task = ""
        self._noise_seed = noise_seed
        encoder = _file_to_run("encoder", settings.encoder, bundle.encoder, bundle)
        sampler = _file_to_run("sampler", settings.sampler, bundle.sampler, bundle)
        self._unverified = [
            file.name
            for file in (encoder, sampler)
            if file is not None and bundle.description.black_box is None
        ]
        if encoder is not None or sampler is not None:
            self._load(encoder, sampler, settings, bundle.policy)

    @property
    def published_parts(self) -> Sequence[str]:
        """The parts of a decision that the policy must publish, since no model makes them."""
        embedding = [EMBEDDING] if self._has_embedding and self._encoder is None else []
        return [*embedding, *([CHUNKS] if self._sampler is None else [])]

    @property
    def cameras(self) -> Sequence[str]:
        """The names of the encoder's cameras; empty without an encoder."""
        return [] if self._encoder is None else list(self._encoder.cameras)

    @property
    def takes_joints(self) -> bool:
        """Whether the encoder takes joint positions."""
        return self._encoder is not None and bool(self._encoder.joint_names)

    @property
    def warning(self) -> str:
        """What could not be verified about the models; empty if nothing."""
        if not self._unverified:
            return ""
        return (
            f"the bundle does not hold {' and '.join(self._unverified)}, so it is unknown whether "
            "it was calibrated with these: calibrate again with --encoder and --sampler"
        )

    @property
    def history(self) -> History | None:
        """The observations that the encoder takes at once; None if it takes one."""
        return None if self._encoder is None else self._encoder.history

    def check_task(self, task: str) -> None:
        """Check that decisions of a task can be made.

        Raises:
            UnknownTokensError: the encoder does not hold the task's tokens.
        """
        if self._encoder is not None:
            self._encoder.check_task(task)

    def values(self) -> Mapping[str, str]:
        """Return which models are run, and on what, as text by name for the diagnostics."""
        values = {}
        for name, model in (("encoder", self._encoder), ("sampler", self._sampler)):
            if model is not None:
                values[name] = model.file.name
                values[f"{name}_provider"] = model.provider
                if model.fallback:
                    values[f"{name}_fallback"] = model.fallback
        return values

    def start_rollout(self, task: str) -> None:
        """Make decisions of a task, and restart the sampler's noise, as calibration did."""
        self._task = task
        if self._sampler is not None:
            self._noise.start_rollout()

    def decide(self, pending: PendingDecision) -> Decision:
        """Return the decision that the policy makes on an observation.

        Raises:
            CameraImageError: a camera's message holds no readable image.
            JointStateError: the joint state does not hold the encoder's joints.
            UnknownTokensError: the encoder does not hold the task's tokens.
            OnnxModelError: a model failed.
        """
        embedding, chunks = pending.observation, pending.chunks
        conditioning: Mapping[str, NDArray[Any]] = {}
        if isinstance(embedding, MatchedMessages):
            assert self._encoder is not None
            seen = self._reader.read(embedding)
            if chunks is None:
                encoded = self._encoder.encode(seen.images, seen.joints, self._task)
                embedding, conditioning = encoded.embedding, encoded.conditioning
            else:
                embedding = self._encoder.embed(seen.images, seen.joints, self._task)
        if chunks is None:
            assert self._sampler is not None
            noise = self._noise.draw(self._samples)
            chunks = self._sampler.sample(embedding, noise, conditioning)
        return Decision(
            stamp=pending.stamp,
            embedding=embedding,
            chunks=chunks,
            positions=pending.positions,
            external=pending.external,
            joints=pending.joints,
            tokens=pending.tokens,
        )

    def _load(
        self,
        encoder: OnnxFile | None,
        sampler: OnnxFile | None,
        settings: MonitorParameters,
        policy: PolicyFormat,
    ) -> None:
        # Imported here: a monitor that runs no models does without ONNX Runtime and OpenCV.
        from failure_monitor.policy_models.models import (
            ObservationEncoder,
            PolicySampler,
            check_same_policy,
            reject_lone_sampler,
        )
        from failure_monitor.policy_models.observation import ObservationReader
        from failure_monitor.policy_models.onnx_session import SessionSettings

        session = SessionSettings(
            tuple(name for name in settings.execution_providers if name),
            settings.inference_threads,
        )
        if encoder is not None:
            self._encoder = ObservationEncoder(encoder, session)
            self._reader = ObservationReader(self._encoder)
            _check_encoder(self._encoder, policy)
        if sampler is not None:
            self._sampler = PolicySampler(sampler, session)
            self._noise = self._sampler.noise_stream(seed=self._noise_seed)
            _check_sampler(self._sampler, policy)
            if self._encoder is None:
                reject_lone_sampler(self._sampler)
            else:
                check_same_policy(self._encoder, self._sampler)


def _file_to_run(part: str, path: str, held: OnnxFile | None, bundle: Bundle) -> OnnxFile | None:
    """Return the bundle's model, or the one that a parameter names if the bundle holds none."""
    if not path:
        return held
    named = read_onnx_file(Path(path))
    if bundle.description.black_box is None:
        return named
    if held is None:
        raise UsageError(
            f"the parameter '{part}' names {path}, but the bundle was calibrated on what the "
            f"policy itself published: leave it empty, or calibrate again with --{part}"
        )
    if named.sha256 != held.sha256:
        raise UsageError(
            f"{path} is not the {part} that the bundle was calibrated with and holds: leave the "
            f"parameter '{part}' empty, or calibrate again with --{part}"
        )
    return held


def _check_encoder(encoder: ObservationEncoder, policy: PolicyFormat) -> None:
    if encoder.embedding_size != policy.embedding_size:
        raise UsageError(
            f"{encoder.file.name} gives embeddings of length {encoder.embedding_size}, the bundle "
            f"was calibrated on {policy.embedding_size}: name the policy's own encoder, or "
            "calibrate again"
        )


def _check_sampler(sampler: PolicySampler, policy: PolicyFormat) -> None:
    own = sampler.policy_format(samples=policy.samples)
    differing = [
        f"{name.replace('_', ' ')} {vars(own)[name]} against {vars(policy)[name]}"
        for name in ("embedding_size", "samples", "horizon", "action_names", "action_kind")
        if vars(own)[name] != vars(policy)[name]
    ]
    if differing:
        raise UsageError(
            f"{sampler.file.name} is of another policy than the bundle ({'; '.join(differing)}): "
            "name the policy's own sampler, or calibrate again"
        )
