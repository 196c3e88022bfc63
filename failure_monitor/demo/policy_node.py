# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The demo's policy as a ROS node: camera and joints in, commands and decisions out."""

from collections import deque
from pathlib import Path

import numpy as np
import numpy.typing as npt
from builtin_interfaces.msg import Time
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, JointState, PointCloud2
from std_msgs.msg import Bool, Float64, Float64MultiArray, Int32
from std_srvs.srv import SetBool

from failure_monitor.demo import jpeg
from failure_monitor.demo.execution import ChunkExecution
from failure_monitor.demo.parameters import PolicyParameters
from failure_monitor.demo.policy import MODELS, FlowPolicy
from failure_monitor.demo.qos import CAMERA_QOS, JOINT_QOS
from failure_monitor.demo.tasks import task_named
from failure_monitor.errors import FailureMonitorError
from failure_monitor.messages.point_cloud import PointCloudError, read_action_chunks
from failure_monitor.ros.common.messages import stamp_nanoseconds
from failure_monitor.ros.common.parameters import load_parameters
from failure_monitor.ros.common.qos import DECISION_QOS, LATCHED_QOS
from failure_monitor.ros.common.run import run_node
from failure_monitor.ros.common.time_guard import TimeGuard
from failure_monitor.ros.tap import DecisionTap

MONITOR = "failure_monitor"
"""The node whose steering may be obeyed."""

JOINT_MEMORY = 16
"""Joint states kept to find the one that belongs to a camera frame."""

GATE_OPEN = "failure_monitor_gate/open"
"""Whether the gate passes commands."""

GATE_PATIENCE = 2_000_000_000
"""Nanoseconds from the first decision for which its commands wait for the gate."""


class PolicyNode(Node):
    """Acts on camera frames while a rollout runs: the robot's camera sets the pace.

    Parameters choose which advice of the monitor it follows.
    """

    def __init__(self) -> None:
        super().__init__("policy")
        settings = load_parameters(self, PolicyParameters, has_no_others=True)
        self._executed_actions = settings.executed_actions
        folder = settings.models or MODELS / task_named(settings.task).name
        self._policy = FlowPolicy(Path(folder))
        self._rng = np.random.default_rng(settings.seed)
        self._execution: ChunkExecution | None = None
        self._first_stamp = 0
        self._decided_stamp = 0
        self._speed = 1.0
        self._paused = False
        self._gate_is_open = False
        self._has_begun = False
        self._joint_states: deque[JointState] = deque(maxlen=JOINT_MEMORY)
        self._warm_up()
        self._tap = DecisionTap(
            self,
            action_names=self._policy.action_names,
            frame_id="base",
            description=self._policy.describe(
                settings.executed_actions, states_checkpoint=settings.states_checkpoint
            ),
        )
        self._commands = self.create_publisher(Float64MultiArray, "policy/command", 10)
        self.create_service(SetBool, "~/pause", self._on_pause)
        self.create_subscription(Bool, GATE_OPEN, self._on_gate, LATCHED_QOS)
        self.create_subscription(JointState, "joint_states", self._on_joints, JOINT_QOS)
        self.create_subscription(
            CompressedImage, "camera/image_raw/compressed", self._on_image, CAMERA_QOS
        )
        self.create_subscription(Bool, "rollout/active", self._on_rollout, LATCHED_QOS)
        self._listen_to_monitor(settings)
        TimeGuard(self)

    def _listen_to_monitor(self, settings: PolicyParameters) -> None:
        if settings.obey_speed_scale:
            # Fail closed: nothing moves before a speed scale has come.
            self._speed = 0.0
            self.create_subscription(
                Float64, f"{MONITOR}/speed_scale", self._on_speed_scale, LATCHED_QOS
            )
        if settings.obey_trusted_horizon:
            self.create_subscription(
                Int32, f"{MONITOR}/trusted_horizon", self._on_trusted_horizon, DECISION_QOS
            )
        if settings.obey_chosen_chunk:
            self.create_subscription(
                PointCloud2, f"{MONITOR}/chosen_chunk", self._on_chosen_chunk, DECISION_QOS
            )

    def _warm_up(self) -> None:
        # The first run of an ONNX model allocates: not while the arm waits for it.
        size = self._policy.image_size
        embedding = self._policy.embed(
            np.zeros((size, size, 3), dtype=np.uint8),
            np.zeros(len(self._policy.joint_names), dtype=np.float32),
        )
        self._policy.sample(embedding, np.random.default_rng(0))

    def _start_execution(self) -> ChunkExecution:
        self._has_begun = False
        return ChunkExecution(self._policy, self._rng, executed_actions=self._executed_actions)

    def _on_rollout(self, message: Bool) -> None:
        self._execution = self._start_execution() if message.data else None
        # Frames from before belong to the scene as it was before the rollout.
        self._first_stamp = self.get_clock().now().nanoseconds

    def _on_pause(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        self._paused = request.data
        if self._execution is not None:
            # What the old chunk was made for is past when the policy goes on.
            self._execution = self._start_execution()
        response.success = True
        response.message = "paused" if self._paused else "running"
        self.get_logger().info(response.message)
        return response

    def _on_speed_scale(self, message: Float64) -> None:
        # Whatever is no number from 0 to 1 stands still.
        self._speed = message.data if 0.0 <= message.data <= 1.0 else 0.0

    def _on_trusted_horizon(self, message: Int32) -> None:
        if self._execution is not None:
            self._execution.trust(message.data)

    def _on_chosen_chunk(self, message: PointCloud2) -> None:
        # One that comes too late was chosen among the samples of an earlier decision.
        if (
            self._execution is None
            or stamp_nanoseconds(message.header.stamp) != self._decided_stamp
        ):
            return
        try:
            names, chunks = read_action_chunks(message)
        except PointCloudError as error:
            self.get_logger().error(str(error), throttle_duration_sec=1.0)
            return
        if names == self._policy.action_names and chunks.shape[:2] == (1, self._policy.horizon):
            self._execution.choose(chunks[0])

    def _on_gate(self, message: Bool) -> None:
        self._gate_is_open = message.data

    def _on_joints(self, message: JointState) -> None:
        self._joint_states.append(message)

    def _on_image(self, message: CompressedImage) -> None:
        stamp = message.header.stamp
        if self._execution is None or self._paused or stamp_nanoseconds(stamp) < self._first_stamp:
            return
        try:
            image, joints = jpeg.decode(bytes(message.data)), self._joints_at(stamp)
        except FailureMonitorError as error:
            self.get_logger().error(str(error), throttle_duration_sec=1.0)
            return
        # The command first: it must not wait for the inference.
        action = self._execution.act(self._speed)
        if action is not None:
            if not self._may_begin(stamp_nanoseconds(stamp)):
                return
            self._commands.publish(Float64MultiArray(data=action.tolist()))
        decision = self._execution.observe(image, joints)
        if decision is not None:
            self._decided_stamp = stamp_nanoseconds(stamp)
            self._tap.publish(decision.embedding, decision.chunks, stamp)

    def _may_begin(self, stamp: int) -> bool:
        """Return whether the first command may go out: the gate opens with the first decision."""
        if self._gate_is_open or not self.count_publishers(GATE_OPEN):
            self._has_begun = True
        elif not self._has_begun and stamp - self._decided_stamp > GATE_PATIENCE:
            self._has_begun = True
            self.get_logger().warning(
                f"commands although the gate has not opened within {GATE_PATIENCE / 1e9:g} s of "
                "the first decision, and they are lost: see failure_monitor_gate/state"
            )
        return self._has_begun

    def _joints_at(self, stamp: Time) -> npt.NDArray[np.float32]:
        """Joint positions (J,) of the joint state nearest to the stamp."""
        if not self._joint_states:
            raise FailureMonitorError(
                "the policy sees the camera but no joint states: check that "
                f"'{self.resolve_topic_name('joint_states')}' is published"
            )
        wanted = stamp_nanoseconds(stamp)
        nearest = min(
            self._joint_states,
            key=lambda state: abs(stamp_nanoseconds(state.header.stamp) - wanted),
        )
        positions = dict(zip(nearest.name, nearest.position, strict=True))
        missing = [name for name in self._policy.joint_names if name not in positions]
        if missing:
            raise FailureMonitorError(
                f"joint states lack {', '.join(missing)}: the policy was trained on another arm"
            )
        return np.array([positions[name] for name in self._policy.joint_names], np.float32)


def main() -> None:
    """Run the node."""
    run_node(PolicyNode)


if __name__ == "__main__":
    main()
