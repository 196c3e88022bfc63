# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The parameters of the metrics node, which writes what monitors publish for Prometheus."""

from __future__ import annotations

import os
from dataclasses import dataclass

from failure_monitor.errors import UsageError
from failure_monitor.parameters.parameter import parameter

SUFFIX = ".prom"
"""What node_exporter's textfile collector reads."""


@dataclass(frozen=True)
class MetricsParameters:
    """All parameters of the metrics node."""

    monitors: tuple[str, ...] = parameter(
        ("failure_monitor",), "Names of the monitors' nodes.", is_topic=True
    )
    metrics_file: str = parameter(
        "",
        "File for node_exporter's textfile collector: an absolute path that ends with .prom, in "
        "an existing folder. It is replaced as a whole. Empty for none.",
    )
    file_period: float = parameter(
        5.0, "Seconds between two versions of the file.", bounds=(1.0, 3600.0)
    )
    metrics_port: int = parameter(
        0,
        "Port of 127.0.0.1 on which /metrics is answered; 0 for none.",
        bounds=(0, 65535),
    )
    max_silence: float = parameter(
        0.6,
        "Seconds without a message on a monitor's permit after which its state is unknown; "
        "longer than its heartbeat_period.",
        bounds=(0.1, 5.0),
    )

    @property
    def idle(self) -> dict[str, str]:
        """Why parameters have no effect beside the others, by name."""
        return {} if self.metrics_file else {"file_period": "'metrics_file' is empty"}

    def check(self) -> None:
        """Reject a node that would publish nothing, or to a file that nothing reads.

        Raises:
            UsageError: names the parameter.
        """
        if not self.metrics_file and not self.metrics_port:
            raise UsageError(
                "'metrics_file' is empty and 'metrics_port' is 0: set one of them, or both"
            )
        if self.metrics_file and not (
            os.path.isabs(self.metrics_file) and self.metrics_file.endswith(SUFFIX)
        ):
            raise UsageError(
                f"the parameter 'metrics_file' is '{self.metrics_file}', expected an absolute "
                f"path that ends with {SUFFIX}"
            )
