# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""How vision-language-action policies are watched whose chunks flow from noise.

The observation is a prefix of tokens that a large network reads once; what it remembers of them is
what every step of the flow is conditioned on.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from failure_monitor.policies.path_bend import FLOW_BEND, path_bend
from failure_monitor.policies.policy_class import Decided
from failure_monitor.policies.twin import repeat_rows, twin

PREFIX = "model.embed_prefix"
STEP = "model.denoise_step"


@dataclass(frozen=True)
class Encoded:
    """What the network made of an observation.

    Attributes:
        prefix: the embedded tokens, which of them are valid, and how they attend.
        read: what the network returned for them: its tokens, and what it remembers.
    """

    prefix: Any
    read: Any


def follows_of(network: str) -> tuple[str, ...]:
    """Return the methods that are followed, for the name of the network that reads."""
    return (STEP, f"model.{network}.forward")


def records_of(network: str) -> tuple[str, ...]:
    """Return the methods whose results are recorded, for the name of the network that reads."""
    return (PREFIX, f"model.{network}.forward")


class FlowPolicy:
    """What SmolVLA, pi0 and pi0.5 have in common."""

    kind = ""
    network = ""
    """The name of the network in `policy.model` that reads the prefix."""

    samples = 8
    has_noise = True
    decides = "model.sample_actions"
    needs: tuple[str, ...] = (
        "model.denoise_step",
        "model.sample_noise",
        "model.rtc_processor",
        "model.config",
        "config.chunk_size",
        "config.max_action_dim",
    )

    records: tuple[str, ...] = ()
    """The methods that embed the prefix and that read it: see `records_of`."""

    follows: tuple[str, ...] = ()
    """The methods that take a step, and that compute it: see `follows_of`."""

    def encode(self, policy: Any, decided: Decided) -> Encoded:
        """Return what the network made of the observation."""
        if PREFIX in decided.recorded and self.records[1] in decided.recorded:
            return Encoded(decided.recorded[PREFIX], decided.recorded[self.records[1]])
        named = _named(policy.model, decided)
        named["noise"] = self._noise(policy, 1, None)
        model = twin(policy.model)
        prefixes: list[Any] = []
        embed = model.embed_prefix

        def embed_prefix(*args: Any, **kwargs: Any) -> Any:
            prefixes.append(embed(*args, **kwargs))
            return prefixes[-1]

        model.embed_prefix = embed_prefix
        network = twin(getattr(model, self.network))
        model._modules[self.network] = network
        read = network.forward

        def forward(*args: Any, **kwargs: Any) -> Any:
            raise _ReachedError(read(*args, **kwargs))

        network.forward = forward
        try:
            model.sample_actions(**named)
        except _ReachedError as reached:
            return Encoded(prefixes[-1], reached.what)
        raise AssertionError("the network was not called")

    def embedding(self, encoding: Encoded) -> Any:
        """Return the mean of the network's tokens, those of padding left out."""
        tokens = encoding.read[0][0][0].float()
        is_valid = encoding.prefix[1][0]
        return tokens[is_valid].mean(dim=0)

    def extra_names(self, policy: Any) -> Sequence[str]:
        """Return the bend of the flow's way."""
        return (FLOW_BEND,)

    def extras(self, policy: Any, decided: Decided) -> Mapping[str, float]:
        """Return the bend of the way on which the executed chunk came about, without padding."""
        actions = policy.config.output_features["action"].shape[0]
        velocities = [velocity[0, :, :actions] for velocity in decided.followed.get(STEP, ())]
        return {FLOW_BEND: path_bend(velocities)} if velocities else {}

    def tokens(self, policy: Any, decided: Decided, encoding: Encoded) -> Any:
        """Return the tokens of the actions at the last step, (H, F), before their projection."""
        computed = decided.followed.get(self.follows[1], ())
        steps = [outputs[1] for outputs, *_ in computed if outputs[1] is not None]
        return steps[-1][0, -policy.config.chunk_size :] if steps else None

    def chunk(self, policy: Any, decided: Decided) -> Any:
        """Return the chunk that was sampled."""
        return self._actions(policy, decided.result.clone())

    def plan(self, policy: Any, decided: Decided, action: Any) -> Any:
        """Return the chunk that was sampled."""
        return self.chunk(policy, decided)

    def sample(
        self, policy: Any, decided: Decided, encoding: Encoded, rows: int, generator: Any
    ) -> Any:
        """Return further chunks that flow from other noise."""
        named = {
            name: value if name == "prev_chunk_left_over" else repeat_rows(value, rows)
            for name, value in _named(policy.model, decided).items()
        }
        if generator is not None:
            named["noise"] = self._noise(policy, rows, generator)
        if (leftover := named.get("prev_chunk_left_over")) is not None:
            whole = leftover if leftover.ndim == 3 else leftover[None]
            named["prev_chunk_left_over"] = repeat_rows(whole, rows)
        return self._actions(policy, self._with(encoding, policy, rows).sample_actions(**named))

    def between(self, policy: Any, batch: Any) -> Decided:
        """Return a decision from an observation as `select_action` got it."""
        own = twin(policy)
        own._modules["model"] = model = twin(policy.model)

        def sample_actions(*args: Any, **kwargs: Any) -> Any:
            raise _ReachedError(Decided(args, kwargs))

        model.sample_actions = sample_actions
        try:
            self.predict(own, dict(batch))
        except _ReachedError as reached:
            decided: Decided = reached.what
            return decided
        raise AssertionError("sample_actions was not called")

    def predict(self, policy: Any, batch: Any) -> Any:
        """Let a policy predict a chunk from an observation as `select_action` got it."""
        return policy.predict_action_chunk(batch)

    def queued(self, policy: Any) -> Sequence[Any]:
        """Return the actions of the queue."""
        return list(policy._action_queue)

    def _with(self, encoding: Encoded, policy: Any, rows: int) -> Any:
        """Return the model of a policy with the observation encoded already, in many rows."""
        model = twin(policy.model)
        model.embed_prefix = lambda *args, **kwargs: repeat_rows(encoding.prefix, rows)
        network = twin(getattr(model, self.network))
        model._modules[self.network] = network
        compute = network.forward

        def forward(*args: Any, **kwargs: Any) -> Any:
            if kwargs["inputs_embeds"][1] is None:
                return repeat_rows(encoding.read, rows)
            return compute(*args, **kwargs)

        network.forward = forward
        if model.rtc_processor is not None:
            model.rtc_processor = copy.copy(model.rtc_processor)
            model.rtc_processor.tracker = None
        return model

    def _actions(self, policy: Any, sampled: Any) -> Any:
        """Return sampled actions without their padding."""
        return sampled[:, :, : policy.config.output_features["action"].shape[0]]

    def _noise(self, policy: Any, rows: int, generator: Any) -> Any:
        device = next(policy.parameters()).device
        shape = (rows, policy.config.chunk_size, policy.config.max_action_dim)
        if generator is None:
            return torch.zeros(shape, device=device)
        return torch.randn(shape, device=device, generator=generator)


class _ReachedError(Exception):
    """Ends a computation where what is wanted of it is there."""

    def __init__(self, what: Any) -> None:
        super().__init__()
        self.what = what


def _named(model: Any, decided: Decided) -> dict[str, Any]:
    """Return the arguments of a call of `sample_actions` by name."""
    bound = inspect.signature(model.sample_actions).bind(*decided.arguments, **decided.named)
    named = dict(bound.arguments)
    named.update(named.pop("kwargs", {}))
    return named
