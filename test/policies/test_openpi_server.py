# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A served policy is watched, and answers what it would have answered.

The models are stand-ins with the interfaces of openpi's: testbed.openpi_policies.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from testbed.openpi_policies import (
    DIMENSIONS,
    HORIZON,
    VALID,
    WIDTH,
    JaxModel,
    Policy,
    TorchModel,
    observation_of,
)

from failure_monitor.policies.openpi.jax_models import sample_rows
from failure_monitor.policies.openpi.messages import KEY
from failure_monitor.policies.openpi.server import (
    UnsupportedPolicyError,
    WatchedPolicy,
    checkpoint_hash,
)
from failure_monitor.policies.path_bend import path_bend
from failure_monitor.policy_description import PolicyDescription

SAMPLES = 6
NOISE = np.random.default_rng(1).normal(size=(HORIZON, DIMENSIONS)).astype(np.float32)
SAME = {"rtol": 0, "atol": 1e-5}


def observed(number: float) -> dict[str, object]:
    return {"observation/state": number * np.arange(1, DIMENSIONS + 1), "prompt": "carry"}


@pytest.fixture
def unwatched():
    return Policy(TorchModel())


@pytest.fixture
def watched():
    return WatchedPolicy(Policy(TorchModel()), samples=SAMPLES)


class TestWhatIsExecuted:
    def test_it_is_the_same_for_the_same_noise(self, unwatched, watched):
        for number in (0.1, 0.2, 0.3):
            expected = unwatched.infer(observed(number), noise=NOISE)
            answer = watched.infer(observed(number), noise=NOISE)
            np.testing.assert_allclose(answer["actions"], expected["actions"], **SAME)
            assert answer["policy_timing"] == expected["policy_timing"]

    @pytest.mark.slow
    def test_it_is_where_the_model_is_compiled(self, unwatched):
        watched = WatchedPolicy(Policy(TorchModel("default")), samples=SAMPLES)
        for number in (0.1, 0.2):
            answer = watched.infer(observed(number), noise=NOISE)
            expected = unwatched.infer(observed(number), noise=NOISE)["actions"]
            np.testing.assert_allclose(answer["actions"], expected, **SAME)
            assert answer[KEY]["chunks"].std(axis=0).min() > 0.01

    def test_the_policy_draws_the_random_numbers_that_it_would_draw(self, unwatched, watched):
        torch.manual_seed(3)
        expected = [unwatched.infer(observed(number))["actions"] for number in (0.1, 0.2)]
        torch.manual_seed(3)
        answers = [watched.infer(observed(number))["actions"] for number in (0.1, 0.2)]
        np.testing.assert_allclose(answers, expected, **SAME)

    def test_it_is_the_first_of_the_chunks(self, watched):
        answer = watched.infer(observed(0.1))
        np.testing.assert_array_equal(answer[KEY]["chunks"][0], answer["actions"])

    def test_given_back_it_answers_without_anything_of_ours(self, unwatched):
        policy = Policy(TorchModel())
        WatchedPolicy(policy, samples=SAMPLES).close()
        np.testing.assert_array_equal(
            policy.infer(observed(0.1), noise=NOISE)["actions"],
            unwatched.infer(observed(0.1), noise=NOISE)["actions"],
        )
        assert "denoise_step" not in vars(policy._model)


class TestWhatIsWatched:
    def test_every_chunk_is_one_that_the_policy_could_have_answered(self, unwatched, watched):
        drawn = []
        sample_rows = watched._sampler._sample_rows
        watched._sampler._sample_rows = lambda *given: (
            drawn.append(given[2]) or sample_rows(*given)
        )
        chunks = watched.infer(observed(0.1))[KEY]["chunks"]
        assert chunks.shape == (SAMPLES, HORIZON, 2)
        assert chunks.dtype == np.float32
        for noise, chunk in zip(drawn[0].numpy(), chunks, strict=True):
            alone = unwatched.infer(observed(0.1), noise=noise)["actions"]
            np.testing.assert_allclose(chunk, alone, rtol=0, atol=1e-4)
        assert chunks.std(axis=0).min() > 0.01

    def test_further_chunks_differ_from_decision_to_decision(self, watched):
        first, second = (
            watched.infer(observed(0.1), noise=NOISE)[KEY]["chunks"] for _ in range(2)
        )
        np.testing.assert_array_equal(first[0], second[0])
        assert np.abs(first[1:] - second[1:]).max() > 0.01

    def test_the_embedding_is_the_mean_of_the_valid_tokens(self, watched):
        model = watched._policy._model
        prefix = model.embedding(torch.arange(VALID)) + model.state_proj(
            0.1 * torch.arange(1.0, DIMENSIONS + 1)
        )
        expected = torch.tanh(model.paligemma_with_expert.encoder(prefix)).mean(dim=0)
        embedding = watched.infer(observed(0.1))[KEY]["embedding"]
        assert embedding.shape == (WIDTH,)
        np.testing.assert_allclose(embedding, expected.detach(), **SAME)

    def test_the_bend_is_that_of_the_executed_chunk(self, unwatched, watched):
        velocities = []
        step = unwatched._model.denoise_step

        def recorded(*arguments):
            velocities.append(step(*arguments))
            return velocities[-1]

        unwatched._model.denoise_step = recorded
        unwatched.infer(observed(0.1), noise=NOISE)
        answer = watched.infer(observed(0.1), noise=NOISE)
        expected = pytest.approx(path_bend(velocities), abs=1e-5)
        assert answer[KEY]["extras"] == {"flow_bend": expected}
        assert watched.description.extras == ("flow_bend",)

    def test_an_observation_is_encoded_once(self):
        model = TorchModel()
        watched = WatchedPolicy(Policy(model), samples=SAMPLES)
        watched.infer(observed(0.1))
        encoded = model.paligemma_with_expert.encoded
        watched.infer(observed(0.2))
        assert model.paligemma_with_expert.encoded == encoded + 1

    def test_one_sample_is_enough(self, unwatched):
        watched = WatchedPolicy(Policy(TorchModel()), samples=1)
        answer = watched.infer(observed(0.1), noise=NOISE)
        expected = unwatched.infer(observed(0.1), noise=NOISE)["actions"]
        np.testing.assert_allclose(answer[KEY]["chunks"], expected[None], **SAME)
        assert watched.description.dispersion_of == "nothing"

    def test_the_number_of_the_request_comes_back_and_stays_from_the_policy(self, watched):
        assert watched.infer({**observed(0.1), KEY: {"request": 17}})[KEY]["request"] == 17
        assert watched.infer(observed(0.1))[KEY]["request"] is None

    def test_the_metadata_describe_it(self, tmp_path):
        (tmp_path / "model.safetensors").write_bytes(b"weights")
        watched = WatchedPolicy(
            Policy(TorchModel()),
            checkpoint=tmp_path,
            action_names=("x", "y"),
            action_kind="position",
            control_period=0.02,
        )
        assert watched.metadata["reset_pose"] == [0.0, 1.0]
        description = PolicyDescription.from_json(watched.metadata[KEY])
        assert description == watched.description
        assert description.checkpoint == checkpoint_hash(tmp_path)
        assert (description.policy, description.unit) == ("pi0", "robot")
        assert description.dispersion_of == "noise"


class TestFaults:
    def test_a_model_that_lacks_something_is_refused_and_named(self):
        model = TorchModel()
        model.paligemma_with_expert.forward, model.sample_noise = None, None
        policy = Policy(model)
        policy._model = torch.nn.Identity()
        with pytest.raises(UnsupportedPolicyError, match="Identity has no sample_actions, denois"):
            WatchedPolicy(policy)

    def test_so_is_what_is_no_policy_of_openpi(self):
        with pytest.raises(UnsupportedPolicyError, match="NoneType has no _model"):
            WatchedPolicy(None)

    def test_a_policy_that_fails_to_sample_more_still_answers(self, unwatched, caplog):
        watched = WatchedPolicy(Policy(TorchModel()), samples=SAMPLES)
        watched._sampler._sample_rows = None
        answer = watched.infer(observed(0.1), noise=NOISE)
        np.testing.assert_allclose(
            answer["actions"], unwatched.infer(observed(0.1), noise=NOISE)["actions"], **SAME
        )
        assert "TypeError" in answer[KEY]["error"]
        assert "not watched" in caplog.text

    def test_a_model_that_answers_otherwise_with_many_rows_is_given_up(self, unwatched):
        class Mixed(TorchModel):
            """Its rows are not independent."""

            def denoise_step(self, *arguments):
                velocity = super().denoise_step(*arguments)
                return velocity + velocity.mean(dim=0) - velocity.mean()

        class Unmixed(TorchModel):
            def denoise_step(self, *arguments):
                velocity = super().denoise_step(*arguments)
                return 2 * velocity - velocity.mean()

        watched = WatchedPolicy(Policy(Mixed()), samples=SAMPLES)
        expected = Policy(Unmixed()).infer(observed(0.1), noise=NOISE)["actions"]
        for _ in range(2):
            answer = watched.infer(observed(0.1), noise=NOISE)
            np.testing.assert_allclose(answer["actions"], expected, **SAME)
            assert "error" in answer[KEY]
            assert "chunks" not in answer[KEY]

    def test_transforms_that_do_not_fit_spare_the_answer(self, watched):
        transform = watched._policy._output_transform
        calls = []

        def fail_later(data):
            calls.append(data)
            return transform(data) if len(calls) == 1 else 1 / 0

        watched._policy._output_transform = fail_later
        answer = watched.infer(observed(0.1))
        assert answer["actions"].shape == (HORIZON, 2)
        assert "ZeroDivisionError" in answer[KEY]["error"]

    def test_an_error_of_the_policy_is_the_servers(self, watched):
        with pytest.raises(KeyError):
            watched.infer({"prompt": "carry"})
        assert "error" not in watched.infer(observed(0.1))[KEY]


class TestCheckpoints:
    @pytest.fixture
    def folder(self, tmp_path):
        folder = tmp_path / "20000"
        for name, content in {
            "params/d/array": b"weights",
            "assets/robot/norm_stats.json": b"{}",
            "train_state/d/array": b"momentum",
        }.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        return folder

    def test_the_hash_is_of_what_makes_the_policy(self, folder):
        before = checkpoint_hash(folder)
        (folder / "train_state/d/array").write_bytes(b"other")
        assert checkpoint_hash(folder.rename(folder.parent / "copy")) == before

    @pytest.mark.parametrize("changed", ["params/d/array", "assets/robot/norm_stats.json"])
    def test_weights_and_normalisation_change_it(self, folder, changed):
        before = checkpoint_hash(folder)
        (folder / changed).write_bytes(b"other")
        assert checkpoint_hash(folder) != before

    def test_what_is_no_checkpoint_is_refused(self, tmp_path):
        with pytest.raises(UnsupportedPolicyError, match="is no checkpoint of openpi"):
            checkpoint_hash(tmp_path / "missing")


class NumpyTree:
    """Maps over what stands for JAX's trees here."""

    @staticmethod
    def map(change, values):
        if values is None:
            return None
        if isinstance(values, tuple):
            return tuple(NumpyTree.map(change, value) for value in values)
        return values.changed(change) if hasattr(values, "changed") else change(values)


class TestSamplingInJax:
    """By a stand-in in numpy, which has Pi0's interfaces and none of JAX's compiling."""

    def test_every_row_is_what_the_model_returns_for_its_noise_alone(self):
        observation = observation_of(np.array([0.1, 0.2, 0.3], np.float32))
        noise = np.random.default_rng(2).normal(size=(5, HORIZON, DIMENSIONS))
        model = JaxModel()
        actions, embedding = sample_rows(
            model, None, observation, noise, {"num_steps": 3}, np, NumpyTree
        )
        assert model.encoded == [1]
        for row, chunk in zip(noise, actions, strict=True):
            alone = JaxModel().sample_actions(None, observation, noise=row[None], num_steps=3)
            np.testing.assert_allclose(chunk, alone[0], rtol=1e-12)
        tokens, mask, _ = JaxModel().embed_prefix(observation)
        (hidden, _), _ = JaxModel().PaliGemma.llm(
            [tokens, None], mask=mask, positions=np.cumsum(mask, axis=1) - 1
        )
        np.testing.assert_allclose(embedding, hidden[0, :VALID].mean(axis=0), rtol=1e-6)
