# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Guards a LeRobot policy from within its own process, without ROS.

policy, postprocessor = ...                 # as LeRobot loads them
guard = guard_policy(policy, postprocessor, "my_bundle", action_names=[...])

It is the monitor of the ROS nodes without their gate: what it cannot survive is the process that
it runs in. Where a policy hangs or is killed, or another program commands the robot, it does
nothing. The gate does.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from failure_monitor.bundle.bundle import Bundle
from failure_monitor.bundle.folder import load
from failure_monitor.decision import Verdict
from failure_monitor.errors import FailureMonitorError, UsageError
from failure_monitor.monitoring.alarm import AlarmState, AlarmStatus
from failure_monitor.policies.action_names import action_names_of
from failure_monitor.policies.completed_description import KnownByProgram
from failure_monitor.policies.decision_alarm import DecisionAlarm
from failure_monitor.policies.hold_action import HoldAction, InexpressibleHoldError
from failure_monitor.policies.shadow import Original
from failure_monitor.policies.uncopied_shadow import UncopiedShadow
from failure_monitor.policies.unwrapped import unwrapped
from failure_monitor.policies.watch_policy import watch_policy
from failure_monitor.policies.watched_decision import WatchedDecision
from failure_monitor.policy_description import Execution, PolicyDescription

OnAlarm = Literal["hold", "raise"]
"""What a policy does while nothing is permitted: it holds the robot, or raises `PolicyHeldError`,
which ends the program that runs it unless that catches it."""

NOT_THE_GATE = (
    "the policy is guarded in its own process, which is not the gate: nothing stops the robot if "
    "this process hangs or dies, or if another program commands it"
)

UNSTATED = (
    "the bundle does not state which policy it is of, so it is unknown whether it is this one: "
    "record its rollouts with a tap of failure_monitor, and calibrate again"
)

_log = logging.getLogger("failure_monitor")


class PolicyHeldError(FailureMonitorError):
    """The policy is not permitted to act, and nothing holds the robot in its stead."""


def guard_policy(
    policy: Any,
    postprocessor: Any,
    bundle: Bundle | str | Path,
    *,
    action_names: Sequence[str] | str | Path = (),
    on_alarm: OnAlarm = "hold",
    task: str = "",
    every: int | None = None,
    control_period: float | None = None,
    checkpoint: str | Path | None = None,
    execution: Execution = "",
    on_change: Callable[[AlarmStatus], None] | None = None,
) -> PolicyGuard:
    """Guard a policy from its next decision on.

    Args:
        policy: the policy, as LeRobot loaded it.
        postprocessor: of the policy, the second of `make_pre_post_processors`.
        bundle: what `failure-monitor calibrate` wrote for this policy, or its folder.
        action_names: the names of the D actions, in order, or the folder of a LeRobotDataset that
            names them; default: those of the bundle.
        on_alarm: what the policy does while nothing is permitted, until it is reset.
        task: the task that is run; empty where the bundle needs no name.
        every: the number of control steps after which a decision is taken for watching, as when
            the bundle's rollouts were recorded; default: none is.
        control_period: seconds from one executed action to the next; default: the bundle's.
        checkpoint: the folder that the policy was loaded from; default: the one that its
            configuration names.
        execution: how chunks are executed, where that is not seen: `server`.
        on_change: called with every new state.

    Raises:
        UnsupportedPolicyError: the policy cannot be watched.
        UsageError: the bundle is of another policy, or needs ROS.
        InexpressibleHoldError: no action of the policy makes the robot hold.
        BundleError: the folder is no bundle.
    """
    if on_alarm not in ("hold", "raise"):
        raise UsageError(f"on_alarm is '{on_alarm}': choose hold or raise")
    loaded = bundle if isinstance(bundle, Bundle) else load(Path(bundle))
    policy = unwrapped(policy)
    names = action_names_of(policy, action_names or loaded.policy.action_names)
    if names != loaded.policy.action_names:
        raise UsageError(
            f"the policy's actions are {', '.join(names)}, the bundle's "
            f"{', '.join(loaded.policy.action_names)}: name the bundle of this policy"
        )
    return PolicyGuard(
        policy,
        postprocessor,
        loaded,
        hold=HoldAction(loaded.policy, postprocessor) if on_alarm == "hold" else None,
        task=task,
        every=every,
        control_period=control_period or loaded.policy.control_period,
        checkpoint=checkpoint,
        known=KnownByProgram(
            loaded.policy.action_kind, loaded.description.policy.position_names, execution
        ),
        on_change=on_change,
    )


class PolicyGuard:
    """A policy that answers with what holds the robot while nothing is permitted."""

    def __init__(
        self,
        policy: Any,
        postprocessor: Any,
        bundle: Bundle,
        *,
        hold: HoldAction | None,
        task: str,
        every: int | None,
        control_period: float | None,
        checkpoint: str | Path | None,
        known: KnownByProgram,
        on_change: Callable[[AlarmStatus], None] | None,
    ) -> None:
        """Guard a policy; see `guard_policy`."""
        self._hold = hold
        self._control_period = control_period
        self._bundle = bundle
        self._known = known
        self._on_change = on_change or (lambda status: None)
        self._alarm = DecisionAlarm(bundle, task)
        self._selecting = threading.local()
        self._last = _LastActions()
        self._shown: tuple[AlarmState, bool] | None = None
        if hold is not None:
            _check_first_decision(bundle, hold)
        self._watch = watch_policy(
            policy,
            postprocessor,
            samples=bundle.policy.samples,
            every=every,
            action_names=bundle.policy.action_names,
            control_period=control_period,
            checkpoint=checkpoint,
            on_decision=self._on_decision,
            on_fault=self._on_fault,
        )
        try:
            self._check_policy()
        except BaseException:
            self._watch.close()
            raise
        self._shadows = [
            UncopiedShadow(policy, name, method)
            for name, method in (
                ("reset", self._reset),
                ("select_action", self._select_action),
                ("predict_action_chunk", self._predict_action_chunk),
            )
        ]
        _log.warning("%s", NOT_THE_GATE)
        if bundle.description.stated_policy is None:
            _log.warning("%s", UNSTATED)

    @property
    def status(self) -> AlarmStatus:
        """The state at this moment."""
        return self._alarm.status(time.monotonic())

    @property
    def description(self) -> PolicyDescription:
        """What the policy states about itself."""
        return self._known.complete(self._watch.description)

    @property
    def verdict(self) -> Verdict | None:
        """The last verdict of this rollout."""
        return self._alarm.verdict

    def close(self) -> None:
        """Guard the policy no more: it is as it was. Done twice it changes nothing."""
        for shadow in reversed(self._shadows):
            shadow.take_away()
        self._watch.close()

    # What the policy's methods do now.

    def _reset(self, reset: Original, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        result = reset(*args, **kwargs)
        self._alarm.start_rollout(time.monotonic())
        # Whoever resets may have moved the robot since.
        self._last = _LastActions()
        return result

    def _select_action(
        self, select: Original, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        if self._permits_a_call():
            self._selecting.is_on = True
            try:
                action = select(*args, **kwargs)
            finally:
                self._selecting.is_on = False
            self._last.shape_of_action = action
            if self._report().permit:
                self._last.action, self._last.chunk = action.detach().clone(), None
                return action
        return self._held(self._last.shape_of_action)

    def _predict_action_chunk(
        self, predict: Original, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        if getattr(self._selecting, "is_on", False):
            return predict(*args, **kwargs)
        if self._permits_a_call():
            asked = time.monotonic()
            chunk = predict(*args, **kwargs)
            self._last.shape_of_chunk = chunk
            if self._report().permit:
                self._last.chunk, self._last.asked = chunk.detach().clone(), asked
                return chunk
        return self._held(self._last.shape_of_chunk)

    # What they rest on.

    def _permits_a_call(self) -> bool:
        """Return whether the policy may decide: before its first decision it must."""
        return not self._report().halted

    def _report(self) -> AlarmStatus:
        """Return the state, after telling what has changed."""
        status = self.status
        shown = (status.state, status.halted)
        if shown != self._shown:
            self._shown = shown
            level = logging.WARNING if status.halted else logging.INFO
            _log.log(level, "%s: %s", status.state.value, status.reason)
            try:
                self._on_change(status)
            except Exception:
                # It must not reach the program that moves the robot.
                _log.exception("on_change failed")
        return status

    def _held(self, like: Any) -> Any:
        """Return what holds the robot, in the shape of an action or a chunk.

        Raises:
            PolicyHeldError: nothing does.
        """
        reason = self.status.reason
        if self._hold is None or like is None:
            raise PolicyHeldError(f"the policy is not permitted to act: {reason}")
        last = self._last.executed(time.monotonic(), self._control_period)
        if last is None:
            if self._hold.needs_last:
                raise PolicyHeldError(
                    f"the policy is not permitted to act ({reason}), and what would hold the "
                    f"robot is not known: {self._last.why_unknown}"
                )
            last = like[:, 0] if like.ndim == 3 else like
        held = self._hold.after(last)
        # From now on the robot stands there, and no chunk is executed any more. The program may
        # change in place what it gets.
        self._last.action, self._last.chunk = held, None
        return (held[:, None].expand_as(like) if like.ndim == 3 else held).clone()

    def _check_policy(self) -> None:
        """Reject a policy that states another thing about itself than the bundle's did.

        Raises:
            UsageError: names what differs, or what is not known.
        """
        self._checked = self._watch.description
        stated = self._bundle.description.stated_policy
        if stated is None:
            return
        if differences := self.description.differences_text(stated):
            raise UsageError(
                f"the bundle is of another policy than this one ({differences}): name the bundle "
                "of this policy, or calibrate again"
            )
        if stated.checkpoint and not self.description.checkpoint:
            raise UsageError(
                "the bundle states its policy's checkpoint, and where this policy was loaded "
                "from is not known: give the folder as checkpoint"
            )

    def _on_decision(self, decision: WatchedDecision) -> None:
        if self._watch.description is not self._checked:
            # The first decision shows how chunks are executed.
            try:
                self._check_policy()
            except UsageError as error:
                self._on_fault(str(error))
                return
        self._alarm.decide(decision, time.time_ns(), time.monotonic())

    def _on_fault(self, reason: str) -> None:
        self._alarm.fail(f"a decision could not be watched: {reason}", time.monotonic())


class _LastActions:
    """What the policy has answered in this rollout, in its normalised space."""

    def __init__(self) -> None:
        self.action: Any = None
        """The last action that was let through, (1, D); None without one."""
        self.chunk: Any = None
        """The last chunk that was let through since, (1, H, D); None without one."""
        self.asked = 0.0
        """When the policy was asked for it."""
        self.shape_of_action: Any = None
        self.shape_of_chunk: Any = None

    @property
    def why_unknown(self) -> str:
        """Why the last executed action is unknown."""
        if self.chunk is None:
            return "it has executed no action in this rollout yet"
        return (
            "which action of the last chunk is being executed follows from control_period alone, "
            "which is not given"
        )

    def executed(self, now: float, control_period: float | None) -> Any:
        """Return the action that is being executed, (1, D); None if unknown."""
        if self.chunk is None:
            return self.action
        if control_period is None:
            return None
        step = int((now - self.asked) / control_period)
        return self.chunk[:, min(step, self.chunk.shape[1] - 1)]


def _check_first_decision(bundle: Bundle, hold: HoldAction) -> None:
    """Reject a rule without a verdict on the first decision, when there is nothing to hold yet."""
    late = [score.name for score in bundle.scores if score.first_defined > 0]
    undefined = late if bundle.rule == "all" else late if len(late) == len(bundle.scores) else []
    if undefined and hold.needs_last:
        raise InexpressibleHoldError(
            f"{', '.join(undefined)} have no value for the first decision of a rollout, and "
            "before that no action was executed with which to hold the robot: calibrate with "
            "scores that have one, or run failure_monitor's nodes, whose gate stops the robot"
        )
