# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A robot that is seen 20 times a second by what decides, by the words on `policy/script`.

nominal      the scenes that the bundle was calibrated on
dark         black pictures
no_front     nothing of the camera 'front'
no_joints    no joint states
nan_joints   joint states with a NaN
cut_front    pictures of the camera 'front' without their last row
"""

from itertools import cycle

import numpy as np
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Header, String

from failure_monitor.ros.common.run import run_node
from testbed.scenes import CAMERAS, JOINTS, scenes

PERIOD = 0.05


class ScriptedRobot(Node):
    """Publishes what its cameras and joints would."""

    def __init__(self) -> None:
        super().__init__("robot")
        self._scenes = cycle(scenes(0))
        self._script = {"nominal"}
        self._cameras = {name: self.create_publisher(Image, name, 10) for name in CAMERAS}
        self._joints = self.create_publisher(JointState, "joint_states", 10)
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.create_subscription(String, "policy/script", self._on_script, latched)
        self.create_timer(PERIOD, self._act, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def _on_script(self, script: String) -> None:
        self._script = set(script.data.split())

    def _act(self) -> None:
        scene = next(self._scenes)
        header = Header(stamp=self.get_clock().now().to_msg())
        joints = np.array(scene.joints, dtype=float)
        if "nan_joints" in self._script:
            joints[1] = np.nan
        if "no_joints" not in self._script:
            self._joints.publish(JointState(header=header, name=JOINTS, position=joints.tolist()))
        for name, publisher in self._cameras.items():
            if name != "front" or "no_front" not in self._script:
                publisher.publish(self._picture(name, scene.images[name], header))

    def _picture(self, camera: str, pixels: np.ndarray, header: Header) -> Image:
        if "dark" in self._script:
            pixels = np.zeros_like(pixels)
        height, width, _ = pixels.shape
        data = pixels.tobytes()
        if camera == "front" and "cut_front" in self._script:
            data = pixels[:-1].tobytes()
        return Image(
            header=header, height=height, width=width, step=3 * width, encoding="rgb8", data=data
        )


if __name__ == "__main__":
    run_node(ScriptedRobot)
