# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Notices the policy that a LeRobot program loads, with no line of that program changed.

LeRobot's programs make a policy, and the processors of its configuration, by two things that all
of its versions share: the base class of policies, and `make_pre_post_processors`. Once both are
made, the policy is watched. A policy that acts without being watched is stopped at its first
action: it raises `UnwatchedPolicyError`.
"""

from __future__ import annotations

import functools
import sys
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

from failure_monitor.errors import FailureMonitorError
from failure_monitor.policies.action_names import listed_names
from failure_monitor.policies.shadow import Original
from failure_monitor.policies.uncopied_shadow import UncopiedShadow

PRETRAINED, FACTORY = "lerobot.policies.pretrained", "lerobot.policies.factory"
MAKE_POLICY, MAKE_PROCESSORS = "make_policy", "make_pre_post_processors"
ACTING = ("select_action", "predict_action_chunk")
"""The methods by which a policy acts."""


class UnwatchedPolicyError(FailureMonitorError):
    """A policy was to act, and nothing watches it."""


class UnknownLeRobotError(FailureMonitorError):
    """LeRobot is missing, or loads its policies in another way."""


@dataclass(frozen=True, eq=False)
class LoadedPolicy:
    """A policy that a program has loaded.

    Attributes:
        policy: the policy.
        postprocessor: of the policy.
        checkpoint: the folder or name that it was loaded from; empty if unknown.
        action_names: of the dataset that the program records; empty if unknown.
        control_period: of that dataset or of the simulation, in seconds; None if unknown.
    """

    policy: Any
    postprocessor: Any
    checkpoint: str = ""
    action_names: tuple[str, ...] = ()
    control_period: float | None = None


class Watch(Protocol):
    """What watches one policy."""

    def close(self) -> None:
        """Watch it no more."""


class LeRobotHook:
    """Has one policy of this process watched: the newest, if several are loaded."""

    def __init__(
        self,
        start_watch: Callable[[LoadedPolicy], Watch],
        *,
        lets_unwatched_act: bool,
        report: Callable[[str], None],
    ) -> None:
        """Prepare; `install` comes next.

        Args:
            start_watch: watches a policy; raises `FailureMonitorError` if that is not possible.
            lets_unwatched_act: whether a policy that is not watched may act.
            report: prints a line for the user.
        """
        self._start_watch = start_watch
        self._lets_unwatched_act = lets_unwatched_act
        self._report = report
        self._unwatched: weakref.WeakKeyDictionary[Any, _Unwatched] = weakref.WeakKeyDictionary()
        self._processors: list[_Processors] = []
        self._facts: list[tuple[Any, tuple[str, ...], float | None]] = []
        self._watch: Watch | None = None
        self._watched: weakref.ref[Any] | None = None
        self.watched = 0
        """Number of policies that were watched."""

    def install(self) -> None:
        """Notice every policy from now on.

        Raises:
            UnknownLeRobotError: this LeRobot cannot be watched.
        """
        pretrained, factory = _module(PRETRAINED), _module(FACTORY)
        base = getattr(pretrained, "PreTrainedPolicy", None)
        missing = [
            f"{module.__name__}.{name}"
            for module, name in (
                (pretrained, "PreTrainedPolicy"),
                (factory, MAKE_POLICY),
                (factory, MAKE_PROCESSORS),
            )
            if not hasattr(module, name)
        ]
        if base is None or missing:
            raise UnknownLeRobotError(
                f"this LeRobot has no {', '.join(missing)}: versions 0.4.4 to 0.6.1 are known; "
                "name the policy in your own program instead (LeRobotTap)"
            )
        self._wrap_constructor(base)
        _replace_everywhere(factory, MAKE_POLICY, self._make_policy)
        _replace_everywhere(factory, MAKE_PROCESSORS, self._make_processors)

    def close(self) -> None:
        """Watch no more."""
        if self._watch is not None:
            self._watch.close()
            self._watch = None

    # What LeRobot calls.

    def _wrap_constructor(self, base: Any) -> None:
        original = base.__init__

        @functools.wraps(original)
        def constructor(policy: Any, *arguments: Any, **options: Any) -> None:
            original(policy, *arguments, **options)
            self._unwatched[policy] = _Unwatched(policy, self._before_first_action)

        base.__init__ = constructor

    def _make_policy(self, make: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        config = options.get("cfg", arguments[0] if arguments else None)
        sources = [*arguments[1:], options.get("ds_meta"), options.get("env_cfg")]
        names, period = _names_and_period([one for one in sources if one is not None])
        self._facts.append((config, names, period))
        return make(*arguments, **options)

    def _make_processors(self, make: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        result = make(*arguments, **options)
        config = options.get("policy_cfg", arguments[0] if arguments else None)
        path = options.get("pretrained_path", arguments[1] if len(arguments) > 1 else None)
        made = _Processors(config, str(path or ""), result[1])
        self._processors.append(made)
        policies = [one for one in self._unwatched if one.config is config]
        if policies:
            self._pair(policies[-1], made)
        return result

    # From a policy to its watch.

    def _before_first_action(self, policy: Any) -> None:
        """Watch a policy that is about to act, or stop it.

        Raises:
            UnwatchedPolicyError: it is not watched and must not act.
        """
        made = [one for one in self._processors if one.config is policy.config]
        made = made or [one for one in self._processors if one.config == policy.config]
        if made:
            self._pair(policy, made[-1])
        elif self._lets_unwatched_act:
            self._release(policy)
            self._report("not watched: the policy acts without a postprocessor of its own")
        else:
            raise UnwatchedPolicyError(
                "the policy is not watched: no processors were made for it "
                "(make_pre_post_processors), so its actions in the robot's units are unknown; "
                "watch it in your own program (LeRobotTap), or let it act unwatched (--unwatched)"
            )

    def _pair(self, policy: Any, made: _Processors) -> None:
        loaded = self._loaded(policy, made)
        self._give_up_last()
        self._release(policy)
        try:
            self._watch = self._start_watch(loaded)
        except FailureMonitorError as error:
            if not self._lets_unwatched_act:
                self._unwatched[policy] = _Unwatched(policy, self._before_first_action)
                raise
            self._report(f"not watched: {error}")
        else:
            self._watched = weakref.ref(policy)
            self.watched += 1
        self._processors.clear()
        self._facts.clear()

    def _loaded(self, policy: Any, made: _Processors) -> LoadedPolicy:
        facts = [fact for fact in self._facts if fact[0] is policy.config]
        _, names, period = facts[-1] if facts else (None, (), None)
        names = tuple(getattr(policy.config, "action_feature_names", None) or names)
        checkpoint = made.path or str(getattr(policy.config, "pretrained_path", None) or "")
        return LoadedPolicy(policy, made.postprocessor, checkpoint, names, period)

    def _give_up_last(self) -> None:
        """Watch the policy before no more, which must then not act either."""
        self.close()
        last = self._watched() if self._watched is not None else None
        if last is not None and not self._lets_unwatched_act:
            self._unwatched[last] = _Unwatched(last, _stop_older)
        self._watched = None

    def _release(self, policy: Any) -> None:
        unwatched = self._unwatched.pop(policy, None)
        if unwatched is not None:
            unwatched.take_away()


@dataclass(frozen=True, eq=False)
class _Processors:
    config: Any
    path: str
    postprocessor: Any


class _Unwatched:
    """The acting methods of a policy that is not watched: each asks before it acts."""

    def __init__(self, policy: Any, ask: Callable[[Any], None]) -> None:
        # The policy holds its shadows, and nothing here holds the policy.
        reference = weakref.ref(policy)

        def act(original: Original, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            # The question is no part of what is compiled.
            if not _is_compiling():
                ask(reference())
            return original(*args, **kwargs)

        # A copy is another policy, and would act unwatched.
        self._shadows = [weakref.ref(UncopiedShadow(policy, name, act)) for name in ACTING]

    def take_away(self) -> None:
        for reference in self._shadows:
            if (shadow := reference()) is not None:
                shadow.take_away()


def _stop_older(policy: Any) -> None:
    raise UnwatchedPolicyError(
        "the policy is not watched any more, since another one was loaded after it: run one "
        "policy in a process, or watch each in your own program (LeRobotTap)"
    )


def _is_compiling() -> bool:
    import torch

    return bool(torch.compiler.is_compiling())


def _names_and_period(sources: list[Any]) -> tuple[tuple[str, ...], float | None]:
    """Return the actions' names and the control period of a dataset or a simulation."""
    names: tuple[str, ...] = ()
    period = None
    for source in sources:
        features = getattr(source, "features", None)
        action = features.get("action") if isinstance(features, Mapping) else None
        listed = action.get("names") if isinstance(action, Mapping) else None
        if listed:
            names = listed_names(listed, where="the dataset")
        rate = getattr(source, "fps", None)
        if isinstance(rate, (int, float)) and rate > 0:
            period = 1 / rate
    return names, period


def _module(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise UnknownLeRobotError(
            f"LeRobot is not found in this Python ({sys.executable}): {error}; install "
            "failure-monitor in the environment in which LeRobot is"
        ) from None


def _replace_everywhere(module: Any, name: str, replacement: Callable[..., Any]) -> None:
    """Replace a function in its module, and in all modules that have imported it from there."""
    original = getattr(module, name)

    @functools.wraps(original)
    def replaced(*arguments: Any, **options: Any) -> Any:
        return replacement(original, *arguments, **options)

    for other in list(sys.modules.values()):
        is_of_lerobot = getattr(other, "__name__", "").partition(".")[0] == "lerobot"
        if is_of_lerobot and vars(other).get(name) is original:
            setattr(other, name, replaced)
