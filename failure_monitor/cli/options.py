# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Options that several commands share: which rollouts are read, and how."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from failure_monitor.cli.declaration import Argument, Option
from failure_monitor.decision import ACTION_KINDS
from failure_monitor.errors import UsageError
from failure_monitor.executors.choice import EXECUTOR_KINDS
from failure_monitor.executors.memory_limit import read_size

if TYPE_CHECKING:
    from failure_monitor.sources.reading_options import ReadingOptions, StatedActions
    from failure_monitor.sources.source import BlackBox, DatasetOptions, Topics

Delta = Annotated[
    float,
    Option(help="the chance that a promise that holds is ever called broken", above=0, below=1),
]

Sources = Annotated[
    list[Path],
    Argument(
        help="rosbag2 folders, .mcap, .db3 or ROS 1 .bag files, rollout archives (.npz), stores "
        "of rollouts, FIPER rollout folders, LeRobotDatasets, folders of these, or patterns of "
        "their names; also at addresses such as s3://BUCKET/NAME"
    ),
]


MAX_SEED = 2**32 - 1

WORKERS = "Where the work runs"
BLACK_BOX = "Where the policy published nothing"
DATASETS = "How LeRobotDatasets are read"


def _option(help: str, *, panel: str = "How bags are read", **settings: Any) -> Option:
    return Option(help=help, panel=panel, **settings)


@dataclass(frozen=True)
class Reading:
    """How bags are read: an option for each attribute."""

    embedding_topic: Annotated[
        str,
        _option(
            "the policy's embeddings (PointCloud2), if it publishes any; '' to read bags without "
            "them"
        ),
    ] = "/policy/embedding"
    action_chunks_topic: Annotated[
        str, _option("its sampled action chunks (PointCloud2)", is_optional=False)
    ] = "/policy/action_chunks"
    format_topic: Annotated[
        str,
        _option(
            "what the policy states about itself (String); '' to read bags and archives without it"
        ),
    ] = "/policy/format"
    success_topic: Annotated[
        str, _option("a rollout's outcome, as it was claimed at its end (Bool)")
    ] = "/rollout/success"
    label_topic: Annotated[
        str, _option("an operator's word on the rollout that ended last (Bool)")
    ] = "/rollout/label"
    intervention_topic: Annotated[
        str,
        _option("whether a human intervenes (Bool, or Joy, Twist or TwistStamped of a device)"),
    ] = "/intervention"
    active_topic: Annotated[
        str, _option("true, or a task's name, while a rollout runs (Bool or String)")
    ] = "/rollout/active"
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
    joint_states_topic: Annotated[
        str,
        _option(
            "the robot's joint states (JointState), for scores that need them, and for the joints "
            "that an encoder takes"
        ),
    ] = "/joint_states"
    more_joint_states_topics: Annotated[
        str,
        _option(
            "comma-separated topics of further joint states, such as those of a gripper "
            "(JointState)"
        ),
    ] = ""
    commands_topic: Annotated[
        str,
        _option(
            "the commands as sent to the robot, which is what the gate publishes (Twist, "
            "TwistStamped, PoseStamped, JointState, JointTrajectory or Float64MultiArray): scores "
            "of joints then take them in the place of the executed actions; of a LeRobotDataset "
            "its column, action"
        ),
    ] = ""
    external: Annotated[
        list[str] | None,
        _option(
            "an external score and its topic (Float64 or Float32), as NAME:=TOPIC; may be given "
            "more than once"
        ),
    ] = None
    tokens_topic: Annotated[
        str,
        _option(
            "the tokens of the policy's network (PointCloud2), for scores that need them; "
            "default: /policy/tokens where a score does, or an archive is written"
        ),
    ] = ""
    judge_topic: Annotated[
        str,
        _option(
            "an outside judge's numbers (Float64 or Float32), of which the first after each "
            "rollout counts; default: /judges/NAME/number of the judge that a command is about"
        ),
    ] = ""
    boundaries: Annotated[
        str,
        _option(
            "what separates the rollouts in a bag: bag (nothing, a bag is a rollout), markers "
            "(the topic for active), outcomes (each ends a rollout), pauses; auto: markers where "
            "there are some, else bag",
            choices=("auto", "bag", "markers", "outcomes", "pauses"),
        ),
    ] = "auto"
    pause: Annotated[
        float | None, _option("seconds without a decision that end a rollout, for pauses", above=0)
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
    samples: Annotated[
        int | None,
        _option(
            "action chunks that are sampled per decision; default: 64", panel=BLACK_BOX, min=1
        ),
    ] = None
    decision_rate: Annotated[
        float | None,
        _option(
            "decisions a second at most; default: one at every frame of the first camera",
            panel=BLACK_BOX,
            above=0,
        ),
    ] = None
    stamp_tolerance: Annotated[
        float | None,
        _option(
            "seconds that the stamps of one observation may lie apart; default: 0.05",
            panel=BLACK_BOX,
            min=0,
        ),
    ] = None
    noise_seed: Annotated[
        int | None,
        _option(
            "of the noise that chunks are sampled from; default: 0",
            panel=BLACK_BOX,
            min=0,
            max=MAX_SEED,
        ),
    ] = None
    policy: Annotated[
        Path | None,
        _option(
            "the checkpoint of the LeRobot policy that recorded the episodes, which is replayed "
            "over their frames where its decisions were not recorded",
            panel=DATASETS,
        ),
    ] = None
    success_column: Annotated[
        str,
        _option(
            "the column of the outcome: a success is true, or 1 and more, in any frame; default: "
            "next.success or success",
            panel=DATASETS,
        ),
    ] = ""
    accept_teleoperated: Annotated[
        bool,
        _option("read episodes whose actions are not the policy's own", panel=DATASETS),
    ] = False
    labels: Annotated[
        Path | None,
        _option(
            "a .csv or .yaml file with outcomes of rollouts, and their groups and tasks", panel=""
        ),
    ] = None
    task: Annotated[
        str, _option("the task of all of these rollouts; default: that of the sources", panel="")
    ] = ""
    jobs: Annotated[
        int | None,
        _option(
            "processes that work at a time; default: as many as cores",
            panel=WORKERS,
            min=1,
            max=4096,
        ),
    ] = None
    executor: Annotated[
        str,
        _option(
            "serial: in this process; processes: in several of this machine; ray: on the cluster "
            "that RAY_ADDRESS names, or on one of this machine that ends with the command",
            panel=WORKERS,
            choices=EXECUTOR_KINDS,
        ),
    ] = "processes"
    worker_memory: Annotated[
        str,
        _option("the memory that each worker may take, such as 2G; default: all", panel=WORKERS),
    ] = ""
    worker_gpus: Annotated[
        float | None,
        _option("the GPUs of each worker, for ray, such as 1 or 0.25", panel=WORKERS, above=0),
    ] = None
    skip_unreadable: Annotated[
        bool,
        _option(
            "leave out sources that are damaged, or that no worker survives, with a warning",
            panel=WORKERS,
        ),
    ] = False

    @property
    def options(self) -> ReadingOptions:
        """How sources are read.

        Raises:
            UsageError: an option has no meaning.
        """
        from failure_monitor.sources.reading_options import ReadingOptions

        return ReadingOptions(
            topics=self.topics,
            boundaries=self.boundaries,
            pause=self.pause,
            measured_names=names(self.measured_joints),
            black_box=self.black_box,
            dataset=self.dataset,
            labels=self.labels,
            task=self.task,
            jobs=self.jobs,
            executor=self.executor,
            worker_memory=read_size(self.worker_memory) if self.worker_memory else None,
            worker_gpus=self.worker_gpus or 0.0,
            skips_unreadable=self.skip_unreadable,
        )

    @property
    def topics(self) -> Topics:
        """The topics of bags.

        Raises:
            UsageError: an external score has no topic.
        """
        from failure_monitor.sources.source import Topics

        return Topics(
            embedding=_absolute(self.embedding_topic),
            intervention=_absolute(self.intervention_topic),
            action_chunks=_absolute(self.action_chunks_topic),
            format=_absolute(self.format_topic),
            success=_absolute(self.success_topic),
            label=_absolute(self.label_topic),
            active=_absolute(self.active_topic),
            group=_absolute(self.group_topic),
            task=_absolute(self.task_topic),
            positions=_absolute(self.positions_topic),
            more_joints=tuple(_absolute(name) for name in names(self.more_joint_states_topics)),
            commands=_absolute(self.commands_topic),
            external=dict(named_topic("--external", text) for text in self.external or ()),
            tokens=_absolute(self.tokens_topic),
            judge=_absolute(self.judge_topic),
        )

    @property
    def black_box(self) -> BlackBox:
        """The models that compute what the policy did not publish.

        Raises:
            UsageError: a camera has no topic.
        """
        from failure_monitor.sources.source import BlackBox

        return BlackBox(
            encoder=self.encoder,
            sampler=self.sampler,
            cameras=dict(named_topic("--image-topic", text) for text in self.image_topic or ()),
            joints=_absolute(self.joint_states_topic),
            samples=self.samples,
            seed=self.noise_seed,
            rate=self.decision_rate,
            tolerance=self.stamp_tolerance,
        )

    @property
    def dataset(self) -> DatasetOptions:
        """How LeRobotDatasets are read."""
        from failure_monitor.sources.source import DatasetOptions

        return DatasetOptions(self.policy, self.success_column, self.accept_teleoperated)


@dataclass(frozen=True)
class ActionOptions:
    """What the user states of the policy's actions: an option for each attribute."""

    action_kind: Annotated[
        str,
        _option(
            f"what an action means: {', '.join(ACTION_KINDS)}; default: what the sources state, "
            "else position",
            choices=("", *ACTION_KINDS),
        ),
    ] = ""
    position_names: Annotated[
        str,
        _option(
            "comma-separated actions that span positions; default: what the sources state, else "
            "all"
        ),
    ] = ""
    executed_actions: Annotated[
        int | None,
        _option(
            "actions of a chunk executed before the next decision; default: what the sources "
            "state",
            min=1,
        ),
    ] = None
    control_period: Annotated[
        float | None,
        _option(
            "seconds from one executed action to the next; then the stamps tell how many were "
            "executed, decision by decision",
            above=0,
        ),
    ] = None

    @property
    def stated(self) -> StatedActions:
        """The options as sources are read with them."""
        from failure_monitor.sources.reading_options import StatedActions

        return StatedActions(
            self.action_kind or None,
            names(self.position_names),
            self.executed_actions,
            self.control_period,
        )


def names(text: str) -> tuple[str, ...]:
    """Split a comma-separated list of names."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _absolute(topic: str) -> str:
    """Return a topic as bags name it."""
    return topic if topic.startswith("/") or not topic else f"/{topic}"


def named_topic(option: str, text: str) -> tuple[str, str]:
    """Return a name and its topic, of an option as NAME:=TOPIC.

    Raises:
        UsageError: it is none.
    """
    name, separator, topic = text.partition(":=")
    if not (name and separator and topic):
        raise UsageError(f"'{option} {text}' is no name with its topic: write NAME:=TOPIC")
    return name, _absolute(topic)
