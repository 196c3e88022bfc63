# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Loads the exported models of a policy, for bags without its embeddings or action chunks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from failure_monitor.errors import UsageError
from failure_monitor.listed_names import list_names
from failure_monitor.policy_models.onnx_file import OnnxFile, OnnxFileError, read_onnx_file
from failure_monitor.sources.source import BlackBox

if TYPE_CHECKING:
    from failure_monitor.policy_models.models import ObservationEncoder, PolicySampler


@dataclass(frozen=True, eq=False)
class ReplayModels:
    """The models that compute what was not recorded.

    Attributes:
        encoder: The model from observations to embeddings; None if embeddings were recorded.
        sampler: The model from embeddings to action chunks; None if these were recorded.
    """

    encoder: ObservationEncoder | None = None
    sampler: PolicySampler | None = None


def load_models(black_box: BlackBox) -> ReplayModels:
    """Load the models; the last ones are kept for further bags.

    Raises:
        FailureMonitorError: A file is no such model, the two are of different policies, or the
            named topics do not match the cameras of the encoder.
    """
    models = _load(black_box.encoder, black_box.sampler)
    if models.sampler is not None and models.sampler.is_deterministic:
        _reject_several_samples(models.sampler, black_box)
    cameras = set(models.encoder.cameras) if models.encoder is not None else set()
    if cameras != set(black_box.cameras):
        raise UsageError(
            f"the encoder {black_box.encoder} needs the cameras "
            f"{list_names(sorted(cameras))}, topics were named for "
            f"{list_names(sorted(black_box.cameras))}: name the topic of each of its cameras as "
            "'--image-topic NAME:=TOPIC'"
        )
    return models


def _reject_several_samples(sampler: PolicySampler, black_box: BlackBox) -> None:
    if black_box.samples not in (None, 1):
        raise UsageError(
            f"'--samples {black_box.samples}': {sampler.file.name} takes no noise, so a decision "
            "has one chunk: leave the option out"
        )


@lru_cache(maxsize=1)
def _load(encoder: Path | None, sampler: Path | None) -> ReplayModels:
    if encoder is None and sampler is None:
        return ReplayModels()
    # Imported here: only these models need ONNX Runtime.
    from failure_monitor.policy_models.models import (
        ObservationEncoder,
        PolicySampler,
        check_same_policy,
        reject_lone_sampler,
    )

    models = ReplayModels(
        None if encoder is None else ObservationEncoder(read_onnx_file(encoder)),
        None if sampler is None else PolicySampler(read_onnx_file(sampler)),
    )
    if models.sampler is not None and models.encoder is not None:
        check_same_policy(models.encoder, models.sampler)
    elif models.sampler is not None:
        reject_lone_sampler(models.sampler)
    return models


@contextmanager
def unchanged_files(black_box: BlackBox) -> Iterator[tuple[OnnxFile | None, OnnxFile | None]]:
    """Yield the files of encoder and sampler, and check that they stay the same meanwhile.

    Raises:
        OnnxFileError: A file is no model, or has changed when the block ends.
    """
    encoder, sampler = _files(black_box)
    yield encoder, sampler
    for before, after in zip((encoder, sampler), _files(black_box), strict=True):
        if before is not None and after is not None and before.sha256 != after.sha256:
            raise OnnxFileError(
                f"{before.name} was changed while the rollouts were read, so it is unknown which "
                "model made their decisions: start again"
            )


def _files(black_box: BlackBox) -> tuple[OnnxFile | None, OnnxFile | None]:
    return (
        None if black_box.encoder is None else read_onnx_file(black_box.encoder),
        None if black_box.sampler is None else read_onnx_file(black_box.sampler),
    )
