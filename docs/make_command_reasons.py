#!/usr/bin/env python3
# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The page docs/command_reasons.md, with every sentence of the code that a command can print.

`make reference` writes it. The code is read and not imported: neither ROS nor torch is needed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sentences import modules, spoken

PAGE = Path(__file__).with_name("command_reasons.md")

HEAD = """# What commands say

Every sentence with which a command rejects something or warns of it.
Names, numbers and topics differ from case to case; they are written as `…` here.
Some lines are parts of a sentence, such as what was expected in a file.
This page is written by `make reference` from the code; to change a sentence, change the code.

A sentence says what is wrong, where, and in most cases what to do.
A command that rejects something ends with exit code 1, or 2 for an option or parameter that is not possible, and writes nothing.
A command that only warns continues.
For reasons of alarm and gate see [troubleshooting.md](troubleshooting.md).
"""  # noqa: E501


@dataclass(frozen=True)
class Chapter:
    """One chapter of the page.

    Attributes:
        title: its heading.
        about: what its sentences have in common, and what to do; may be empty.
        spoken: the modules and folders of the package of which all that they say is listed.
        raised: those of which errors alone are listed: their other texts are help and captions.
    """

    title: str
    about: str = ""
    spoken: tuple[str, ...] = ()
    raised: tuple[str, ...] = ()


CHAPTERS = (
    Chapter(
        "Bags, archives and datasets",
        """A recording is damaged, of another format, without decisions, or contradicts itself.
`failure-monitor inspect SOURCE` shows what is in it, `failure-monitor audit` what is wrong with it.
`--skip-unreadable` leaves damaged ones out.
[bags.md](bags.md), [archive_format.md](archive_format.md) and [lerobot_datasets.md](lerobot_datasets.md) say what is read.""",  # noqa: E501
        spoken=("sources", "messages", "joint_motion", "decision"),
    ),
    Chapter(
        "Calibration and scores",
        """The rollouts cannot support what is asked of them: there are too few for an alpha, they lack what a score needs, or they are of several policies.
Take more or other rollouts, another alpha, or other scores. [audit.md](audit.md) finds the rollout that spoils a set.""",  # noqa: E501
        spoken=("calibration", "scores", "thresholds", "policy_description"),
    ),
    Chapter(
        "Bundles",
        """A bundle is damaged, was changed, is newer than this version, or is of another policy.
Calibrate again, or update; never repair a bundle by hand.""",
        spoken=("bundle", "schema", "atomic_file", "versioned_file"),
    ),
    Chapter(
        "Evaluation, recalibration and promise",
        """Rollouts have no outcomes, or are not of the bundle.
Or a recalibration would hide a failure ([recalibration.md](recalibration.md#what-is-refused)).""",
        spoken=(
            "evaluation",
            "recalibration",
            "promise",
            "outcome",
            "rollout_log",
            "incidents",
        ),
    ),
    Chapter("Judges and fleets", spoken=("judges", "fleet")),
    Chapter(
        "Exported models",
        """An encoder or sampler does not keep to its contract.
[onnx_contract.md](onnx_contract.md) has it, line by line.""",
        spoken=("policy_models",),
    ),
    Chapter(
        "Policies of LeRobot and openpi",
        """A policy that cannot be watched is left as it was ([lerobot.md](lerobot.md), [openpi.md](openpi.md)).""",  # noqa: E501
        spoken=("policies", "lerobot_command"),
    ),
    Chapter(
        "A live graph",
        """`failure-monitor check` finds these ([checking_a_setup.md](checking_a_setup.md)).""",
        spoken=("graph_check", "ros/listening"),
    ),
    Chapter(
        "Options, parameters and where the work runs",
        """`failure-monitor COMMAND --help` and [command_line.md](command_line.md) say what an option takes, [parameters.md](parameters.md) what a parameter takes.""",  # noqa: E501
        raised=("cli", "errors", "parameters", "executors", "missing_package"),
    ),
    Chapter(
        "Nodes, recorders, displays and the demo",
        spoken=(
            "ros/recording",
            "ros/displays",
            "ros/judging",
            "ros/metrics",
            "ros/tap",
            "ros/lerobot_tap",
        ),
        raised=("report", "display", "demo", "demo_data"),
    ),
)


def command_reasons() -> str:
    """Return the text of the page."""
    parts = [HEAD]
    for chapter in CHAPTERS:
        parts.append(f"## {chapter.title}\n")
        if chapter.about:
            parts.append(f"{chapter.about}\n")
        texts = {text for path in modules(*chapter.spoken) for text in spoken(path)}
        texts |= {text for path in modules(*chapter.raised) for text in spoken(path, raised=True)}
        parts.append(
            "\n".join(sorted(map(_item, texts), key=lambda item: (item.lower(), item))) + "\n"
        )
    return "\n".join(parts)


def _item(text: str) -> str:
    """Return a sentence as code, whatever marks of code are in it, on one line."""
    line = " ".join(text.split())
    return f"- `` {line} ``" if "`" in line else f"- `{line}`"


def main() -> None:
    """Write the page."""
    PAGE.write_text(command_reasons(), encoding="utf-8")


if __name__ == "__main__":
    main()
