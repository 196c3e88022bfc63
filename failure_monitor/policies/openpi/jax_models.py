# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Samples many chunks from openpi's JAX models, whose observation is encoded once.

`Pi0.sample_actions` takes its batch from `observation.state`: it is given B times the same
observation, while of what encodes it (`embed_prefix`, and `PaliGemma.llm` before there is noise)
only the first row is computed and the result is broadcast.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from failure_monitor.policies.openpi.sampled import Sampled, check_unchanged, require


class JaxSampler:
    """Takes the place of a model's compiled `sample_actions` in openpi's policy.

    Attributes:
        extra_names: none, as the steps of a compiled flow cannot be followed.
    """

    extra_names: tuple[str, ...] = ()

    def __init__(self, policy: Any, samples: int) -> None:
        """Compile the sampling of many chunks.

        Raises:
            UnsupportedPolicyError: the model lacks what it is made of.
        """
        import jax
        from flax import nnx

        model = policy._model
        require(
            model,
            "sample_actions",
            "embed_prefix",
            "PaliGemma.llm",
            "action_horizon",
            "action_dim",
        )
        self._jax = jax
        self._samples = samples
        self._shape = (model.action_horizon, model.action_dim)
        self._sample_one = policy._sample_actions
        self._is_checked = False
        definition, self._state = nnx.split(model)

        def sample(state: Any, rng: Any, observation: Any, noise: Any, options: Any) -> Any:
            return sample_rows(
                nnx.merge(definition, state), rng, observation, noise, options, jax.numpy, jax.tree
            )

        self._sample_rows = jax.jit(sample)

    def close(self) -> None:
        """Leave the model as it is: only copies of it were changed."""

    def __call__(self, rng: Any, observation: Any, noise: Any = None, **options: Any) -> Sampled:
        """Return all sampled chunks; the first is that of the unwatched policy.

        Raises:
            UnsupportedPolicyError: it is not.
        """
        random = self._jax.random
        if noise is None:
            noise = random.normal(rng, (1, *self._shape))
        others = random.normal(random.fold_in(rng, 1), (self._samples - 1, *self._shape))
        rows = self._jax.numpy.concatenate([noise, others])
        actions, embedding = self._sample_rows(self._state, rng, observation, rows, options)
        chunks = np.asarray(actions, dtype=np.float32)
        if not self._is_checked:
            self._check(chunks[:1], self._sample_one(rng, observation, noise=noise, **options))
            self._is_checked = True
        return Sampled(actions[:1], chunks, np.asarray(embedding, dtype=np.float32))

    def _check(self, chunk: Any, unwatched: Any) -> None:
        kinds = {str(leaf.dtype) for leaf in self._jax.tree.leaves(self._state)}
        expected = np.asarray(unwatched, dtype=np.float32)
        check_unchanged(chunk, expected, is_coarse=bool(kinds & {"bfloat16", "float16"}))


def sample_rows(
    model: Any, rng: Any, observation: Any, noise: Any, options: Any, library: Any, tree: Any
) -> tuple[Any, Any]:
    """Return a chunk for each row of noise, (B, H, D), and the embedding of the observation, (E,).

    Args:
        model: openpi's Pi0, or a copy of it, which is changed.
        rng: as for its `sample_actions`.
        observation: a batch of one.
        noise: (B, H, D).
        options: further arguments of its `sample_actions`.
        library: `jax.numpy`.
        tree: `jax.tree`.
    """
    rows = noise.shape[0]
    seen: dict[str, Any] = {}
    embed_prefix, llm = model.embed_prefix, model.PaliGemma.llm

    def one(values: Any) -> Any:
        return tree.map(lambda value: value[:1], values)

    def all_rows(values: Any, axis: int = 0) -> Any:
        def repeat(value: Any) -> Any:
            shape = list(value.shape)
            shape[axis] = rows
            return library.broadcast_to(value, shape)

        return tree.map(repeat, values)

    def embed_one(batch: Any) -> Any:
        tokens, mask, order = embed_prefix(one(batch))
        seen["mask"] = mask
        return all_rows(tokens), all_rows(mask), order

    def encode_one(tokens: Any, *arguments: Any, **given: Any) -> Any:
        if not isinstance(tokens, list) or tokens[1] is not None:
            return llm(tokens, *arguments, **given)
        first = {name: one(value) for name, value in given.items()}
        outputs, cache = llm([one(tokens[0]), None], *arguments, **first)
        seen["hidden"] = outputs[0]
        # The cache holds the layers before the batch.
        return [all_rows(outputs[0]), outputs[1]], all_rows(cache, axis=1)

    model.embed_prefix = embed_one
    model.PaliGemma = SimpleNamespace(llm=encode_one, img=model.PaliGemma.img)
    actions = model.sample_actions(rng, all_rows(observation), noise=noise, **options)
    weights = seen["mask"][0][:, None]
    hidden = seen["hidden"][0].astype(library.float32)
    return actions, (hidden * weights).sum(axis=0) / weights.sum()
