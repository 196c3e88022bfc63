# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The parameters of the monitor node, but for those of its response and its displays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from failure_monitor.errors import UsageError
from failure_monitor.parameters.intervention import InterventionParameters
from failure_monitor.parameters.parameter import (
    NO_NAMES,
    Settable,
    check,
    group,
    parameter,
    settable_at_any_time,
)
from failure_monitor.parameters.topics import (
    ACTION_CHUNKS_TOPIC,
    EMBEDDING_TOPIC,
    JOINT_STATES_TOPIC,
    LABEL_TOPIC,
    POLICY_FORMAT_TOPIC,
    ROLLOUT_TOPIC,
    TOKENS_TOPIC,
)

AS_CALIBRATED = -1
"""Value of a parameter that is taken from the bundle."""

NO_BOUND = 0.0
"""Value of an age that bounds nothing."""

MIN_AGE = 0.01
"""Smallest number of seconds that a decision may be good for."""

ROLLOUT_TOPIC_TYPES = {
    "std_msgs/msg/Bool": "true while a rollout runs",
    "std_msgs/msg/String": "the name of its task, empty while none runs",
}

UNTIL_CONFIGURED, ANY_TIME = Settable.UNTIL_CONFIGURED, Settable.ANY_TIME


@dataclass(frozen=True)
class MonitorParameters:
    """Parameters of the monitor itself."""

    bundle: str = parameter(
        "",
        "Folder that `failure-monitor calibrate` wrote; it must be given. monitor.launch.xml sets "
        "it.",
        settable=UNTIL_CONFIGURED,
    )
    task: str = parameter(
        "",
        "Name of the task that is run, which decides between the thresholds of the bundle. Only "
        "for a bundle that was calibrated on several tasks.",
        settable=UNTIL_CONFIGURED,
    )
    enable: bool = parameter(
        True,
        "Whether commands may be permitted at all. The service ~/enable sets it, too.",
        settable=ANY_TIME,
    )
    embedding_topic: str = parameter(
        EMBEDDING_TOPIC,
        "Topic of the policy's observation embeddings. An embedding and the action chunks of the "
        "same decision have the same stamp. For a bundle that was calibrated without embeddings "
        "nobody may publish there, as it would be another policy; empty to allow it.",
        settable=UNTIL_CONFIGURED,
        is_topic=True,
        is_optional=True,
    )
    action_chunks_topic: str = parameter(
        ACTION_CHUNKS_TOPIC,
        "Topic of the policy's sampled action chunks.",
        settable=UNTIL_CONFIGURED,
        is_topic=True,
    )
    tokens_topic: str = parameter(
        TOKENS_TOPIC,
        "Topic of the last layer's tokens of the policy's network, with the stamps of its action "
        "chunks; subscribed to only if a score of the bundle needs them.",
        settable=UNTIL_CONFIGURED,
        is_topic=True,
    )
    format_topic: str = parameter(
        POLICY_FORMAT_TOPIC,
        "Topic on which the policy states, latched, which one it is and what its actions mean. "
        "Another policy than that of the bundle is STALE.",
        settable=UNTIL_CONFIGURED,
        is_topic=True,
    )
    joint_states_topic: str = parameter(
        JOINT_STATES_TOPIC,
        "Topic of the robot's joint states. If they cease, the permit is withdrawn.",
        settable=UNTIL_CONFIGURED,
        is_topic=True,
    )
    more_joint_states_topics: tuple[str, ...] = parameter(
        NO_NAMES,
        "Further topics of joint states, such as a gripper's, read where the bundle's scores need "
        'joints. [""] for those of the recordings that the bundle was calibrated on.',
        settable=UNTIL_CONFIGURED,
        is_topic=True,
        is_optional=True,
    )
    commands_topic: str = parameter(
        "",
        "Topic of the commands as sent to the robot, which is what the gate publishes, read where "
        "the bundle's scores were calibrated on them. Empty for that of the recordings that the "
        "bundle was calibrated on.",
        settable=UNTIL_CONFIGURED,
        is_topic=True,
        is_optional=True,
    )
    encoder: str = parameter(
        "",
        "Observation encoder as an ONNX file (docs/onnx_contract.md), run instead of a "
        "subscription to embedding_topic; empty for that of the bundle, if it holds one.",
        settable=UNTIL_CONFIGURED,
        heading="A bundle that was calibrated on what exported models made of cameras and joints "
        "(black box) holds these models, and how they were run. The following parameters are for "
        "other topics, for other hardware, and for a bundle that holds no models. What "
        "contradicts the bundle is rejected.",
    )
    sampler: str = parameter(
        "",
        "Policy sampler as an ONNX file, run instead of a subscription to action_chunks_topic; "
        "empty for that of the bundle, if it holds one.",
        settable=UNTIL_CONFIGURED,
    )
    image_topics: tuple[str, ...] = parameter(
        NO_NAMES,
        "Topics of the encoder's cameras, in its order: of the type that was recorded there, else "
        "of CompressedImage if the name ends with /compressed, of Image otherwise. "
        '[""] for those of the recordings that the bundle was calibrated on, or else for the '
        "names of the cameras.",
        settable=UNTIL_CONFIGURED,
        is_topic=True,
        is_optional=True,
    )
    images_reliable: bool = parameter(
        False,
        "Whether to subscribe to images reliably, which their publishers must then offer. With "
        "Fast DDS and FASTDDS_BUILTIN_TRANSPORTS=LARGE_DATA no large image is lost.",
        settable=UNTIL_CONFIGURED,
    )
    matching_tolerance: float = parameter(
        float(AS_CALIBRATED),
        "Seconds by which the images and joint states of one observation may lie apart. -1 for "
        "the value that the bundle was calibrated with, or 0.05 if it has none.",
        bounds=(float(AS_CALIBRATED), 1.0),
        settable=UNTIL_CONFIGURED,
    )
    observation_rate: float = parameter(
        float(AS_CALIBRATED),
        "Observations per second that are embedded, if encoder and sampler are both run; 0 for "
        "every image of the first camera. -1 for the value that the bundle was calibrated with, "
        "or 0 if it has none.",
        bounds=(float(AS_CALIBRATED), 1000.0),
        settable=UNTIL_CONFIGURED,
    )
    noise_seed: int = parameter(
        AS_CALIBRATED,
        "Seed of the sampler's noise. -1 for the value that the bundle was calibrated with, or 0 "
        "if it has none.",
        settable=UNTIL_CONFIGURED,
    )
    execution_providers: tuple[str, ...] = parameter(
        ("cpu",),
        "What ONNX Runtime runs the models on, the preferred one first: cpu, cuda, tensorrt or "
        "openvino, as installed. Without cpu in the list they run on one of the others or not at "
        "all.",
        settable=UNTIL_CONFIGURED,
    )
    inference_threads: int = parameter(
        1, "Number of threads that compute one operator of a model.", settable=UNTIL_CONFIGURED
    )
    rollout_boundaries: str = parameter(
        "service",
        "What starts and ends rollouts. Nothing is permitted while no rollout runs. The services "
        "exist in any case. Thresholds that vary over time, and scores that follow the course of "
        "a rollout, are rejected with none.",
        choices={
            "service": "calls of ~/start_rollout and ~/end_rollout",
            "topic": "messages on rollout_topic",
            "pause": "pauses between decisions that are longer than rollout_pause",
            "none": "a rollout starts when the node is activated and never ends",
        },
        settable=UNTIL_CONFIGURED,
        heading="When a rollout runs, and how old or how far off an input may be.",
    )
    rollout_topic: str = parameter(
        ROLLOUT_TOPIC,
        "Topic that states whether a rollout runs, for rollout_boundaries topic.",
        settable=UNTIL_CONFIGURED,
        is_topic=True,
    )
    rollout_topic_type: str = parameter(
        "std_msgs/msg/Bool",
        "Message type of rollout_topic.",
        choices=ROLLOUT_TOPIC_TYPES,
        settable=UNTIL_CONFIGURED,
    )
    rollout_pause: float = parameter(
        1.0,
        "Seconds without a decision that end a rollout, for rollout_boundaries pause; longer than "
        "any time between two decisions of calibration, and at most max_decision_age.",
        bounds=(0.05, 60.0),
        settable=UNTIL_CONFIGURED,
    )
    success_topic: str = parameter(
        "",
        "Topic on which a program claims that the rollout that runs has succeeded, std_msgs/Bool: "
        "true claims it, false takes that back. ~/end_rollout claims it, too. Empty for none.",
        settable=UNTIL_CONFIGURED,
        is_topic=True,
        is_optional=True,
    )
    label_topic: str = parameter(
        LABEL_TOPIC,
        "Topic of the operator's word on the rollout that ended last, std_msgs/Bool. What is said "
        "by ~/label is repeated there, for recorders. Empty for none.",
        is_topic=True,
        is_optional=True,
    )
    max_decision_age: float = parameter(
        float(AS_CALIBRATED),
        "Seconds after which the last verdict no longer permits anything: a little more than the "
        "longest time between two decisions of the policy. -1 for one and a half times the "
        "longest time between two decisions of calibration, but at least 1 s; the alarm's values "
        "state it.",
        bounds=(float(AS_CALIBRATED), 60.0),
        settable=ANY_TIME,
    )
    max_plan_age: float = parameter(
        float(AS_CALIBRATED),
        "Seconds for which the robot may execute a plan, from its observation to the command. It "
        "is how old the observation was when the decision came, by its stamp and this machine's "
        "clock, and the time since then. -1 for three times the longest of calibration, but at "
        "least one and a half times max_decision_age; 0 for no limit except max_decision_age, as "
        "with bundles of older versions. The alarm's values state it, and the age as plan_age.",
        bounds=(float(AS_CALIBRATED), 60.0),
        settable=ANY_TIME,
    )
    max_unscored: int = parameter(
        2,
        "Number of decisions in a row that may remain without a score, because a part of them was "
        "missing, late, out of order or malformed. More are STALE, and so are more than a tenth "
        "of the last 50.",
        bounds=(0, 50),
        settable=ANY_TIME,
    )
    max_joint_state_age: float = parameter(
        0.5,
        "Seconds after which joint states count as lost; 0 for a robot without joints.",
        bounds=(0.0, 60.0),
        settable=ANY_TIME,
    )
    max_external_age: float = parameter(
        1.0,
        "Seconds after which the value of an external score is too old for a decision.",
        bounds=(0.01, 60.0),
        settable=ANY_TIME,
    )
    max_stamp_lead: float = parameter(
        0.5,
        "Seconds by which the stamp of a decision may be ahead of this machine's clock.",
        bounds=(0.0, 60.0),
        settable=ANY_TIME,
    )
    max_stamp_age: float = parameter(
        0.0,
        "Seconds by which the stamp of a decision may be behind this machine's clock; 0 for any "
        "age. max_plan_age still limits the age: set both to 0 where the clocks of several "
        "machines are not synchronised.",
        bounds=(0.0, 60.0),
        settable=ANY_TIME,
    )
    intervention: InterventionParameters = group(InterventionParameters, "intervention_")
    heartbeat_period: float = parameter(
        0.05,
        "Seconds between two messages on ~/permit and ~/alarm; well below the gate's "
        "permit_lease.",
        bounds=(0.005, 1.0),
        heading="How the node runs.",
    )
    halt_mark_folder: str = parameter(
        "",
        "Folder of the file by which a halt outlasts this process; empty for "
        "$ROS_HOME/failure_monitor, or ~/.ros/failure_monitor. In a container, name a volume. "
        "'none' for no file: then a monitor that is started again after a halt is not halted.",
    )
    promise_delta: float = parameter(
        0.01,
        "Chance that a promise that holds is ever called broken; 0 to watch no promise.",
        bounds=(0.0, 0.5),
        settable=UNTIL_CONFIGURED,
        heading="Whether successful rollouts are still like those of calibration "
        "(docs/promise.md). It stops nothing.",
    )
    promise_folder: str = parameter(
        "",
        "Folder of the files that keep what the promise rests on, and the rollout log; empty for "
        "$ROS_HOME/failure_monitor, or ~/.ros/failure_monitor. In a container, name a volume. "
        "'none' for no file: then each process starts again, and there is no log.",
        settable=UNTIL_CONFIGURED,
    )
    promise_without_outcome: bool = parameter(
        False,
        "Whether a rollout without an alarm whose outcome nobody states, as with "
        "rollout_boundaries topic and pause, counts as a success for the promise.",
        settable=UNTIL_CONFIGURED,
    )
    judges: tuple[str, ...] = parameter(
        NO_NAMES,
        "Outside judges of finished rollouts (docs/judges.md): files that `failure-monitor "
        "calibrate-judge` wrote, or names of judges that are not calibrated, whose numbers are "
        "kept in the rollout log to calibrate them by. A judge stops nothing, whatever it says. "
        '[""] for none.',
        settable=UNTIL_CONFIGURED,
        is_optional=True,
    )
    hardware_id: str = parameter(
        "",
        "Name of the robot or policy in /diagnostics.",
        settable=UNTIL_CONFIGURED,
    )
    autostart: bool = parameter(
        True,
        "Whether the node configures and activates itself at the start. If false, a lifecycle "
        "manager must do so.",
    )

    @property
    def topic_names_task(self) -> bool:
        """Whether a topic states which task a rollout is of."""
        return self.rollout_boundaries == "topic" and self.rollout_topic_type.endswith("String")

    @property
    def idle(self) -> dict[str, str]:
        """Why parameters have no effect beside the others, by name, whatever the bundle is."""
        boundaries = self.rollout_boundaries
        reasons = dict(self.intervention.idle)
        if boundaries != "topic":
            why = f"it is for 'rollout_boundaries' topic, not {boundaries}"
            reasons |= {"rollout_topic": why, "rollout_topic_type": why}
        if boundaries != "pause":
            reasons["rollout_pause"] = f"it is for 'rollout_boundaries' pause, not {boundaries}"
        if self.topic_names_task:
            reasons["task"] = "'rollout_topic' names the task"
        if self.promise_delta == 0:
            reasons["promise_without_outcome"] = "'promise_delta' is 0"
        return reasons

    def check(self) -> None:
        """Reject an age without a meaning, and a pause that would halt at every end of a rollout.

        Raises:
            UsageError: names the parameters.
        """
        self._check_age("max_decision_age", self.max_decision_age)
        if self.max_plan_age != NO_BOUND:
            self._check_age("max_plan_age", self.max_plan_age)

    def _check_age(self, name: str, age: float) -> None:
        if age == AS_CALIBRATED:
            return
        if age < MIN_AGE:
            raise UsageError(
                f"the parameter '{name}' is {age:g} s: give "
                f"{MIN_AGE:g} or more, or {AS_CALIBRATED} for what follows from the bundle"
            )
        if self.rollout_boundaries == "pause" and self.rollout_pause > age:
            raise UsageError(
                f"the parameter 'rollout_pause' is {self.rollout_pause:g} s, longer than "
                f"'{name}', {age:g} s: every end of a rollout would "
                "latch a halt; make the pause shorter, or the age larger"
            )

    def changed(self, values: Mapping[str, Any], *, is_configured: bool) -> MonitorParameters:
        """Return these with some values replaced, if they may be set now.

        Args:
            values: new values by name; names of other parameters are ignored.
            is_configured: whether the node is configured.

        Raises:
            UsageError: a parameter cannot be set now, or not to this value.
        """
        own = {name: value for name, value in values.items() if name in NAMES}
        for name in own:
            if is_configured and name not in SETTABLE:
                raise UsageError(
                    f"'{name}' takes effect when the node is configured, which it is already: "
                    "deactivate it and clean it up first, or set it at the start"
                )
        changed = replace(self, **own)
        check(changed)
        return changed


NAMES = frozenset(one.name for one in fields(MonitorParameters))

SETTABLE = settable_at_any_time(MonitorParameters)
"""Names of the parameters that take effect at once when they are set."""
