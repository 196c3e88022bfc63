# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The names of a policy's actions fit the policy, or a sentence says what does not."""

import json
from types import SimpleNamespace

import pytest

from failure_monitor.policies.action_names import (
    ActionNamesError,
    action_names_of,
    numbered_names,
)


def policy(size=2, **config):
    feature = SimpleNamespace(shape=(size,))
    return SimpleNamespace(config=SimpleNamespace(output_features={"action": feature}, **config))


def dataset(folder, names):
    (folder / "meta").mkdir()
    info = {"features": {"action": {"shape": [2], "names": names}}}
    (folder / "meta" / "info.json").write_text(json.dumps(info))
    return folder


@pytest.mark.parametrize("names", [["x", "y"], {"motors": ["x", "y"]}])
def test_a_dataset_names_the_actions(tmp_path, names):
    assert action_names_of(policy(), dataset(tmp_path, names)) == ("x", "y")
    assert action_names_of(policy(), str(tmp_path)) == ("x", "y")


@pytest.mark.parametrize(
    ("names", "why"),
    [
        (["x"], r"has 1 actions \(x\), the policy has 2: give"),
        (["x", "y", "z"], "has 3 actions"),
        (["x", "x"], "several actions have the name x"),
        (["x", ""], "an action has no name"),
        ([], "an action has no name"),
        ("nowhere", "nowhere/meta/info.json cannot be read"),
    ],
)
def test_wrong_names_are_a_sentence(names, why):
    with pytest.raises(ActionNamesError, match=why):
        action_names_of(policy(), names)


@pytest.mark.parametrize("given", [None, 5, {"a": 1}])
def test_what_is_no_list_of_names_is_a_sentence(given):
    with pytest.raises(ActionNamesError, match=r"give a list of names, or the folder"):
        action_names_of(policy(), given)


def test_names_that_the_policy_knows_otherwise_are_rejected():
    own = policy(action_feature_names=["x", "y"])
    assert action_names_of(own, ["x", "y"]) == ("x", "y")
    with pytest.raises(ActionNamesError, match="the policy's configuration x, y: give the latter"):
        action_names_of(own, ["y", "x"])


@pytest.mark.parametrize("names", [None, "x", 3, {}])
def test_a_dataset_without_names_is_a_sentence(tmp_path, names):
    with pytest.raises(ActionNamesError, match="json does not list the names"):
        action_names_of(policy(), dataset(tmp_path, names))


def test_unknown_names_are_numbered():
    assert numbered_names(policy()) == ("action_0", "action_1")
    with pytest.raises(ActionNamesError, match="does not state its actions"):
        numbered_names(SimpleNamespace(config=SimpleNamespace()))
