# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What the commands about outside judges read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from failure_monitor.cli.declaration import Argument

JudgedSources = Annotated[
    list[Path],
    Argument(
        metavar="SOURCES",
        help="labelled rollouts: bags, archives and what else rollouts are read from, rollout "
        "logs (.rollouts.jsonl), or .csv files of rollout, value and outcome",
    ),
]
