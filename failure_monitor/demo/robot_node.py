# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The simulated robot as a ROS node: camera and joints out, commands in, rollouts on request."""

import array
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from builtin_interfaces.msg import Time
from rcl_interfaces.msg import SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.timer import Timer
from sensor_msgs.msg import CompressedImage, JointState
from std_msgs.msg import Bool, Float64MultiArray, Header, String
from std_srvs.srv import Trigger

from failure_monitor.demo import jpeg
from failure_monitor.demo.claimer import Claimer
from failure_monitor.demo.command_hold import CommandHold
from failure_monitor.demo.parameters import RobotParameters
from failure_monitor.demo.perturbation import Perturbation
from failure_monitor.demo.qos import CAMERA_QOS, JOINT_QOS
from failure_monitor.demo.simulation import Simulation
from failure_monitor.demo.tasks import CONTROL_PERIOD, FRAME_STEPS, task_named
from failure_monitor.errors import FailureMonitorError
from failure_monitor.parameters.parameter import names_of
from failure_monitor.ros.common.parameters import declare_parameters, read_parameters
from failure_monitor.ros.common.qos import LATCHED_QOS
from failure_monitor.ros.common.run import run_node
from failure_monitor.ros.common.time_guard import TimeGuard
from failure_monitor.ros.common.unknown_parameters import reject_unknown_parameters

CAMERA_FRAME = "camera"
ROBOT_FRAME = "base"
PARAMETERS = names_of(RobotParameters)


@dataclass(frozen=True)
class RequestedRollout:
    """The rollout that the parameters describe."""

    task: str
    seed: int
    perturbation: Perturbation
    real_time_factor: float
    time_limit: float
    claims: bool

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise FailureMonitorError(f"the seed is {self.seed}: it must not be negative")
        task_named(self.task)


class RobotNode(Node):
    """Steps the simulation on a timer and runs one rollout at a time."""

    def __init__(self) -> None:
        super().__init__("robot")
        declare_parameters(self, RobotParameters)
        reject_unknown_parameters(self)
        self._plan = self._plan_of({})
        self._simulation = Simulation(self._plan.task)
        self._hold = CommandHold()
        self._claimer: Claimer | None = None
        self._claimed = False
        self._active = False
        self._is_put_off = False
        self._announced = "none"
        self._steps_to_frame = FRAME_STEPS
        self._images = self.create_publisher(
            CompressedImage, "camera/image_raw/compressed", CAMERA_QOS
        )
        self._joints = self.create_publisher(JointState, "joint_states", JOINT_QOS)
        self._active_states = self.create_publisher(Bool, "rollout/active", LATCHED_QOS)
        self._outcomes = self.create_publisher(Bool, "rollout/success", LATCHED_QOS)
        self._truths = self.create_publisher(Bool, "rollout/truth", LATCHED_QOS)
        self._perturbations = self.create_publisher(String, "perturbation/active", LATCHED_QOS)
        self.create_subscription(Float64MultiArray, "command", self._on_command, 10)
        self.create_service(Trigger, "~/start", self._on_start)
        self.create_service(Trigger, "~/stop", self._on_stop)
        self.add_on_set_parameters_callback(self._on_parameters)
        TimeGuard(self)
        self._clock_tick = self._start_clock()
        self._active_states.publish(Bool(data=False))
        self._announce_perturbation("none")

    def _plan_of(self, changes: dict[str, Any]) -> RequestedRollout:
        settings = replace(read_parameters(self, RobotParameters), **changes)
        return RequestedRollout(
            task=settings.task,
            seed=settings.seed,
            perturbation=Perturbation(settings.perturbation, settings.strength, settings.onset),
            real_time_factor=settings.real_time_factor,
            time_limit=settings.time_limit or task_named(settings.task).time_limit,
            claims=settings.claims,
        )

    def _on_parameters(self, parameters: Sequence[Parameter]) -> SetParametersResult:
        if self._active:
            return SetParametersResult(
                successful=False,
                reason="a rollout is running: wait for its end or call ~/stop, then set again",
            )
        try:
            self._plan_of(
                {
                    parameter.name: parameter.value
                    for parameter in parameters
                    if parameter.name in PARAMETERS
                }
            )
        except FailureMonitorError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    def _on_start(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        if self._active:
            response.message = "a rollout is running already: wait for its end or call ~/stop"
            return response
        self._begin_rollout()
        response.success = True
        response.message = f"{self._plan}"
        return response

    def _on_stop(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        if not self._active:
            response.message = "no rollout is running: call ~/start to begin one"
            return response
        self._end_rollout()
        response.success = True
        return response

    def _on_command(self, message: Float64MultiArray) -> None:
        if not self._active:
            return
        try:
            self._hold.receive(message.data)
        except FailureMonitorError as error:
            self.get_logger().error(str(error), throttle_duration_sec=1.0)
            return
        if self._is_put_off:
            self._step()

    def _begin_rollout(self) -> None:
        self._plan = self._plan_of({})
        if self._plan.task != self._simulation.task.name:
            self._simulation.close()
            self._simulation = Simulation(self._plan.task)
        self._simulation.reset(self._plan.seed, self._plan.perturbation)
        self._hold, self._is_put_off = CommandHold(), False
        plan, task = self._plan, self._simulation.task
        self._claimer = Claimer(task, plan.perturbation) if plan.claims else None
        self._claimed = False
        self._steps_to_frame = FRAME_STEPS
        self._restart_clock()
        self._active = True
        self._announce_perturbation("none")
        self._active_states.publish(Bool(data=True))
        self.get_logger().info(f"rollout begins: {self._plan}")

    def _end_rollout(self) -> None:
        self._active = False
        self._hold.drop()
        success = self._simulation.success
        if self._claimer is not None:
            success = self._simulation.is_done
        self._truths.publish(Bool(data=success))
        self._outcomes.publish(Bool(data=success if self._claimer is None else self._claimed))
        self._active_states.publish(Bool(data=False))
        outcome = "success" if success else "failure"
        if self._claimed is not success and self._claimer is not None:
            outcome += f", {'success' if self._claimed else 'failure'} is claimed"
        self.get_logger().info(f"rollout ends: {outcome} after {self._simulation.time:.2f} s")

    def _restart_clock(self) -> None:
        self.destroy_timer(self._clock_tick)
        self._clock_tick = self._start_clock()

    def _start_clock(self) -> Timer:
        # A timer that falls behind skips ticks: a slow machine slows the simulation, nothing else.
        return self.create_timer(CONTROL_PERIOD / self._plan.real_time_factor, self._on_tick)

    def _on_tick(self) -> None:
        self._is_put_off = self._hold.put_off()
        if not self._is_put_off:
            self._step()

    def _step(self) -> None:
        self._is_put_off = False
        action = self._hold.next_action()
        self._simulation.step(action)
        if self._active and self._claimer is not None:
            self._claimed = self._claimer.claims(self._simulation.hand_position, action)
        now = self.get_clock().now().to_msg()
        self._publish_joints(now)
        self._steps_to_frame -= 1
        if self._steps_to_frame == 0:
            self._steps_to_frame = FRAME_STEPS
            self._publish_image(now)
            if self._active:
                self._hold.expect()
        if self._active:
            self._follow_rollout()

    def _follow_rollout(self) -> None:
        if self._simulation.perturbed and self._announced == "none":
            self._announce_perturbation(self._plan.perturbation.kind)
        ended = self._simulation.success if self._claimer is None else self._claimed
        if ended or self._simulation.time >= self._plan.time_limit:
            self._end_rollout()

    def _announce_perturbation(self, kind: str) -> None:
        self._announced = kind
        self._perturbations.publish(String(data=kind))

    def _publish_joints(self, stamp: Time) -> None:
        self._joints.publish(
            JointState(
                header=Header(stamp=stamp, frame_id=ROBOT_FRAME),
                name=self._simulation.joint_names,
                position=self._simulation.joint_positions.tolist(),
                velocity=self._simulation.joint_velocities.tolist(),
            )
        )

    def _publish_image(self, stamp: Time) -> None:
        self._images.publish(
            CompressedImage(
                header=Header(stamp=stamp, frame_id=CAMERA_FRAME),
                format="jpeg",
                # array.array is taken as it is; rclpy would check bytes value by value.
                data=array.array("B", jpeg.encode(self._simulation.render())),
            )
        )

    def destroy_node(self) -> None:
        """Free the renderer, then end."""
        self._simulation.close()
        super().destroy_node()


def main() -> None:
    """Run the node."""
    run_node(RobotNode)


if __name__ == "__main__":
    main()
