# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""How LeRobot's ACTPolicy is watched: it draws no noise, so one chunk is enough.

Its last layer are the tokens of the decoder, one for each action of the chunk.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from failure_monitor.policies.policy_class import Decided
from failure_monitor.policies.twin import twin

ENCODER = "model.encoder.forward"
DECODER = "model.decoder.forward"


@dataclass(frozen=True)
class Encoded:
    """The encoder's tokens (S, 1, C) and, where the model was run again, the chunk."""

    tokens: Any
    chunk: Any = None


class ACT:
    """LeRobot's ACTPolicy, with a queue or with temporal ensembling."""

    kind = "act"
    samples = 1
    has_noise = False
    decides = "predict_action_chunk"
    records: tuple[str, ...] = (ENCODER,)
    follows: tuple[str, ...] = (DECODER,)
    needs: tuple[str, ...] = (
        "config.temporal_ensemble_coeff",
        "config.image_features",
        "model.decoder",
    )

    def encode(self, policy: Any, decided: Decided) -> Encoded:
        """Return the tokens of the encoder."""
        if ENCODER in decided.recorded:
            return Encoded(decided.recorded[ENCODER], decided.result)
        (batch,) = decided.arguments or (decided.named["batch"],)
        tokens: list[Any] = []
        model = twin(policy.model)
        encoder = twin(model.encoder)
        model._modules["encoder"] = encoder
        forward = encoder.forward

        def recorded(*args: Any, **kwargs: Any) -> Any:
            tokens.append(forward(*args, **kwargs))
            return tokens[-1]

        encoder.forward = recorded
        chunk = _with_images(policy, batch, model)
        return Encoded(tokens[-1], decided.result if decided.result is not None else chunk)

    def embedding(self, encoding: Encoded) -> Any:
        """Return the mean of the tokens."""
        return encoding.tokens.mean(dim=0)[0]

    def extra_names(self, policy: Any) -> Sequence[str]:
        """Return none."""
        return ()

    def extras(self, policy: Any, decided: Decided) -> Mapping[str, float]:
        """Return none: without noise there is no way from it."""
        return {}

    def tokens(self, policy: Any, decided: Decided, encoding: Encoded) -> Any:
        """Return the tokens of the decoder, (H, C)."""
        decoded = decided.followed.get(DECODER)
        return decoded[-1][:, 0] if decoded else None

    def chunk(self, policy: Any, decided: Decided) -> Any:
        """Return the chunk that was predicted."""
        return decided.result

    def plan(self, policy: Any, decided: Decided, action: Any) -> Any:
        """Return the chunk that was predicted, or the plan of the temporal ensemble."""
        if action is None or policy.config.temporal_ensemble_coeff is None:
            return decided.result
        rest = policy.temporal_ensembler.ensembled_actions
        return torch.cat([action[:, None], rest], dim=1)

    def sample(
        self, policy: Any, decided: Decided, encoding: Encoded, rows: int, generator: Any
    ) -> Any:
        """Return the one chunk that there is, once for each row."""
        return encoding.chunk.expand(rows, -1, -1)

    def between(self, policy: Any, batch: Any) -> Decided:
        """Return a decision from an observation."""
        return Decided((batch,))

    def queued(self, policy: Any) -> Sequence[Any]:
        """Return the actions of the queue."""
        return list(policy._action_queue)


def _with_images(policy: Any, batch: Any, model: Any) -> Any:
    """Return the chunk of a model for an observation as it comes from the preprocessor."""
    own = twin(policy)
    own._modules["model"] = model
    return type(own).predict_action_chunk(own, dict(batch))
