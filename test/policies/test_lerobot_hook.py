# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The policy that a LeRobot program loads is noticed, and does not act unless it is watched."""

import copy
import gc
import weakref

import pytest

pytestmark = pytest.mark.lerobot


class Watch:
    """Remembers what was watched."""

    def __init__(self, loaded):
        self.loaded = loaded
        self.is_open = True

    def close(self):
        self.is_open = False


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Return a checkpoint and an observation, both made before anything is noticed."""
    from testbed.lerobot_policies import act_policy
    from testbed.lerobot_process import save_checkpoint

    tiny = act_policy()
    return save_checkpoint(tiny, tmp_path_factory.mktemp("policies") / "act"), tiny.batch()


@pytest.fixture
def checkpoint(made):
    return made[0]


@pytest.fixture
def batch(made):
    return dict(made[1])


@pytest.fixture
def said():
    return []


@pytest.fixture
def watches():
    return []


@pytest.fixture
def hook(made, monkeypatch, watches, said):
    return install(monkeypatch, watches, said)


def install(monkeypatch, watches, said, **options):
    import lerobot.policies.factory as factory
    from lerobot.policies.pretrained import PreTrainedPolicy

    from failure_monitor.policies.lerobot_hook import LeRobotHook

    # All that the hook replaces comes back after the test.
    for owner, name in (
        (PreTrainedPolicy, "__init__"),
        (factory, "make_policy"),
        (factory, "make_pre_post_processors"),
    ):
        monkeypatch.setattr(owner, name, getattr(owner, name))

    def start(loaded):
        watches.append(Watch(loaded))
        return watches[-1]

    settings = {"start_watch": start, "lets_unwatched_act": False, "report": said.append} | options
    hook = LeRobotHook(settings.pop("start_watch"), **settings)
    hook.install()
    return hook


def load(checkpoint):
    from lerobot.policies.act.modeling_act import ACTPolicy

    return ACTPolicy.from_pretrained(checkpoint)


def processors(policy, checkpoint):
    from lerobot.policies import factory

    return factory.make_pre_post_processors(policy.config, str(checkpoint))


def test_a_policy_is_watched_once_its_processors_are_made(hook, watches, checkpoint):
    policy = load(checkpoint)
    assert not watches
    _, postprocessor = processors(policy, checkpoint)
    (watch,) = watches
    assert (watch.loaded.policy, watch.loaded.postprocessor) == (policy, postprocessor)
    assert watch.loaded.checkpoint == str(checkpoint)
    assert hook.watched == 1
    assert not {"select_action", "predict_action_chunk"} & vars(policy).keys()


def test_it_is_watched_at_its_first_action_if_the_processors_came_first(
    hook, watches, checkpoint, batch
):
    from lerobot.configs.policies import PreTrainedConfig
    from lerobot.policies import factory

    config = PreTrainedConfig.from_pretrained(checkpoint)
    factory.make_pre_post_processors(config, str(checkpoint))
    policy = load(checkpoint)
    assert not watches
    policy.select_action(batch)
    assert watches[0].loaded.policy is policy


def test_without_processors_it_does_not_act(hook, watches, checkpoint, batch):
    from failure_monitor.policies.lerobot_hook import UnwatchedPolicyError

    policy = load(checkpoint)
    for act in (policy.select_action, policy.predict_action_chunk):
        with pytest.raises(UnwatchedPolicyError, match="no processors were made for it"):
            act(batch)


def test_a_policy_that_cannot_be_watched_does_not_act(monkeypatch, said, checkpoint, batch):
    from failure_monitor.policies.policy_class import UnsupportedPolicyError

    def start(loaded):
        raise UnsupportedPolicyError("it cannot be watched")

    hook = install(monkeypatch, [], said, start_watch=start)
    policy = load(checkpoint)
    with pytest.raises(UnsupportedPolicyError):
        processors(policy, checkpoint)
    with pytest.raises(UnsupportedPolicyError):
        policy.select_action(batch)
    assert hook.watched == 0


def test_it_acts_unwatched_if_the_user_insists(monkeypatch, said, checkpoint, batch):
    from failure_monitor.policies.policy_class import UnsupportedPolicyError

    def start(loaded):
        raise UnsupportedPolicyError("it cannot be watched")

    install(monkeypatch, [], said, start_watch=start, lets_unwatched_act=True)
    policy = load(checkpoint)
    processors(policy, checkpoint)
    policy.select_action(batch)
    load(checkpoint).select_action(batch)
    assert said == [
        "not watched: it cannot be watched",
        "not watched: the policy acts without a postprocessor of its own",
    ]


def test_of_two_policies_the_newest_is_watched_and_the_other_does_not_act(
    hook, watches, checkpoint, batch
):
    from failure_monitor.policies.lerobot_hook import UnwatchedPolicyError

    first = load(checkpoint)
    processors(first, checkpoint)
    second = load(checkpoint)
    processors(second, checkpoint)
    assert [watch.is_open for watch in watches] == [False, True]
    second.select_action(batch)
    with pytest.raises(UnwatchedPolicyError, match="another one was loaded after it"):
        first.select_action(batch)


def test_a_policy_that_is_replaced_is_not_kept(hook, watches, checkpoint):
    policy = load(checkpoint)
    gone = weakref.ref(policy)
    processors(policy, checkpoint)
    another = load(checkpoint)
    processors(another, checkpoint)
    watches.clear()
    del policy
    gc.collect()
    assert gone() is None


def test_a_copy_does_not_act_unwatched(hook, checkpoint, batch):
    from failure_monitor.policies.uncopied_shadow import CopiedPolicyError

    with pytest.raises(CopiedPolicyError):
        copy.deepcopy(load(checkpoint)).select_action(batch)


def test_names_and_rate_come_from_the_dataset_that_is_recorded(hook, watches, checkpoint):
    from types import SimpleNamespace

    from lerobot.configs.policies import PreTrainedConfig
    from lerobot.policies import factory
    from testbed.lerobot_policies import ACTIONS, CAMERA, IMAGE, JOINTS

    config = PreTrainedConfig.from_pretrained(checkpoint)
    config.pretrained_path = checkpoint
    vector = {"dtype": "float32", "shape": (JOINTS,), "names": list(ACTIONS)}
    image = {"dtype": "image", "shape": IMAGE, "names": ["channels", "height", "width"]}
    dataset = SimpleNamespace(
        features={"action": vector, "observation.state": vector, CAMERA: image}, fps=20, stats={}
    )
    policy = factory.make_policy(config, ds_meta=dataset)
    factory.make_pre_post_processors(policy_cfg=config, pretrained_path=str(checkpoint))
    assert watches[0].loaded.action_names == ACTIONS
    assert watches[0].loaded.control_period == 0.05
    assert watches[0].loaded.policy is policy
