# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A policy that can be stopped by every stop action, and publishes how it was asked.

It runs as a process of its own. What it does with a request to pause is a parameter: 'obey',
'refuse', 'hang' for ever, or answer 'late'. It is a lifecycle node, and an action server as far
as cancelling goes.
"""

from typing import Any

from action_msgs.msg import GoalInfo
from action_msgs.srv import CancelGoal
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.task import Future
from std_msgs.msg import Bool, String
from std_srvs.srv import SetBool, Trigger

from failure_monitor.ros.common.qos import LATCHED_QOS
from failure_monitor.ros.common.run import run_node

DELAY = 1.5
"""Seconds after which it answers late."""


class StoppablePolicy(LifecycleNode):
    def __init__(self) -> None:
        super().__init__("policy")
        self._pausing = self.declare_parameter("pausing", "obey").value
        self._goals = self.declare_parameter("goals", 2).value
        self._asked: list[str] = []
        self._heard = self.create_publisher(String, "asked", LATCHED_QOS)
        # Of its own group: while it awaits, the node's other services are answered.
        self.create_service(
            SetBool, "~/pause", self._on_pause, callback_group=ReentrantCallbackGroup()
        )
        self.create_service(Trigger, "~/stop", self._on_stop)
        self.create_service(Trigger, "~/go", self._on_go)
        self.create_service(CancelGoal, "~/move/_action/cancel_goal", self._on_cancel)
        self.create_subscription(Bool, "lock", self._on_lock, 10)
        self._locked: bool | None = None
        self._tell("")
        self.trigger_configure()
        self.trigger_activate()
        self._asked.clear()

    def _tell(self, asked: str) -> None:
        self._asked.append(asked)
        self._heard.publish(String(data=" ".join(self._asked).strip()))

    async def _on_pause(self, request: SetBool.Request, response: SetBool.Response) -> Any:
        self._tell("pause" if request.data else "unpause")
        if self._pausing in ("hang", "late"):
            later = Future()
            if self._pausing == "late":
                timer = self.create_timer(DELAY, lambda: later.done() or later.set_result(None))
            await later
            self.destroy_timer(timer)
        response.success = self._pausing != "refuse"
        response.message = (
            "in the middle of something" if self._pausing == "refuse" else "as asked"
        )
        return response

    def _on_stop(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._tell("stop")
        response.success = True
        return response

    def _on_go(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._tell("go")
        response.success = True
        return response

    def _on_cancel(
        self, request: CancelGoal.Request, response: CancelGoal.Response
    ) -> CancelGoal.Response:
        everything = not any(request.goal_info.goal_id.uuid) and not request.goal_info.stamp.sec
        self._tell("cancel-all" if everything else "cancel-one")
        response.goals_canceling = [GoalInfo() for _ in range(self._goals)]
        return response

    def _on_lock(self, lock: Bool) -> None:
        if lock.data != self._locked:
            self._locked = lock.data
            self._tell("lock" if lock.data else "unlock")

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._tell("activate")
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._tell("deactivate")
        return super().on_deactivate(state)


if __name__ == "__main__":
    run_node(StoppablePolicy)
