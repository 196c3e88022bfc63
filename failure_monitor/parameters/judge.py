# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The parameters of the judge node, which asks a model by HTTP how rollouts ended."""

from __future__ import annotations

import re
from dataclasses import dataclass

from failure_monitor.errors import UsageError
from failure_monitor.parameters.parameter import parameter
from failure_monitor.parameters.topics import EXTERNAL_NAME, OUTCOME_TOPIC


@dataclass(frozen=True)
class JudgeParameters:
    """All parameters of the judge node."""

    judge: str = parameter(
        "vlm",
        "Name of the judge, as in its topic and in the monitor's parameter judges: letters, "
        "digits and underscores.",
    )
    url: str = parameter(
        "",
        "Address of an OpenAI-compatible service, up to what comes before /chat/completions, such "
        "as http://127.0.0.1:8000/v1. There is no default: it must be given.",
    )
    model: str = parameter("", "Name of the model there. It must be given.")
    question: str = parameter(
        "",
        "What the model is asked of every rollout, such as 'The task: {task}. Is it done?', where "
        "{task} stands for the rollout's task. It must be given. What a number from 0 to 1 means "
        "is added.",
    )
    api_key_variable: str = parameter(
        "",
        "Name of the environment variable that holds the key, such as OPENAI_API_KEY; empty for a "
        "service without keys. The key is in no parameter and in no log.",
    )
    send_pictures: bool = parameter(
        False,
        "Whether pictures of camera_topic may leave this machine: the last ones of each rollout "
        "are sent to url. If false, text alone is sent.",
    )
    camera_topic: str = parameter(
        "",
        "Topic of the camera, of CompressedImage if its name ends with /compressed, of Image "
        "otherwise. Subscribed to only if pictures may be sent.",
        is_topic=True,
        is_optional=True,
    )
    pictures: int = parameter(3, "Number of pictures that are sent.", bounds=(1, 16))
    picture_period: float = parameter(
        0.5, "Seconds from one of these pictures to the next.", bounds=(0.0, 60.0)
    )
    picture_width: int = parameter(
        640,
        "Largest width of a picture, in pixels; wider ones are made smaller.",
        bounds=(16, 4096),
    )
    outcome_topic: str = parameter(
        OUTCOME_TOPIC,
        "Topic on which the monitor says how the last rollout ended.",
        is_topic=True,
    )
    rollouts: str = parameter(
        "all",
        "Of which rollouts the model is asked. To calibrate a judge takes failures, too.",
        choices={
            "all": "every rollout that has ended",
            "claimed": "those of which success was claimed",
        },
    )
    timeout: float = parameter(30.0, "Seconds for an answer.", bounds=(0.1, 600.0))

    @property
    def idle(self) -> dict[str, str]:
        """Why parameters have no effect beside the others, by name."""
        names = ("camera_topic", "pictures", "picture_period", "picture_width")
        return {} if self.send_pictures else dict.fromkeys(names, "'send_pictures' is false")

    def check(self) -> None:
        """Reject a judge that could not be asked.

        Raises:
            UsageError: names the parameter.
        """
        for name in ("url", "model", "question"):
            if not getattr(self, name).strip():
                raise UsageError(f"the parameter '{name}' is empty: it must be given")
        if not re.fullmatch(EXTERNAL_NAME, self.judge):
            raise UsageError(
                f"the parameter 'judge' is '{self.judge}': use letters, digits and underscores, a "
                "letter first"
            )
        if self.send_pictures and not self.camera_topic:
            raise UsageError(
                "'send_pictures' is true, and 'camera_topic' is empty: name the topic"
            )
