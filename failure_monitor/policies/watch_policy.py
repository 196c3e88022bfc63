# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Watching a policy from within its own process, with nothing changed for who runs it."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from failure_monitor.decision import ActionKind
from failure_monitor.policies.checkpoint import (
    checkpoint_folder,
    checkpoint_hash,
    checkpoint_of,
    folder_of,
    kind_of,
)
from failure_monitor.policies.policy_class import (
    Decided,
    PolicyClass,
    SignalledClass,
    UnsupportedPolicyError,
)
from failure_monitor.policies.random_state import RandomState
from failure_monitor.policies.registry import policy_class_of, resolve
from failure_monitor.policies.robot_units import (
    Postprocessor,
    check_postprocessor,
    depends_on_observation,
    in_robot_units,
    unobserved,
)
from failure_monitor.policies.shadow import Shadow, is_shadowed
from failure_monitor.policies.unwrapped import unwrapped
from failure_monitor.policies.watched_decision import OnDecision, WatchedDecision
from failure_monitor.policy_description import DispersionOf, Execution, PolicyDescription

LOGGER = logging.getLogger("failure_monitor.policies")

SECONDS_BETWEEN_LOGS = 10.0

NO_QUEUE = "observations between two decisions are seen where select_action empties a queue"


def watch_policy(
    policy: Any,
    postprocessor: Postprocessor,
    *,
    samples: int | None = None,
    every: int | None = None,
    action_names: Sequence[str] = (),
    action_kind: ActionKind | None = None,
    control_period: float | None = None,
    checkpoint: Path | str | None = None,
    seed: int | None = None,
    on_decision: OnDecision,
    on_restart: Callable[[], None] = lambda: None,
    on_fault: Callable[[str], None] = lambda reason: None,
) -> PolicyWatch:
    """Watch a policy: every decision that it takes is reported, before its action is executed.

    The policy computes what it would compute unwatched, with its own random numbers. Further
    chunks are sampled beside it, from the same encoding of the observation.

    Args:
        policy: a policy of LeRobot.
        postprocessor: its postprocessor, the second of `make_pre_post_processors`.
        samples: the number of chunks at a decision, the executed one among them; None for what
            suits the policy's class.
        every: the number of control steps after which an observation between two decisions is
            watched too; None for decisions alone. Needs that `select_action` is called.
        action_names: the names of the action dimensions, in order.
        action_kind: the meaning of an action; None for what the names state.
        control_period: the seconds from one executed action to the next.
        checkpoint: the folder that the policy was loaded from; None for what the policy states.
        seed: of the further chunks' noise, from which every rollout starts again; None for another
            noise each time.
        on_decision: receives every decision, in the thread of the policy.
        on_restart: is called when the policy was reset.
        on_fault: is called with the reason when a decision could not be watched.

    Raises:
        UnsupportedPolicyError: the policy cannot be watched; it is as it was.
    """
    policy = unwrapped(policy)
    policy_class = policy_class_of(policy)
    _check_unwatched(policy, policy_class)
    quiet = unobserved(postprocessor)
    check_postprocessor(quiet, policy)
    where, known = _checkpoint(policy, checkpoint)
    options = _Options(
        _checked_samples(samples, every, policy_class),
        every,
        seed,
        on_decision,
        on_restart,
        on_fault,
    )
    description = _description(
        policy, policy_class, options, tuple(action_names), action_kind, control_period
    )
    description = replace(description, checkpoint=known, checkpoint_name=where)
    _check_description(description)
    return PolicyWatch(policy, policy_class, quiet, options, description)


@dataclass(frozen=True)
class _Options:
    samples: int
    every: int | None
    seed: int | None
    on_decision: OnDecision
    on_restart: Callable[[], None]
    on_fault: Callable[[str], None]


@dataclass
class _Call:
    """What is known of a call of the policy while it lasts."""

    decided: Decided | None = None
    random_state: Any = None


class PolicyWatch:
    """A policy that is watched.

    Attributes:
        description: what the policy states about itself, as far as it knows it. How chunks are
            executed shows at the first decision; the description is another object from then on.
    """

    def __init__(
        self,
        policy: Any,
        policy_class: PolicyClass,
        postprocessor: Postprocessor,
        options: _Options,
        description: PolicyDescription,
    ) -> None:
        self.description = description
        self._policy = policy
        self._class = policy_class
        self._postprocessor = postprocessor
        self._options = options
        self._is_checked = False
        self._steps = 0
        self._generators: dict[Any, Any] = {}
        self._next_log = 0.0
        self._local = threading.local()
        self._shadows: list[Shadow] = []
        self._shadow("reset", self._resetting)
        self._shadow("select_action", self._selecting)
        self._shadow(policy_class.decides, self._deciding)
        for path in dict.fromkeys((*policy_class.records, *_follows(policy_class, options))):
            self._shadow(path, self._recording(path))

    def restart(self) -> None:
        """Begin a new rollout: called where the policy is reset."""
        self._steps = 0
        if self._options.seed is not None:
            self._generators.clear()
        self._options.on_restart()

    def close(self) -> None:
        """Give the policy back as it was."""
        while self._shadows:
            self._shadows.pop().take_away()

    def _shadow(self, path: str, around: Any) -> None:
        self._shadows.append(Shadow(*resolve(self._policy, path), around))

    # What stands around the policy's methods.

    def _resetting(self, original: Any, args: Any, kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        self._guarded(self.restart)
        return result

    def _selecting(self, original: Any, args: Any, kwargs: Any) -> Any:
        call = _Call()
        self._local.selecting = call
        try:
            action = original(*args, **kwargs)
        finally:
            self._local.selecting = None
        self._guarded(self._selected, call, args, kwargs, action)
        return action

    def _deciding(self, original: Any, args: Any, kwargs: Any) -> Any:
        call = self._begun()
        result = original(*args, **kwargs)
        self._ended(call, args, kwargs, result)
        return result

    def _recording(self, path: str) -> Any:
        is_followed = path in _follows(self._class, self._options)

        def around(original: Any, args: Any, kwargs: Any) -> Any:
            result = original(*args, **kwargs)
            if not torch.compiler.is_compiling():
                recorded = getattr(self._local, "recorded", None)
                if recorded is not None:
                    recorded.setdefault(path, result)
                    if is_followed:
                        self._local.followed.setdefault(path, []).append(result)
            return result

        return around

    # What is done beside the policy; none of it is compiled with it.

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _begun(self) -> _Call:
        call = _Call()
        self._guarded(self._begin, call)
        return call

    def _begin(self, call: _Call) -> None:
        self._local.recorded, self._local.followed = {}, {}
        if not self._is_checked:
            call.random_state = RandomState(self._policy)

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _ended(self, call: _Call, args: Any, kwargs: Any, result: Any) -> None:
        recorded, self._local.recorded = getattr(self._local, "recorded", None), None
        # The policy may change in place what it got.
        followed, self._local.followed = getattr(self._local, "followed", {}), {}
        call.decided = Decided(args, kwargs, result.detach().clone(), recorded or {}, followed)
        selecting = getattr(self._local, "selecting", None)
        if selecting is not None:
            selecting.decided, selecting.random_state = call.decided, call.random_state
        else:
            self._guarded(self._finish, call, None)

    def _selected(self, call: _Call, args: Any, kwargs: Any, action: Any) -> None:
        if call.decided is not None:
            self._steps = 0
            self._finish(call, action)
            return
        self._steps += 1
        every = self._options.every
        if every is not None and self._steps % every == 0:
            self._look_between(args[0] if args else kwargs["batch"], action)

    def _finish(self, call: _Call, action: Any) -> None:
        decided = call.decided
        assert decided is not None
        if decided.result.shape[0] != 1:
            raise _SkippedError(
                f"the policy decided for {decided.result.shape[0]} observations at once: one "
                "robot is watched; nothing is published"
            )
        self._state_execution(action is not None)
        with torch.no_grad():
            encoding = self._class.encode(self._policy, decided)
            plan = self._class.plan(self._policy, decided, action)
            if action is not None:
                self._check_action(plan, action)
            if not self._is_checked and call.random_state is not None and plan.isfinite().all():
                self._check_sampling(decided, encoding, call.random_state)
                self._is_checked = True
            chunks = [plan]
            if self._options.samples > 1:
                others = self._sample(decided, encoding, self._options.samples - 1)
                chunks.append(others.to(plan.dtype))
            self._publish(encoding, torch.cat(chunks), decided)

    def _look_between(self, batch: Any, action: Any) -> None:
        decided = self._class.between(self._policy, batch)
        with torch.no_grad():
            encoding = self._class.encode(self._policy, decided)
            fresh = self._sample(decided, encoding, self._options.samples - 1)
            rest = [action, *self._class.queued(self._policy)]
            plan = torch.cat([torch.stack(rest, dim=1), fresh[:1, len(rest) :]], dim=1)
            self._publish(encoding, torch.cat([plan, fresh]), None)

    def _publish(self, encoding: Any, chunks: Any, executed: Decided | None) -> None:
        embedding = self._class.embedding(encoding)
        extras: dict[str, float] = {}
        tokens = None
        if executed is not None and executed.followed and isinstance(self._class, SignalledClass):
            known = self._class.extras(self._policy, executed)
            # Of a policy that fails there is none, and its chunks tell it.
            extras = {name: value for name, value in known.items() if math.isfinite(value)}
            tokens = self._class.tokens(self._policy, executed, encoding)
        decision = WatchedDecision(
            embedding=np.array(_float_array(embedding)),
            chunks=in_robot_units(self._postprocessor, chunks),
            is_executed=executed is not None,
            extras=extras,
            tokens=None if tokens is None else np.array(_float_array(tokens)),
        )
        self._options.on_decision(decision)

    def _sample(self, decided: Decided, encoding: Any, rows: int) -> Any:
        device = next(self._policy.parameters()).device
        generator = self._generators.get(device)
        if generator is None:
            generator = self._generators[device] = torch.Generator(device)
            if self._options.seed is None:
                generator.seed()
            else:
                generator.manual_seed(self._options.seed)
        return self._class.sample(self._policy, decided, encoding, rows, generator)

    def _check_action(self, plan: Any, action: Any) -> None:
        """Compare what the policy returned with what is published of it, at every decision."""
        if not torch.allclose(plan[:, 0], action, rtol=0, atol=1e-6, equal_nan=True):
            raise UnsupportedPolicyError(
                "the action that the policy returned is not the first of its chunk: something "
                "else changes its actions"
            )
        if self._policy.config.n_action_steps > 1 and depends_on_observation(self._postprocessor):
            raise UnsupportedPolicyError(
                "its actions are relative to the observation at which they are executed, not "
                "decided, since select_action empties a queue of them: run it with "
                "predict_action_chunk (real-time chunking does), or with n_action_steps=1"
            )

    def _check_sampling(self, decided: Decided, encoding: Any, random_state: Any) -> None:
        """Sample once more, with the random numbers that the policy had: the same must come."""
        if not self._class.has_noise:
            return
        chunk = self._class.chunk(self._policy, decided)
        with random_state.again():
            again = self._class.sample(self._policy, decided, encoding, 1, None)
        difference = float((again.float() - chunk.float()).abs().max())
        allowed = _tolerance(self._policy) * max(1.0, float(chunk.abs().max()))
        if not difference <= allowed:
            raise UnsupportedPolicyError(
                f"chunks sampled beside the policy differ by {difference:.3g} from its own for "
                "the same noise: it is not a policy as LeRobot has it, or of another version"
            )

    def _state_execution(self, is_selected: bool) -> None:
        """Describe how chunks are executed, which the caller of the policy decides."""
        execution, executed, guided = _execution(
            self._policy.config, self._options.every, is_selected
        )
        before = self.description
        if execution != before.execution:
            self.description = replace(
                before,
                execution=execution,
                executed_actions=executed,
                guided_actions=guided,
                dispersion_of=_dispersion_of(self._class, self._options, execution),
            )
            if self._options.every is not None and execution != "queue":
                LOGGER.warning("every=%s does nothing here: %s", self._options.every, NO_QUEUE)

    def _guarded(self, function: Callable[..., None], *args: Any) -> None:
        """Call what watches: whatever goes wrong in it is logged and never reaches the policy."""
        try:
            function(*args)
        except UnsupportedPolicyError as error:
            self.close()
            self._report_fault(f"the policy is no longer watched: {error}", always=True)
        except _SkippedError as error:
            self._report_fault(str(error))
        except Exception as error:
            self._report_fault(
                "watching the policy failed, this decision is not published "
                f"({type(error).__name__}: {error})",
                error,
            )

    def _report_fault(
        self, reason: str, error: BaseException | None = None, always: bool = False
    ) -> None:
        now = time.monotonic()
        if always or now >= self._next_log:
            self._next_log = now + SECONDS_BETWEEN_LOGS
            LOGGER.error("%s", reason, exc_info=error)
        try:
            self._options.on_fault(reason)
        except Exception:
            LOGGER.exception("telling that the policy is not watched failed")


class _SkippedError(Exception):
    """A decision that is not watched, for a reason that the user can read."""


def _check_unwatched(policy: Any, policy_class: PolicyClass) -> None:
    if is_shadowed(*resolve(policy, policy_class.decides)):
        raise UnsupportedPolicyError(
            "the policy is watched already: close the other watch first, or watch it once"
        )


def _checked_samples(samples: int | None, every: int | None, policy_class: PolicyClass) -> int:
    if every is not None and not _is_number(every, 1):
        raise UnsupportedPolicyError(f"every is {every}: give 1 control step or more")
    least = 1 if every is None else 2
    if samples is None:
        return max(policy_class.samples, least)
    if not _is_number(samples, least):
        raise UnsupportedPolicyError(
            f"samples is {samples}: give {least} or more, or leave it out"
        )
    if samples > least and not policy_class.has_noise:
        raise UnsupportedPolicyError(
            f"samples is {samples}, but a policy of the kind {policy_class.kind} draws no noise, "
            f"all samples would be equal: give {least}, or leave it out"
        )
    return samples


def _is_number(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _check_description(description: PolicyDescription) -> None:
    """Reject what nobody could read on `policy/format`, such as a control period of 0."""
    if reason := description.why_unreadable():
        raise UnsupportedPolicyError(f"what is given about the policy is impossible: {reason}")


def _checkpoint(policy: Any, given: Path | str | None) -> tuple[str, str]:
    """Return where the checkpoint of a policy lies, and its hash; nothing for what is unknown."""
    where = given or checkpoint_of(policy)
    folder = folder_of(where)
    if folder is not None:
        _check_kind(policy, checkpoint_folder(folder))
        return str(where), checkpoint_hash(folder)
    if where and given and str(given) != str(getattr(policy.config, "pretrained_path", None)):
        checkpoint_folder(given)
    return str(where), ""


def _check_kind(policy: Any, folder: Path) -> None:
    own = getattr(policy.config, "type", None)
    kind = kind_of(folder)
    if own is not None and own != kind:
        raise UnsupportedPolicyError(
            f"the checkpoint {folder} is of a policy of the type {kind}, this one is of the type "
            f"{own}: name the folder that this policy was loaded from"
        )


def _description(
    policy: Any,
    policy_class: PolicyClass,
    options: _Options,
    action_names: tuple[str, ...],
    action_kind: ActionKind | None,
    control_period: float | None,
) -> PolicyDescription:
    execution, executed, guided = _execution(policy.config, options.every, is_selected=True)
    return PolicyDescription(
        policy=policy_class.kind,
        action_names=action_names,
        action_kind=action_kind or _kind_by_names(policy.config, action_names),
        unit="robot",
        control_period=control_period,
        execution=execution,
        executed_actions=executed,
        guided_actions=guided,
        dispersion_of=_dispersion_of(policy_class, options, execution),
        extras=_extra_names(policy, policy_class, options),
    )


def _follows(policy_class: PolicyClass, options: _Options) -> Sequence[str]:
    """Return what is followed: nothing where decisions are also taken between the policy's.

    Those have no way from noise, and no decision of a rollout may lack what others have.
    """
    is_signalled = isinstance(policy_class, SignalledClass) and options.every is None
    return policy_class.follows if is_signalled else ()  # type: ignore[attr-defined]


def _extra_names(policy: Any, policy_class: PolicyClass, options: _Options) -> tuple[str, ...]:
    if not isinstance(policy_class, SignalledClass) or options.every is not None:
        return ()
    return tuple(policy_class.extra_names(policy))


def _float_array(tensor: Any) -> Any:
    return tensor.detach().to("cpu", torch.float32).numpy()


def _execution(
    config: Any, every: int | None, is_selected: bool
) -> tuple[Execution, int | None, int]:
    """Return how chunks are executed, how many actions of them, and how many are guided."""
    chunking = getattr(config, "rtc_config", None)
    if chunking is not None and chunking.enabled:
        return "real_time_chunking", None, chunking.execution_horizon
    if not is_selected:
        return "server", None, 0
    if getattr(config, "temporal_ensemble_coeff", None) is not None:
        return "ensemble", 1, 0
    return "queue", min(config.n_action_steps, every or config.n_action_steps), 0


def _dispersion_of(
    policy_class: PolicyClass, options: _Options, execution: Execution
) -> DispersionOf:
    if options.every is not None and execution == "queue":
        return "plan"
    return "noise" if policy_class.has_noise and options.samples > 1 else "nothing"


def _kind_by_names(config: Any, names: tuple[str, ...]) -> ActionKind | None:
    """Return what LeRobot's names state: `.pos` is an absolute position, unless made relative."""
    if getattr(config, "use_relative_actions", False):
        return None
    return "position" if names and all(name.endswith(".pos") for name in names) else None


def _tolerance(policy: Any) -> float:
    """How far samples may lie apart for the same noise, by the precision of the policy."""
    kinds = {parameter.dtype for parameter in policy.parameters()}
    is_coarse = {torch.float16, torch.bfloat16} & kinds or _is_autocast(policy)
    return 5e-2 if is_coarse else 1e-3


def _is_autocast(policy: Any) -> bool:
    kind = next(policy.parameters()).device.type
    try:
        return bool(torch.is_autocast_enabled(kind))
    except TypeError:  # torch before 2.4
        return bool(torch.is_autocast_enabled() or torch.is_autocast_cpu_enabled())
