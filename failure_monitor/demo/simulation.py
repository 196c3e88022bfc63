# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A Meta-World arm in MuJoCo: actions in, images and joint states out.

One simulation renders at a time in a process: OSMesa has no two contexts side by side, so close
a simulation before making another.
"""

import os
import weakref

import mujoco
import numpy as np
import numpy.typing as npt
from metaworld.env_dict import ALL_V3_ENVIRONMENTS

from failure_monitor.demo.effects import Effect, effect_of
from failure_monitor.demo.perturbation import UNDISTURBED, Perturbation
from failure_monitor.demo.tasks import CONTROL_PERIOD, task_named
from failure_monitor.errors import FailureMonitorError

_ARM_JOINTS = (*(f"right_j{i}" for i in range(7)), "r_close", "l_close")

# What effects may change in the model; restored at every reset.
_MODEL_ARRAYS = (
    "body_pos",
    "body_mass",
    "geom_friction",
    "dof_damping",
    "jnt_stiffness",
    "light_ambient",
    "light_diffuse",
    "light_specular",
)
_HEADLIGHT = ("ambient", "diffuse", "specular")


class _Renderer(mujoco.Renderer):  # type: ignore[misc]
    """A renderer that can be freed if a signal interrupts its constructor."""

    _gl_context = None
    _mjr_context = None


class Simulation:
    """One task, stepped by hand and rendered off screen."""

    def __init__(self, task: str, *, image_size: int = 96) -> None:
        self.task = task_named(task)
        self._env = ALL_V3_ENVIRONMENTS[task]()
        self._env.max_path_length = np.iinfo(np.int64).max
        self._env._set_task_called = True
        self.model = self._env.model
        self.data = self._env.data
        self._pristine = self._copy_model()
        self._no_effect = Effect(0.0, np.random.default_rng(0))
        self._joints = [self.model.joint(name) for name in _ARM_JOINTS]
        self._open_renderer(image_size)
        self.camera = mujoco.MjvCamera()
        self.reset(0)

    @property
    def joint_names(self) -> tuple[str, ...]:
        """Names of the arm's joints and fingers, in the order of the positions."""
        return _ARM_JOINTS

    @property
    def joint_positions(self) -> npt.NDArray[np.float64]:
        """Joint positions (9,), radians; the two fingers metres."""
        return np.array([self.data.qpos[joint.qposadr[0]] for joint in self._joints])

    @property
    def joint_velocities(self) -> npt.NDArray[np.float64]:
        """Joint velocities (9,), radians per second; the two fingers metres per second."""
        return np.array([self.data.qvel[joint.dofadr[0]] for joint in self._joints])

    @property
    def object_position(self) -> npt.NDArray[np.float64]:
        """World position (3,) of the object's body, metres."""
        return self.model.body(self.task.object_body).pos.copy()

    @property
    def hand_position(self) -> npt.NDArray[np.float64]:
        """World position (3,) of the hand, metres, as the arm's joints tell it."""
        return np.array(self.data.body("hand").xpos)

    @property
    def object_travel(self) -> float:
        """How far the object's joint has moved since the reset, metres."""
        return abs(float(self.data.joint(self.task.object_joint).qpos[0]))

    @property
    def time(self) -> float:
        """Simulated seconds since the reset."""
        return self._steps * CONTROL_PERIOD

    @property
    def success(self) -> bool:
        """Whether the task has succeeded since the reset."""
        return self._success

    @property
    def is_done(self) -> bool:
        """Whether the task is done now, which an object that went back undoes."""
        return self._is_done

    @property
    def perturbed(self) -> bool:
        """Whether the perturbation has begun."""
        return self._perturbed

    @property
    def expert_observation(self) -> npt.NDArray[np.float64]:
        """Meta-World's state vector (39,), which its scripted experts read."""
        return self._observation

    def reset(self, seed: int, perturbation: Perturbation = UNDISTURBED) -> None:
        """Start over: the object's position and every random choice follow from `seed`."""
        self._restore_model()
        self._aim_camera()
        self._perturbation = perturbation
        # Two streams, so that a perturbed rollout has the same scene as its undisturbed twin.
        scene_rng, effect_rng = (np.random.default_rng([seed, stream]) for stream in (0, 1))
        self._effect = effect_of(perturbation, effect_rng)
        self._place_object(scene_rng)
        self._observation, _ = self._env.reset()
        mujoco.mj_forward(self.model, self.data)
        self._steps = 0
        self._success = self._is_done = False
        self._perturbed = False
        self._begin_perturbation_when_due()

    def step(self, action: npt.ArrayLike) -> None:
        """Execute `action` (4,): dx, dy, dz, gripper in [-1, 1], for one control step."""
        wanted = np.asarray(action, dtype=np.float64)
        executed = np.clip(self._active_effect.action(wanted), -1.0, 1.0)
        self._observation, _, _, _, info = self._env.step(executed)
        self._is_done = bool(info["success"]) and self._effect.is_right_object
        self._success = self._success or self._is_done
        self._steps += 1
        self._active_effect.follow(self)
        self._begin_perturbation_when_due()

    def render(self) -> npt.NDArray[np.uint8]:
        """Take an image (height, width, 3), RGB."""
        self._renderer.update_scene(self.data, self.camera, self._options)
        for flag in (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION):
            self._renderer.scene.flags[flag] = 0
        self._active_effect.draw(self._renderer.scene, self)
        return self._active_effect.image(self._renderer.render())

    def move_object(self, offset: npt.NDArray[np.float64]) -> None:
        """Move the object and its goal by `offset` (3,), metres."""
        self.model.body(self.task.object_body).pos += offset
        self._env._target_pos = self._env._target_pos + offset
        mujoco.mj_forward(self.model, self.data)

    def close(self) -> None:
        """Free the renderer."""
        self._free_renderer()

    @property
    def _active_effect(self) -> Effect:
        return self._effect if self._perturbed else self._no_effect

    def _begin_perturbation_when_due(self) -> None:
        due = self._perturbation.kind != "none" and self.time >= self._perturbation.onset
        if due and not self._perturbed:
            self._perturbed = True
            self._effect.begin(self)

    def _place_object(self, rng: np.random.Generator) -> None:
        space = self._env._random_reset_space
        drawn = rng.uniform(space.low, space.high)
        self._env._freeze_rand_vec = True
        self._env._last_rand_vec = self._effect.object_position(
            drawn, space.low, space.high, self.task
        )

    def _aim_camera(self) -> None:
        self.camera.lookat[:] = self.task.camera_lookat
        self.camera.distance = self.task.camera_distance
        self.camera.azimuth = self.task.camera_azimuth
        self.camera.elevation = self.task.camera_elevation

    def _open_renderer(self, image_size: int) -> None:
        if "MUJOCO_GL" not in os.environ:
            raise FailureMonitorError(
                "the simulated robot renders with libOSMesa or libEGL and found neither: "
                "install one of them (Debian, Ubuntu: apt-get install libosmesa6 libegl1)"
            )
        # Shadows, reflections and multisampling cost ten times the rest of a software rendering.
        self.model.vis.quality.offsamples = 0
        self._options = mujoco.MjvOption()
        # The goal is drawn as a site: a camera on a real robot would not see it.
        self._options.sitegroup[:] = 0
        self._renderer = _Renderer(self.model, image_size, image_size)
        # Also called when the process ends, while OpenGL is still there.
        self._free_renderer = weakref.finalize(self, self._renderer.close)

    def _copy_model(self) -> dict[str, npt.NDArray[np.float64]]:
        arrays = {name: getattr(self.model, name).copy() for name in _MODEL_ARRAYS}
        headlight = self.model.vis.headlight
        return arrays | {name: getattr(headlight, name).copy() for name in _HEADLIGHT}

    def _restore_model(self) -> None:
        for name in _MODEL_ARRAYS:
            getattr(self.model, name)[:] = self._pristine[name]
        for name in _HEADLIGHT:
            getattr(self.model.vis.headlight, name)[:] = self._pristine[name]
