# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A robot with cameras and joints whose exported policy the monitor runs itself."""

from __future__ import annotations

import array
import dataclasses
import time

import cv2
import pytest
from builtin_interfaces.msg import Time
from sensor_msgs.msg import CompressedImage, Image, JointState
from std_msgs.msg import Header

from failure_monitor.bundle.additions import with_models
from failure_monitor.bundle.folder import save
from failure_monitor.calibration.calibrate import calibrate
from failure_monitor.calibration.settings import CalibrationSettings
from failure_monitor.policy_models.models import ObservationEncoder, PolicySampler
from failure_monitor.policy_models.observation import Observation
from failure_monitor.policy_models.onnx_file import read_onnx_file
from failure_monitor.policy_models.replay import black_box_rollout
from testbed.exported_policy import ACTIONS, export_policy
from testbed.ros_graph import Observer
from testbed.scenes import JOINTS, scenes

MONITOR = "failure_monitor.ros.monitor.node"
SAMPLES, SEED = 8, 3
RATE = 20.0


@dataclasses.dataclass
class Exported:
    """The exported policy, bundles for it, and a rollout that it was not calibrated on.

    Of the bundles one does not hold the models, one holds both, one the encoder alone.
    """

    encoder: str
    sampler: str
    bundle: str
    whole_bundle: str
    half_bundle: str
    observations: list[Observation]
    decisions: list


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("policy")
    paths = export_policy(folder)
    encoder, sampler = (
        kind(read_onnx_file(path))
        for kind, path in zip((ObservationEncoder, PolicySampler), paths, strict=True)
    )

    def rollout(seed):
        made = black_box_rollout(
            scenes(seed), encoder, sampler, name=f"{seed}", samples=SAMPLES, seed=SEED
        )
        return dataclasses.replace(made, success=True, sha256=f"{seed:064x}")

    settings = CalibrationSettings(scores=("knn", "ace"), rule="any", window=2, folds=3, jobs=1)
    calibrated = calibrate(
        [rollout(seed) for seed in range(12)], sampler.policy_format(samples=SAMPLES), settings
    )
    how = {
        "cameras": {"wrist": "/wrist", "front": "/front"},
        "observation_rate": 15.0,
        "matching_tolerance": 0.04,
        "noise_seed": SEED,
    }
    bundles = [folder / name for name in ("bundle", "whole", "half")]
    whole = with_models(calibrated, encoder.file, sampler.file, **how)
    half = with_models(calibrated, encoder.file, None, **how)
    for bundle, path in zip((calibrated, whole, half), bundles, strict=True):
        save(bundle, path)
    return Exported(*map(str, (*paths, *bundles)), scenes(99), list(rollout(99).decisions()))


class Robot(Observer):
    """Has cameras, of which one compresses its images, and joints; can play the policy as well."""

    def __init__(
        self, exported: Exported, *, is_compressed: bool = False, wrist: str = ""
    ) -> None:
        super().__init__(ACTIONS)
        self.exported = exported
        self._message = CompressedImage if is_compressed else Image
        wrist = wrist or ("wrist/compressed" if is_compressed else "wrist")
        self._wrist = self.node.create_publisher(self._message, wrist, 10)
        self._front = self.node.create_publisher(Image, "front", 10)
        self._joints = self.node.create_publisher(JointState, "joint_states", 10)
        self.listen_to_monitor()
        self.changes: dict[str, dict] = {}
        self.silent: set[str] = set()

    def wait_until_seen(self) -> None:
        self.wait_for(
            lambda: all(
                publisher.get_subscription_count()
                for publisher in (self._wrist, self._front, self._joints)
            ),
            "the monitor to subscribe",
        )
        self.wait_for(self.state, "an alarm message")

    def header(self) -> Header:
        nanoseconds = time.time_ns()
        return Header(stamp=Time(sec=nanoseconds // 10**9, nanosec=nanoseconds % 10**9))

    def show(self, index: int, header: Header | None = None) -> None:
        """Publish what is seen at one of the rollout's decisions."""
        header = header or self.header()
        seen = self.exported.observations[index]
        if "joint_states" not in self.silent:
            self._joints.publish(self._joint_state(header, seen.joints))
        if "wrist" not in self.silent:
            self._wrist.publish(self._changed("wrist", self._image(header, seen.images["wrist"])))
        if "front" not in self.silent:
            front = image_message(header, seen.images["front"])
            self._front.publish(self._changed("front", front))

    def show_until(self, condition, what: str) -> None:
        """Show the robot several times a second until something is so."""
        last = 0.0

        def shown() -> bool:
            nonlocal last
            if time.monotonic() - last > 1 / RATE:
                last = time.monotonic()
                self.show(0)
            return condition()

        self.wait_for(shown, what)

    def expect(self, state: str, *reasons: str) -> None:
        self.show_until(
            lambda: (
                self.state() == state
                and all(reason in self.reason() for reason in reasons)
                and not self.permitted()
            ),
            f"{state} for {reasons}",
        )

    def recover(self) -> None:
        self.changes.clear()
        self.silent.clear()
        self.show_until(
            lambda: "cause is gone" in self.reason() or self.state() == "NOMINAL", "recovery"
        )
        if self.state() != "NOMINAL":
            self.trigger("/failure_monitor/reset")
        self.show_until(lambda: self.permitted() and self.state() == "NOMINAL", "NOMINAL")

    def _joint_state(self, header: Header, positions) -> JointState:
        # In another order than the model's, and with a joint that it does not know.
        message = JointState(
            header=header,
            name=["lamp", *reversed(JOINTS)],
            position=[0.0, *map(float, reversed(positions))],
        )
        return self._changed("joint_states", message)

    def _image(self, header: Header, image):
        if self._message is Image:
            return image_message(header, image)
        _, data = cv2.imencode(".png", image[..., ::-1])
        return CompressedImage(header=header, format="png", data=data.tobytes())

    def _changed(self, stream: str, message):
        for name, value in self.changes.get(stream, {}).items():
            setattr(message, name, value(message) if callable(value) else value)
        return message


def image_message(header: Header, image) -> Image:
    height, width, _ = image.shape
    data = array.array("B", image.tobytes())
    return Image(
        header=header, height=height, width=width, encoding="rgb8", step=3 * width, data=data
    )
