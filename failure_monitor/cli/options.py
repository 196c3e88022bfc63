# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Options that several commands share: which rollouts are read, and how."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_type_hints

import typer

from failure_monitor.cli.reading_progress import shown_progress
from failure_monitor.decision import ACTION_KINDS, PolicyFormat
from failure_monitor.errors import UsageError

if TYPE_CHECKING:
    from failure_monitor.sources.rollout_set import RolloutSet
    from failure_monitor.sources.source import BlackBox, BoundaryKind, Topics

Word = TypeVar("Word", bound=str)

Sources = Annotated[
    list[Path],
    typer.Argument(
        help="rosbag2 folders, .mcap, .db3 or ROS 1 .bag files, rollout archives (.npz), FIPER "
        "rollout folders, folders of these, or patterns of their names"
    ),
]


BLACK_BOX = "Where the policy published nothing"


def _option(help: str, *, panel: str | None = "How bags are read", **settings: Any) -> Any:
    return typer.Option(help=help, rich_help_panel=panel, **settings)


@dataclass(frozen=True)
class Reading:
    """How the user wants bags to be read: an option for each attribute."""

    embedding_topic: Annotated[str, _option("the policy's embeddings (PointCloud2)")] = (
        "/policy/embedding"
    )
    action_chunks_topic: Annotated[str, _option("its sampled action chunks (PointCloud2)")] = (
        "/policy/action_chunks"
    )
    success_topic: Annotated[str, _option("a rollout's outcome (Bool)")] = "/rollout/success"
    active_topic: Annotated[str, _option("true from a rollout's begin to its end (Bool)")] = (
        "/rollout/active"
    )
    group_topic: Annotated[
        str, _option("what evaluation groups by, such as the kind of perturbation (String)")
    ] = "/rollout/group"
    task_topic: Annotated[str, _option("what the robot was to do (String)")] = "/rollout/task"
    positions_topic: Annotated[
        str,
        _option(
            "where the robot was measured to be (JointState, PoseStamped or PointStamped), for "
            "scores that need it"
        ),
    ] = ""
    measured_joints: Annotated[
        str,
        _option(
            "comma-separated joints on that topic, in the order of the actions that span "
            "positions; default: those of the actions' names"
        ),
    ] = ""
    external: Annotated[
        list[str] | None,
        _option(
            "an external score and its topic (Float64), as NAME:=TOPIC; may be given more than once"
        ),
    ] = None
    boundaries: Annotated[
        str,
        _option(
            "what tells the rollouts in a bag apart: bag (nothing, a bag is a rollout), markers "
            "(the topic for active), outcomes (each ends a rollout), pauses; auto: markers where "
            "there are some, else bag"
        ),
    ] = "auto"
    pause: Annotated[
        float | None, _option("seconds without a decision that end a rollout, for pauses")
    ] = None
    encoder: Annotated[
        Path | None,
        _option(
            "the exported observation encoder (ONNX), where the policy published no embeddings",
            panel=BLACK_BOX,
        ),
    ] = None
    sampler: Annotated[
        Path | None,
        _option(
            "the exported policy sampler (ONNX), where it published no action chunks",
            panel=BLACK_BOX,
        ),
    ] = None
    image_topic: Annotated[
        list[str] | None,
        _option(
            "a camera of the encoder and its topic (Image or CompressedImage), as NAME:=TOPIC; "
            "may be given more than once",
            panel=BLACK_BOX,
        ),
    ] = None
    joint_states_topic: Annotated[
        str, _option("the joints that the encoder takes (JointState)", panel=BLACK_BOX)
    ] = "/joint_states"
    samples: Annotated[
        int, _option("action chunks that are sampled per decision", panel=BLACK_BOX, min=1)
    ] = 64
    decision_rate: Annotated[
        float | None,
        _option(
            "decisions a second at most; default: one at every frame of the first camera",
            panel=BLACK_BOX,
        ),
    ] = None
    stamp_tolerance: Annotated[
        float,
        _option("seconds that the stamps of one observation may lie apart", panel=BLACK_BOX),
    ] = 0.05
    noise_seed: Annotated[
        int, _option("of the noise that chunks are sampled from", panel=BLACK_BOX, min=0)
    ] = 0
    labels: Annotated[
        Path | None,
        _option(
            "a .csv or .yaml file with outcomes of rollouts, and their groups and tasks", panel=None
        ),
    ] = None
    task: Annotated[
        str, _option("the task of all of these rollouts; default: what the sources say", panel=None)
    ] = ""
    jobs: Annotated[
        int | None,
        _option("processes that work at a time; default: as many as cores", panel=None, min=1),
    ] = None

    @property
    def processes(self) -> int:
        """How many work at a time."""
        return self.jobs or len(os.sched_getaffinity(0))

    def read(self, sources: Sequence[Path], **actions: Any) -> RolloutSet:
        """Read all rollouts of some sources, and show how far it is.

        Args:
            sources: where they are.
            actions: what is known of the policy's actions, as `read_rollouts` takes it.

        Raises:
            FailureMonitorError: an option means nothing, or a source cannot be read.
        """
        return self.read_groups([sources], **actions)[0]

    def read_groups(
        self, groups: Sequence[Sequence[Path]], **actions: Any
    ) -> tuple[RolloutSet, ...]:
        """Read several groups of sources, whose rollouts share a policy and a file of labels.

        All groups but the first may be empty. What the first says of actions holds for all.

        Raises:
            FailureMonitorError: an option means nothing, or a source cannot be read.
        """
        from failure_monitor.sources.labels import read_labels
        from failure_monitor.sources.rollout_set import RolloutSet
        from failure_monitor.sources.rollouts import label, read_rollouts, reject_different_policies

        options: dict[str, Any] = {
            "topics": self.topics,
            "boundaries": self._boundaries(),
            "pause": self._pause(),
            "measured_names": names(self.measured_joints),
            "black_box": self.black_box,
            "task": self.task or None,
            "jobs": self.processes,
        }
        labels = None if self.labels is None else read_labels(self.labels)
        with shown_progress() as report:
            first = read_rollouts(groups[0], report=report, **options, **actions)
            stated = stated_by(first.policy)
            others = [
                read_rollouts(sources, report=report, **options, **stated)
                if sources
                else RolloutSet(first.policy, ())
                for sources in groups[1:]
            ]
        reject_different_policies([first, *others])
        return label([first, *others], labels)

    @property
    def topics(self) -> Topics:
        """Under which names bags hold what is needed.

        Raises:
            UsageError: an external score has no topic.
        """
        from failure_monitor.sources.source import Topics

        return Topics(
            embedding=_absolute(self.embedding_topic),
            action_chunks=_absolute(self.action_chunks_topic),
            success=_absolute(self.success_topic),
            active=_absolute(self.active_topic),
            group=_absolute(self.group_topic),
            task=_absolute(self.task_topic),
            positions=_absolute(self.positions_topic),
            external=dict(_named_topic("--external", text) for text in self.external or ()),
        )

    @property
    def black_box(self) -> BlackBox:
        """What exported models compute that the policy did not publish.

        Raises:
            UsageError: a camera has no topic, or the rate leaves no decision.
        """
        from failure_monitor.sources.source import BlackBox

        if self.decision_rate is not None and not self.decision_rate > 0:
            raise UsageError(
                f"'--decision-rate {self.decision_rate:g}' leaves no decision: give a positive "
                "number"
            )
        return BlackBox(
            encoder=self.encoder,
            sampler=self.sampler,
            cameras=dict(_named_topic("--image-topic", text) for text in self.image_topic or ()),
            joints=_absolute(self.joint_states_topic),
            samples=self.samples,
            seed=self.noise_seed,
            rate=self.decision_rate,
            tolerance=self.stamp_tolerance,
        )

    def _boundaries(self) -> BoundaryKind:
        from failure_monitor.sources.source import BOUNDARY_KINDS

        return one_of(self.boundaries, BOUNDARY_KINDS, "kind of boundary")

    def _pause(self) -> float | None:
        if (self.boundaries == "pauses") is not (self.pause is not None):
            raise UsageError(
                "'--boundaries pauses' and '--pause SECONDS' go together: give both or none"
            )
        if self.pause is not None and not self.pause > 0:
            raise UsageError(f"a pause of {self.pause:g} s ends nothing: give a positive number")
        return self.pause


@dataclass(frozen=True)
class StatedActions:
    """What the user says of the policy's actions, which bags do not say."""

    action_kind: Annotated[
        str, _option(f"what an action means: {', '.join(ACTION_KINDS)}; default: position")
    ] = ""
    position_names: Annotated[
        str, _option("comma-separated actions that span positions; default: all")
    ] = ""
    executed_actions: Annotated[
        int | None, _option("actions of a chunk executed before the next decision", min=1)
    ] = None

    @property
    def stated(self) -> dict[str, Any]:
        """It as `read_rollouts` takes it; None where the user says nothing.

        Raises:
            UsageError: there is no such kind of action.
        """
        return {
            "action_kind": (
                one_of(self.action_kind, ACTION_KINDS, "action kind") if self.action_kind else None
            ),
            "position_names": names(self.position_names) or None,
            "executed_actions": self.executed_actions,
        }


def stated_by(policy: PolicyFormat) -> dict[str, Any]:
    """What a policy's format says of its actions, as `read_rollouts` takes it."""
    return {
        "action_kind": policy.action_kind,
        "position_names": policy.position_names,
        "executed_actions": policy.executed_actions,
    }


OPTION_GROUPS = (Reading, StatedActions)


def with_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of the groups that its parameters are annotated with."""
    signature = inspect.signature(command, eval_str=True)
    groups = {
        parameter.name: parameter.annotation
        for parameter in signature.parameters.values()
        if parameter.annotation in OPTION_GROUPS
    }
    own = [parameter for parameter in signature.parameters.values() if parameter.name not in groups]
    added = [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=field.default,
            annotation=get_type_hints(group, include_extras=True)[field.name],
        )
        for group in groups.values()
        for field in fields(group)
    ]

    @wraps(command)
    def taking_options(**values: Any) -> None:
        chosen = {
            name: group(**{field.name: values.pop(field.name) for field in fields(group)})
            for name, group in groups.items()
        }
        command(**values, **chosen)

    parameters = [*(p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own), *added]
    described: Any = taking_options
    described.__signature__ = signature.replace(parameters=parameters)
    described.__annotations__ = {p.name: p.annotation for p in parameters}
    return taking_options


def names(text: str) -> tuple[str, ...]:
    """The names in a comma-separated list."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def one_of(text: str, known: Sequence[Word], what: str) -> Word:
    """The known word that a text is.

    Raises:
        UsageError: it is none.
    """
    for word in known:
        if text == word:
            return word
    raise UsageError(f"there is no {what} '{text}': choose {', '.join(known)}")


def _absolute(topic: str) -> str:
    """A topic as bags name it."""
    return topic if topic.startswith("/") or not topic else f"/{topic}"


def _named_topic(option: str, text: str) -> tuple[str, str]:
    name, separator, topic = text.partition(":=")
    if not (name and separator and topic):
        raise UsageError(f"'{option} {text}' is no name with its topic: write NAME:=TOPIC")
    return name, _absolute(topic)
