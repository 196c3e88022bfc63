# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What each kind of perturbation does to the simulated scene, to its images, to the actions."""

from typing import Any, Protocol

import mujoco
import numpy as np
import numpy.typing as npt

from failure_monitor.demo.perturbation import Perturbation
from failure_monitor.demo.tasks import Task

_APPEARANCE = (
    *("type", "dataid", "objtype", "objid", "category", "matid", "texcoord", "segid", "size"),
    *("mat", "rgba", "emission", "specular", "shininess", "reflectance", "label", "camdist"),
    *("modelrbound", "transparent"),
)
"""All that MuJoCo draws a geometry by, beside its place."""

Image = npt.NDArray[np.uint8]
Vector = npt.NDArray[np.float64]


class Scene(Protocol):
    """The part of the simulation that an effect may change."""

    model: Any
    camera: mujoco.MjvCamera
    task: Task

    def move_object(self, offset: Vector) -> None:
        """Move the object and its goal by `offset` (3,), metres."""

    @property
    def object_travel(self) -> float:
        """How far the object's joint has moved since the reset, metres."""


class Effect:
    """A perturbation at work: does nothing unless a kind overrides it."""

    is_right_object = True
    """Whether the object that can be moved is the one of the task."""

    def __init__(self, strength: float, rng: np.random.Generator) -> None:
        self.strength = strength
        self.rng = rng

    def object_position(self, drawn: Vector, low: Vector, high: Vector, task: Task) -> Vector:
        """Return where the object starts (3,), given where training would put it, in metres."""
        return drawn

    def begin(self, scene: Scene) -> None:
        """Change the scene, once, at the onset."""

    def follow(self, scene: Scene) -> None:
        """Change the scene after a control step."""

    def draw(self, picture: mujoco.MjvScene, scene: Scene) -> None:
        """Add to what the camera sees."""

    def action(self, action: Vector) -> Vector:
        """Return what the arm executes instead of `action` (4,)."""
        return action

    def image(self, image: Image) -> Image:
        """Return what the camera delivers instead of `image` (height, width, 3)."""
        return image

    def _sign(self) -> float:
        return float(self.rng.choice((-1.0, 1.0)))


class ObjectRange(Effect):
    """The object starts up to `strength` x 0.3 m beyond one side of the training range."""

    reach = 0.3

    def object_position(self, drawn: Vector, low: Vector, high: Vector, task: Task) -> Vector:
        """Put the object beyond the left or the right edge, at random."""
        side = self._sign()
        edge = high[0] if side > 0 else low[0]
        beyond = self.reach * self.strength * self.rng.uniform(0.8, 1.0)
        return np.array([edge + side * beyond, drawn[1], drawn[2]])


class Displacement(Effect):
    """The object jumps `strength` x 0.35 m sideways, away from the middle of the table."""

    distance = 0.35

    def begin(self, scene: Scene) -> None:
        """Move the object and its goal."""
        side = np.sign(scene.model.body(scene.task.object_body).pos[0]) or 1.0
        scene.move_object(np.array([side * self.distance * self.strength, 0.0, 0.0]))


class Camera(Effect):
    """The camera swings `strength` x 40 degrees sideways and `strength` x 8 degrees up."""

    azimuth = 40.0
    elevation = -8.0

    def begin(self, scene: Scene) -> None:
        """Turn the camera about the point at its centre."""
        scene.camera.azimuth += self._sign() * self.azimuth * self.strength
        scene.camera.elevation += self.elevation * self.strength


class Light(Effect):
    """Light falls to exp(-0.75 x `strength`); red faster, to the power 4/3, blue slower, 2/3."""

    fading = np.array([1.0, 0.75, 0.5])

    def begin(self, scene: Scene) -> None:
        """Dim every light of the scene."""
        gain = np.exp(-self.fading * self.strength)
        headlight = scene.model.vis.headlight
        for light in (headlight.ambient, headlight.diffuse, headlight.specular):
            light *= gain
        for lights in ("light_ambient", "light_diffuse", "light_specular"):
            getattr(scene.model, lights)[:] *= gain


class Occlusion(Effect):
    """A dark square with sides of `strength` x 0.4 of the image covers the scene's middle."""

    side = 0.4
    colour = (40, 40, 45)

    def __init__(self, strength: float, rng: np.random.Generator) -> None:
        super().__init__(strength, rng)
        self.centre = rng.uniform(0.4, 0.6, size=2)

    def image(self, image: Image) -> Image:
        """Cover the square."""
        size = np.array(image.shape[:2])
        half = self.side * self.strength * size / 2
        low = np.clip(self.centre * size - half, 0, size).astype(int)
        high = np.clip(self.centre * size + half, 0, size).astype(int)
        covered = image.copy()
        covered[low[0] : high[0], low[1] : high[1]] = self.colour
        return covered


class Dynamics(Effect):
    """The object's joint resists, the object gets heavier, contacts get slippery.

    The joint gains `strength` x the task's `stiff_damping`, the mass is multiplied by
    1 + 9 x `strength`, contact friction by exp(-3 x `strength`).
    """

    mass = 9.0
    slip = 3.0

    def begin(self, scene: Scene) -> None:
        """Change the physics."""
        model = scene.model
        joint = model.joint(scene.task.object_joint)
        model.body_mass[joint.bodyid] *= 1.0 + self.mass * self.strength
        model.geom_friction[:] *= np.exp(-self.slip * self.strength)
        model.dof_damping[joint.dofadr] += scene.task.stiff_damping * self.strength


class Actuation(Effect):
    """The arm executes the action plus a constant and a fresh random part of the velocity.

    The constant has length `strength` x 0.4 in a random direction, the random part a standard
    deviation of `strength` x 0.4 per axis, both in units of the action.
    """

    bias = 0.4
    noise = 0.4

    def __init__(self, strength: float, rng: np.random.Generator) -> None:
        super().__init__(strength, rng)
        direction = rng.normal(size=3)
        self.offset = self.bias * strength * direction / np.linalg.norm(direction)

    def action(self, action: Vector) -> Vector:
        """Add the constant and the noise."""
        executed = action.copy()
        executed[:3] += self.offset + self.noise * self.strength * self.rng.normal(size=3)
        return executed


class Nearer(Effect):
    """The object stands `strength` x 0.035 m further along the hand's way.

    Where the hand usually is in the end, a button is pressed, or a drawer is pulled, less far.
    """

    distance = 0.035

    def object_position(self, drawn: Vector, low: Vector, high: Vector, task: Task) -> Vector:
        """Shift the object."""
        return drawn + self.distance * self.strength * np.array(task.way)


class Jam(Effect):
    """The object jams before the last `strength` x half of its travel.

    Its joint then resists by the task's `stiff_damping`: no stop is hard enough for the arm.
    """

    missing = 0.5

    def __init__(self, strength: float, rng: np.random.Generator) -> None:
        super().__init__(strength, rng)
        self.is_jammed = False

    def follow(self, scene: Scene) -> None:
        """Let it jam, once."""
        moved = scene.object_travel / scene.task.travel
        if self.is_jammed or moved < 1.0 - self.missing * self.strength:
            return
        self.is_jammed = True
        joint = scene.model.joint(scene.task.object_joint)
        scene.model.dof_damping[joint.dofadr] += scene.task.stiff_damping


class Slip(Effect):
    """The object slips `strength` x 0.12 m sideways once it is half moved, and a spring closes it.

    The button has a spring of its own, the drawer gets one.
    """

    distance = 0.12
    stiffness = 10.0

    def __init__(self, strength: float, rng: np.random.Generator) -> None:
        super().__init__(strength, rng)
        self.offset = np.array([self._sign() * self.distance * strength, 0.0, 0.0])
        self.has_slipped = False

    def follow(self, scene: Scene) -> None:
        """Let it slip, once."""
        if self.has_slipped or scene.object_travel < 0.5 * scene.task.travel:
            return
        self.has_slipped = True
        scene.move_object(self.offset)
        joint = scene.model.joint(scene.task.object_joint)
        joint.stiffness = np.maximum(joint.stiffness, self.stiffness)


class Lookalike(Effect):
    """What can be moved is a look-alike; the right object stands `strength` x 0.35 m beside it.

    That one is drawn only: too far from the other for the hand to reach it by mistake.
    """

    distance = 0.35
    is_right_object = False

    def __init__(self, strength: float, rng: np.random.Generator) -> None:
        super().__init__(strength, rng)
        self.offset = np.array([self._sign() * self.distance * strength, 0.0, 0.0])

    def draw(self, picture: mujoco.MjvScene, scene: Scene) -> None:
        """Draw the right object."""
        model = scene.model
        root = model.body(scene.task.object_body).id
        geoms = [geom for geom in range(model.ngeom) if self._is_part(model, geom, root)]
        for place in range(picture.ngeom):
            drawn = picture.geoms[place]
            if drawn.objtype != mujoco.mjtObj.mjOBJ_GEOM or drawn.objid not in geoms:
                continue
            twin = picture.geoms[picture.ngeom]
            for name in _APPEARANCE:
                setattr(twin, name, getattr(drawn, name))
            twin.pos = drawn.pos + self.offset
            picture.ngeom += 1

    @staticmethod
    def _is_part(model: Any, geom: int, root: int) -> bool:
        body = model.geom_bodyid[geom]
        while body not in (0, root):
            body = model.body_parentid[body]
        return bool(body == root)


EFFECTS: dict[str, type[Effect]] = {
    "none": Effect,
    "object_range": ObjectRange,
    "displacement": Displacement,
    "camera": Camera,
    "light": Light,
    "occlusion": Occlusion,
    "dynamics": Dynamics,
    "actuation": Actuation,
    "nearer": Nearer,
    "jam": Jam,
    "slip": Slip,
    "early": Effect,
    "lookalike": Lookalike,
}
"""The effect of each kind of perturbation."""


def effect_of(perturbation: Perturbation, rng: np.random.Generator) -> Effect:
    """Make the effect; its random choices come from `rng`."""
    return EFFECTS[perturbation.kind](perturbation.strength, rng)
