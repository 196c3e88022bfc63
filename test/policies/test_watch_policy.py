# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Real policies of LeRobot, watched: they act as if nobody did."""

from __future__ import annotations

import copy
import pickle
import threading

import numpy as np
import pytest
import torch
from testbed.lerobot_policies import (
    ACTIONS,
    CAMERA,
    act_policy,
    diffusion_policy,
    has_pi_policies,
    pi0_policy,
    pi05_policy,
    smolvla_policy,
)

from failure_monitor.policies.policy_class import UnsupportedPolicyError
from failure_monitor.policies.watch_policy import watch_policy

pytestmark = pytest.mark.lerobot

NEEDS_PI = pytest.mark.skipif(not has_pi_policies(), reason="pi0 needs LeRobot 0.6")
CLASSES = [
    pytest.param(act_policy, id="act"),
    pytest.param(diffusion_policy, id="diffusion"),
    pytest.param(smolvla_policy, id="smolvla"),
    pytest.param(pi0_policy, id="pi0", marks=NEEDS_PI),
    pytest.param(pi05_policy, id="pi05", marks=NEEDS_PI),
]
WITH_NOISE = CLASSES[1:]
FLOWS = CLASSES[2:]


def ensemble():
    """Return an ACTPolicy that decides at every control step."""
    return act_policy(temporal_ensemble_coeff=0.01, n_action_steps=1)


def ddim():
    """Return a DiffusionPolicy that denoises without drawing noise at every step."""
    return diffusion_policy(noise_scheduler_type="DDIM")


MODES = [*CLASSES, *(pytest.param(make, id=make.__name__) for make in (ensemble, ddim))]


def watched(run, **options):
    """Watch a policy and return the watch and the list of its decisions."""
    decisions = []
    options = {"action_names": ACTIONS, "on_decision": decisions.append} | options
    return watch_policy(run.policy, run.postprocessor, **options), decisions


def actions_of(run, steps=14):
    """Return the actions of some control steps, from the same random numbers each time."""
    torch.manual_seed(1)
    return torch.cat([run.act(seed) for seed in range(steps)])


def batch_for_chunk(run):
    """Return an observation for `predict_action_chunk`."""
    batch = run.batch()
    if run.policy.name == "diffusion":  # it takes its observations from select_action
        batch["observation.images"] = torch.stack([batch[CAMERA]], dim=-4)
    return batch


@pytest.mark.parametrize("make", MODES)
def test_actions_are_those_of_the_unwatched_policy(make):
    """Over many steps, to the last bit, and from the same random numbers."""
    run = make()
    unwatched = copy.deepcopy(run)
    _, decisions = watched(run)
    seen = actions_of(run)
    after = torch.rand(1)

    assert torch.equal(seen, actions_of(unwatched))
    assert after == torch.rand(1)
    assert len(decisions) == -(-14 // run.policy.config.n_action_steps)
    assert all(np.isfinite(decision.embedding).all() for decision in decisions)


@pytest.mark.parametrize("make", MODES)
def test_first_chunk_is_what_the_robot_executes(make):
    """In the units of the robot, from the first action on."""
    run = make()
    _, decisions = watched(run)
    steps = run.policy.config.n_action_steps
    actions = actions_of(run, 3 * steps).numpy()

    for index, decision in enumerate(decisions):
        executed = actions[index * steps :][:steps]
        assert np.array_equal(decision.chunks[0, :steps], executed)


@pytest.mark.parametrize("make", WITH_NOISE)
def test_further_chunks_are_samples_of_the_policy(make):
    """Their mean and spread are those of chunks that the policy samples one by one."""
    run = make()
    batch = batch_for_chunk(run)
    run.policy.select_action(dict(batch))
    alone = torch.cat(
        [run.postprocessor(run.policy.predict_action_chunk(dict(batch))) for _ in range(200)]
    )
    run.policy.reset()
    _, decisions = watched(run, samples=201)
    run.policy.select_action(dict(batch))
    steps = alone.shape[1]
    beside = torch.from_numpy(decisions[0].chunks[1:, :steps])

    spread = alone.std(dim=0)
    assert ((beside.mean(0) - alone.mean(0)).abs() / spread).max() < 0.6
    assert ((beside.std(0) / spread).log().abs()).max() < 0.4


@pytest.mark.parametrize("make", MODES)
def test_closing_gives_back_what_was(make):
    """Not an attribute more, and the same actions as before."""
    run = make()
    before = {name: set(vars(module)) for name, module in run.policy.named_modules()}
    first = actions_of(run, 2)
    run.policy.reset()
    watch, decisions = watched(run)
    watch.close()
    watch.close()

    assert {name: set(vars(module)) for name, module in run.policy.named_modules()} == before
    assert torch.equal(actions_of(run, 2), first)
    assert not decisions


@pytest.mark.parametrize("make", CLASSES)
def test_a_copy_is_not_watched(make):
    """It acts with its own weights, however it was copied."""
    run = make()
    _, decisions = watched(run)
    plain = copy.deepcopy(run)
    copies = [plain.policy]
    if make not in (pi0_policy, pi05_policy):  # LeRobot's own cannot be pickled
        copies.append(pickle.loads(pickle.dumps(run.policy)))
    for copied in copies:
        for parameter in copied.parameters():
            parameter.data.zero_()
        zero = copied.select_action(run.batch())
        assert not torch.equal(zero, run.policy.select_action(run.batch()))
        run.policy.reset()
    assert len(decisions) == len(copies)


@pytest.mark.parametrize("make", CLASSES)
def test_a_fault_of_the_callback_does_not_reach_the_policy(make, caplog):
    """It is logged once in a while, and told."""
    run = make()
    unwatched = copy.deepcopy(run)
    faults = []

    def fail(decision):
        raise ValueError("no room")

    watched(run, on_decision=fail, on_fault=faults.append)
    assert torch.equal(actions_of(run), actions_of(unwatched))
    assert len(faults) == -(-14 // run.policy.config.n_action_steps)
    assert "no room" in faults[0]
    assert caplog.text.count("watching the policy failed") == 1


def test_an_interrupt_reaches_the_policy():
    """The user ends a program with it."""
    run = act_policy()

    def interrupt(decision):
        raise KeyboardInterrupt

    watched(run, on_decision=interrupt)
    with pytest.raises(KeyboardInterrupt):
        run.act()


@pytest.mark.parametrize("make", CLASSES)
def test_a_policy_server_decides_by_calling_for_a_chunk(make):
    """How many of its actions are executed is not known to the policy."""
    run = make()
    unwatched = copy.deepcopy(run)
    watch, decisions = watched(run)
    before = watch.description
    if make is diffusion_policy:
        for each in (run, unwatched):
            torch.manual_seed(0)
            each.policy.select_action(each.batch())
    torch.manual_seed(1)
    chunk = run.policy.predict_action_chunk(batch_for_chunk(run))
    torch.manual_seed(1)

    assert torch.equal(chunk, unwatched.policy.predict_action_chunk(batch_for_chunk(run)))
    executed = run.postprocessor(chunk).numpy()
    assert np.array_equal(decisions[-1].chunks[:1, : executed.shape[1]], executed)
    assert (watch.description.execution, watch.description.executed_actions) == ("server", None)
    assert before.execution == "queue"


def test_the_plan_of_the_temporal_ensemble_is_the_first_chunk():
    """Not the chunk that was just predicted, which the ensemble averages."""
    run = ensemble()
    watch, decisions = watched(run)
    actions_of(run, 3)
    rest = run.policy.temporal_ensembler.ensembled_actions
    assert np.array_equal(decisions[-1].chunks[:, 1:], run.postprocessor(rest).numpy())
    assert watch.description.execution == "ensemble"
    assert watch.description.executed_actions == 1


@NEEDS_PI
@pytest.mark.parametrize("steps", [1, 4])
def test_relative_actions_are_made_absolute_by_the_observation_of_the_decision(steps):
    """Where a queue is emptied, LeRobot itself would make them relative to a later one."""
    run = pi0_policy(use_relative_actions=True, n_action_steps=steps)
    faults = []
    _, decisions = watched(run, on_fault=faults.append)
    actions = actions_of(run, 2).numpy()
    if steps > 1:
        assert not decisions
        assert "relative to the observation" in faults[0]
        return
    for decision, action in zip(decisions, actions, strict=True):
        np.testing.assert_allclose(decision.chunks[0, 0], action, rtol=1e-5)


def real_time_chunking(make):
    """Return a policy that is run with real-time chunking."""
    from lerobot.policies.rtc.configuration_rtc import RTCConfig

    return make(rtc_config=RTCConfig(enabled=True, execution_horizon=4))


@pytest.mark.parametrize("make", FLOWS)
@pytest.mark.parametrize("length", [3, 10])
def test_real_time_chunking_guides_all_samples(make, length):
    """They do not scatter where they are led to what is being executed, and do after it."""
    run = real_time_chunking(make)
    unwatched = copy.deepcopy(run)
    watch, decisions = watched(run)
    assert watch.description.execution == "real_time_chunking"
    assert watch.description.guided_actions == 4
    leftover = None
    for _ in range(3):
        chunks = []
        for each in (run, unwatched):
            torch.manual_seed(1)
            chunks.append(
                each.policy.predict_action_chunk(
                    each.batch(), inference_delay=1, prev_chunk_left_over=leftover
                )
            )
        assert torch.equal(*chunks)
        leftover = chunks[0][0, -length:]
    spread = decisions[-1].chunks.std(axis=0).mean(axis=1)
    assert spread[0] < 0.5 * decisions[0].chunks.std(axis=0).mean(axis=1)[0]
    assert len(decisions) == 3


@pytest.mark.parametrize("make", CLASSES)
def test_between_decisions_the_plan_is_compared_with_a_new_one(make):
    """The first chunk is the rest of the queue, continued by the new one."""
    run = make()
    unwatched = copy.deepcopy(run)
    watch, decisions = watched(run, every=2)
    steps = run.policy.config.n_action_steps
    actions = actions_of(run, 2 * steps)

    assert torch.equal(actions, actions_of(unwatched, 2 * steps))
    assert watch.description.dispersion_of == "plan"
    kinds = [decision.is_executed for decision in decisions]
    one = [True, *[False] * ((steps - 1) // 2)]
    assert kinds == 2 * one
    for number, decision in enumerate(decisions[: len(one)]):
        at = 2 * number
        left = actions.numpy()[at:steps]
        np.testing.assert_allclose(decision.chunks[0, : len(left)], left, rtol=1e-5, atol=1e-5)
        if not decision.is_executed:
            assert np.array_equal(decision.chunks[0, len(left) :], decision.chunks[1, len(left) :])
    assert len({decision.chunks.shape for decision in decisions}) == 1


@pytest.mark.parametrize("make", CLASSES)
def test_a_policy_is_reset_with_its_watch(make):
    """A new rollout begins."""
    run = make()
    restarts = []
    watched(run, on_restart=lambda: restarts.append(1))
    run.act()
    run.policy.reset()
    assert restarts == [1]


@pytest.mark.parametrize("make", CLASSES)
def test_several_observations_are_not_watched(make):
    """The policy answers for both; the user reads why nothing is published."""
    run = make()
    faults = []
    _, decisions = watched(run, on_fault=faults.append)
    batch = run.batch()
    double = {
        key: torch.cat([value, value]) if isinstance(value, torch.Tensor) else value
        for key, value in batch.items()
    }
    assert run.policy.select_action(double).shape == (2, len(ACTIONS))
    assert not decisions
    assert "2 observations at once" in faults[0]


@pytest.mark.parametrize("make", CLASSES)
def test_a_policy_decides_in_any_thread_and_mode(make):
    """With inference mode, in a thread, after .train() and .eval() and .to()."""
    run = make()
    unwatched = copy.deepcopy(run)
    _, decisions = watched(run)
    run.policy.train().to("cpu").eval()
    actions = {}

    def act():
        with torch.inference_mode():
            actions["here"] = actions_of(run)

    thread = threading.Thread(target=act)
    thread.start()
    thread.join()
    assert torch.equal(actions["here"], actions_of(unwatched))
    assert decisions


@pytest.mark.parametrize("make", CLASSES)
def test_autocast_changes_nothing(make):
    """Lower precision is the policy's own."""
    run = make()
    unwatched = copy.deepcopy(run)
    _, decisions = watched(run)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(actions_of(run, 6), actions_of(unwatched, 6))
    assert decisions


@pytest.mark.parametrize("make", FLOWS)
def test_a_policy_of_low_precision_is_watched(make):
    """Samples may differ more for the same noise, its own action not at all."""
    run = make() if make is smolvla_policy else make(dtype="bfloat16")
    if make is smolvla_policy:
        run.policy.model.vlm_with_expert.to(torch.bfloat16)
    unwatched = copy.deepcopy(run)
    faults = []
    _, decisions = watched(run, on_fault=faults.append)
    assert torch.equal(actions_of(run, 5), actions_of(unwatched, 5))
    assert not faults
    assert decisions[0].chunks.dtype == np.float32


@pytest.mark.parametrize("make", CLASSES)
@pytest.mark.parametrize("is_watched_first", [True, False])
def test_a_compiled_policy_stays_compiled(make, is_watched_first):
    """`lerobot-rollout` compiles predict_action_chunk; the watch computes beside it."""
    run = make()
    unwatched = copy.deepcopy(run)
    calls = []

    def backend(module, inputs):
        calls.append(module)
        return module.forward

    def compile_it(policy):
        policy.predict_action_chunk = torch.compile(policy.predict_action_chunk, backend=backend)

    if not is_watched_first:
        compile_it(run.policy)
    watch, decisions = watched(run)
    if is_watched_first:
        compile_it(run.policy)
    torch.manual_seed(1)
    steps = run.policy.config.n_action_steps
    seen = [run.act(seed) for seed in range(2 * steps)]
    if make is smolvla_policy:
        run.policy.predict_action_chunk(run.batch())
    torch.manual_seed(1)
    wanted = [unwatched.act(seed) for seed in range(2 * steps)]

    torch.testing.assert_close(seen, wanted, rtol=1e-5, atol=1e-5)
    assert calls
    assert len(decisions) >= 2
    watch.close()
    run.act()
    torch._dynamo.reset()


@pytest.mark.parametrize("make", CLASSES)
def test_a_watched_policy_is_not_watched_again(make):
    """Until the first watch is closed."""
    run = make()
    first, _ = watched(run)
    with pytest.raises(UnsupportedPolicyError, match="watched already"):
        watched(run)
    first.close()
    watched(run)


def test_an_observation_that_the_policy_turns_in_place_is_turned_once():
    """SmolVLA for Aloha changes the observation and its chunk in place."""
    run = smolvla_policy(adapt_to_pi_aloha=True, joints=14, max_state_dim=16, max_action_dim=16)
    unwatched = copy.deepcopy(run)
    _, decisions = watched(run, every=2, action_names=())
    assert torch.equal(actions_of(run, 6), actions_of(unwatched, 6))
    assert len(decisions) == 3


@pytest.mark.parametrize("make", [act_policy, smolvla_policy])
def test_a_policy_in_the_wrapper_of_peft_is_watched(make):
    """LeRobot 0.6 wraps a policy that was tuned by adapters."""
    peft = pytest.importorskip("peft")
    run = make()
    wrapped = peft.get_peft_model(
        run.policy, peft.LoraConfig(target_modules="all-linear", init_lora_weights=False)
    )
    decisions = []
    torch.manual_seed(1)
    wanted = wrapped.select_action(run.batch())
    wrapped.reset()
    watch = watch_policy(wrapped, run.postprocessor, on_decision=decisions.append)
    torch.manual_seed(1)
    assert torch.equal(wrapped.select_action(run.batch()), wanted)
    assert len(decisions) == 1
    watch.close()
