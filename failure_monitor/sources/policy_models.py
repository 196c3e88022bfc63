# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The policy's exported models, for bags in which it published nothing."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from failure_monitor.errors import UsageError
from failure_monitor.sources.source import BlackBox

if TYPE_CHECKING:
    from failure_monitor.onnx_models import ObservationEncoder, PolicySampler


@dataclass(frozen=True, eq=False)
class PolicyModels:
    """The models that stand in for what was not recorded.

    Attributes:
        encoder: observations to embeddings; None where embeddings were recorded.
        sampler: embeddings to action chunks; None where these were recorded.
    """

    encoder: ObservationEncoder | None = None
    sampler: PolicySampler | None = None


def load_models(black_box: BlackBox) -> PolicyModels:
    """Load the models once, however many bags they are run over.

    Raises:
        FailureMonitorError: a file is no such model, the two are of different policies, or the
            topics named are not those of the encoder's cameras.
    """
    models = _load(black_box.encoder, black_box.sampler)
    cameras = set(models.encoder.cameras) if models.encoder is not None else set()
    if cameras != set(black_box.cameras):
        raise UsageError(
            f"the encoder {black_box.encoder} takes the cameras {_listed(cameras)}, topics were "
            f"named for {_listed(set(black_box.cameras))}: name the topic of each of its cameras "
            "as '--image-topic NAME:=TOPIC'"
        )
    return models


@cache
def _load(encoder: Path | None, sampler: Path | None) -> PolicyModels:
    if encoder is None and sampler is None:
        return PolicyModels()
    # Here, as ONNX Runtime is needed for nothing else.
    from failure_monitor.onnx_file import read_onnx_file
    from failure_monitor.onnx_models import ObservationEncoder, PolicySampler, check_same_policy

    models = PolicyModels(
        None if encoder is None else ObservationEncoder(read_onnx_file(encoder)),
        None if sampler is None else PolicySampler(read_onnx_file(sampler)),
    )
    if models.encoder is not None and models.sampler is not None:
        check_same_policy(models.encoder, models.sampler)
    return models


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(names)) or "none"
