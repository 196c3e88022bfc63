# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Parameters that were given and have no effect with the bundle that the monitor runs."""

from __future__ import annotations

from failure_monitor.parameters.monitor import MonitorParameters
from failure_monitor.parameters.parameter import without_effect
from failure_monitor.ros.monitor.monitored_bundle import MonitoredBundle
from failure_monitor.ros.monitor.pending_decision import CHUNKS, EMBEDDING


def parameters_without_effect(
    settings: MonitorParameters, monitored: MonitoredBundle
) -> list[str]:
    """Return a sentence for each parameter that was given and has no effect.

    Args:
        settings: the parameters.
        monitored: the bundle with its models.
    """
    return without_effect(settings, {**settings.idle, **_idle(monitored)})


def _idle(monitored: MonitoredBundle) -> dict[str, str]:
    """Return why parameters have no effect with a bundle, by name."""
    bundle, models = monitored.bundle, monitored.models
    reasons = {}
    if not bundle.needs_tokens:
        reasons["tokens_topic"] = "no score of the bundle needs tokens"
    if bundle.description.joints is None:
        reasons["more_joint_states_topics"] = "no score of the bundle needs joints"
    if not bundle.command_names:
        reasons["commands_topic"] = (
            "no score of the bundle was calibrated on the commands as sent to the robot "
            "(--commands-topic)"
        )
    if not bundle.external_topics:
        reasons["max_external_age"] = "the bundle has no external score"
    if not models.cameras:
        why = "the monitor runs no encoder"
        reasons |= dict.fromkeys(
            ("image_topics", "images_reliable", "matching_tolerance", "observation_rate"), why
        )
    elif EMBEDDING not in models.published_parts:
        reasons["embedding_topic"] = "the monitor runs the encoder"
    if CHUNKS in models.published_parts:
        reasons["noise_seed"] = "the monitor runs no sampler"
        if models.cameras:
            reasons["observation_rate"] = "the policy publishes the action chunks"
    else:
        reasons["action_chunks_topic"] = "the monitor runs the sampler"
    return reasons
