# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What a bundle states beside its rule: topics, models, the policy, the ends of rollouts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from failure_monitor.bundle.bundle import Bundle
from failure_monitor.bundle.description import (
    BlackBoxSection,
    JointsSection,
    ModelSection,
    OutcomeSection,
    OutcomeTaskSection,
    PositionsSection,
)
from failure_monitor.messages.measured_positions import PositionsTopic
from failure_monitor.outcome.check import OutcomeCheck
from failure_monitor.policy_description import PolicyDescription
from failure_monitor.policy_models.onnx_file import OnnxFile
from failure_monitor.scores.external import EXTERNAL_PREFIX
from failure_monitor.thresholds.conformal import Rule


def with_rule_choice(bundle: Bundle, reasons: Sequence[str]) -> Bundle:
    """Return the bundle with why calibration chose its scores.

    Args:
        bundle: the calibrated bundle.
        reasons: a sentence each; none if the user named the scores.
    """
    return replace(bundle, description=replace(bundle.description, rule_choice=tuple(reasons)))


def with_outcome_check(bundle: Bundle, check: OutcomeCheck, rule: Rule) -> Bundle:
    """Return the bundle with a check of how rollouts end.

    Args:
        bundle: the calibrated bundle.
        check: the outcome check.
        rule: how it combines the parts of an end.
    """
    section = OutcomeSection(
        alpha=check.alpha,
        rule=rule,
        parts=check.parts,
        left_out=check.left_out,
        joints=check.format.joints,
        tasks=(
            *(
                OutcomeTaskSection(task=task, rollouts=len(ends.threshold.limits))
                for task, ends in check.tasks.items()
            ),
            *(
                OutcomeTaskSection(task=task, unknown=reason)
                for task, reason in check.unknown.items()
            ),
        ),
    )
    description = replace(bundle.description, outcome=section)
    return replace(bundle, description=description, outcome_check=check)


def with_external_topics(bundle: Bundle, topics: Mapping[str, str]) -> Bundle:
    """Return the bundle with the topics of its external scores.

    Args:
        bundle: the calibrated bundle.
        topics: the topics by the scores' names without prefix; other scores' are left out.
    """
    names = {score.name for score in bundle.scores}
    own = {name: topic for name, topic in topics.items() if EXTERNAL_PREFIX + name in names}
    description = replace(bundle.description, external_topics=own)
    return replace(bundle, description=description)


def with_message_types(bundle: Bundle, types: Mapping[str, str]) -> Bundle:
    """Return the bundle with the types of the topics of its scores, cameras and commands.

    Args:
        bundle: the bundle, with these topics.
        types: the types of recorded topics; others' are left out.
    """
    black_box = bundle.description.black_box
    own = {*bundle.external_topics.values(), *(black_box.cameras.values() if black_box else ())}
    if bundle.description.joints is not None:
        own.add(bundle.description.joints.commands_topic)
    kept = {topic: kind for topic, kind in types.items() if topic in own}
    return replace(bundle, description=replace(bundle.description, message_types=kept))


def with_stated_policy(bundle: Bundle, stated: PolicyDescription | None) -> Bundle:
    """Return the bundle with what the policy of its rollouts stated about itself.

    Args:
        bundle: the calibrated bundle.
        stated: the statement; None if there was none.
    """
    return replace(bundle, description=replace(bundle.description, stated_policy=stated))


def with_positions_topic(bundle: Bundle, topic: PositionsTopic | None) -> Bundle:
    """Return the bundle with the topic of measured positions, if one of its scores needs them.

    Args:
        bundle: the calibrated bundle.
        topic: the topic of measured positions in its rollouts; None if unknown.
    """
    if topic is None or not bundle.needs_positions:
        return bundle
    section = PositionsSection(**vars(topic))
    description = replace(bundle.description, positions_topic=section)
    return replace(bundle, description=description)


def with_joints(bundle: Bundle, topics: Sequence[str], commands_topic: str = "") -> Bundle:
    """Return the bundle with what its scores need of joints, if they need any.

    Args:
        bundle: the calibrated bundle.
        topics: the topics of joint states in its rollouts; none if they are unknown.
        commands_topic: that of the commands as sent; empty if it is unknown, or none were read.
    """
    if not bundle.joint_quantities:
        return bundle
    section = JointsSection(
        quantities=bundle.joint_quantities,
        topics=tuple(topics),
        commands=bundle.command_names,
        commands_topic=commands_topic if bundle.command_names else "",
    )
    return replace(bundle, description=replace(bundle.description, joints=section))


def with_models(
    bundle: Bundle,
    encoder: OnnxFile | None,
    sampler: OnnxFile | None,
    *,
    cameras: Mapping[str, str],
    observation_rate: float,
    matching_tolerance: float,
    noise_seed: int,
) -> Bundle:
    """Return the bundle with the models that computed the decisions of its rollouts.

    Args:
        bundle: the calibrated bundle.
        encoder: the model of the embeddings; None if the policy published them.
        sampler: the model of the action chunks; None if the policy published them.
        cameras: the topics of the encoder's cameras, by the cameras' names.
        observation_rate: the number of decisions per second; 0 for a decision at every image of
            the first camera.
        matching_tolerance: seconds by which the stamps of an observation may differ.
        noise_seed: the seed of the sampler's noise.
    """
    if encoder is None and sampler is None:
        return bundle
    section = BlackBoxSection(
        encoder=_model_section("encoder", encoder),
        sampler=_model_section("sampler", sampler),
        cameras=dict(cameras),
        observation_rate=observation_rate,
        matching_tolerance=matching_tolerance,
        noise_seed=noise_seed,
    )
    description = replace(bundle.description, black_box=section)
    return replace(bundle, description=description, encoder=encoder, sampler=sampler)


def _model_section(name: str, model: OnnxFile | None) -> ModelSection | None:
    if model is None:
        return None
    weights = {file: f"{name}.weights_{at}" for at, file in enumerate(sorted(model.weights))}
    return ModelSection(file=f"{name}.onnx", weights=weights)
