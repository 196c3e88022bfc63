# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Writes one incident: the bag with its metadata, and the still."""

from __future__ import annotations

import json
from pathlib import Path

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.serialization import deserialize_message

from failure_monitor.errors import UsageError
from failure_monitor.incidents.folder import IncidentFolder, NoRoomError
from failure_monitor.incidents.memory import RecordedMessage
from failure_monitor.incidents.trigger import Incident
from failure_monitor.ros.common.key_values import read_key_values
from failure_monitor.ros.recording.bag_writer import BagWriter, OfferedProfiles
from failure_monitor.ros.recording.incident_still import Still, StillError

BYTES_BETWEEN_CHECKS = 4 << 20
"""Bytes of messages that are written between two checks of the disk, and must be free."""

DIAGNOSTICS_TYPE = "diagnostic_msgs/msg/DiagnosticArray"
BUNDLE_HASH = "bundle_sha256"
"""Key of the hash of the bundle in the diagnostics of a monitor."""

ALARM_SUFFIX = "/alarm"
"""Last part of the topic of an alarm, behind the name of the monitor."""


class IncidentBag:
    """A bag of an incident, which ends early but stays valid if the disk has no room."""

    def __init__(
        self,
        folder: IncidentFolder,
        incident: Incident,
        *,
        whole_rollout: bool | None,
        still_topic: str,
        offered: OfferedProfiles,
    ) -> None:
        """Open the bag.

        Args:
            folder: The folder of incidents.
            incident: The reason for the recording.
            whole_rollout: True if it starts with its rollout; None if unknown.
            still_topic: The topic of the still's pictures; empty for none.
            offered: Returns the quality of service with which a topic is to be played.

        Raises:
            NoRoomError: The disk has no room.
            OSError: The disk fails.
        """
        self.undefined: set[str] = set()
        """The topics that are left out, since the definition of their type is not installed."""
        self.problem = ""
        """Why the bag is incomplete; empty if it is complete."""
        self._folder = folder
        self._incident = incident
        self._whole_rollout = whole_rollout
        self._still = Still(still_topic, incident.nanoseconds)
        self._bundle_hashes: dict[str, str] = {}
        self._unchecked = 0
        self._is_full = False
        folder.make_room(BYTES_BETWEEN_CHECKS)
        self._bag = BagWriter(folder.next_path(1e-9 * incident.nanoseconds), offered)

    def write(self, message: RecordedMessage) -> bool:
        """Append a message if the disk has room, and return whether it was appended.

        Raises:
            OSError: The disk fails.
        """
        self._unchecked += len(message.data)
        if self._unchecked > BYTES_BETWEEN_CHECKS:
            self._check_room()
            self._unchecked = len(message.data)
        if self._is_full or message.topic in self.undefined:
            return False
        try:
            self._bag.write(message.topic, message.message_type, message.nanoseconds, message.data)
        except UsageError as error:
            self.undefined.add(message.topic)
            self.problem = f"'{message.topic}' is left out: {error}"
            return False
        self._still.add(message)
        if message.message_type == DIAGNOSTICS_TYPE:
            self._bundle_hashes |= _bundle_hashes(message.data)
        return True

    def finish(self, reason: str, dropped: int) -> Path:
        """Complete the bag and return its path.

        Args:
            reason: The reason for its end.
            dropped: The number of messages that it lacks.

        Raises:
            OSError: The disk fails.
        """
        try:
            self._still.write(self._bag.partial)
        except StillError as error:
            self.problem = self.problem or str(error)
        self._bag.close(self._custom_data(reason, dropped))
        return self._bag.path

    def abandon(self) -> None:
        """Remove the incomplete bag."""
        self._bag.abandon()

    def _check_room(self) -> None:
        try:
            self._folder.make_room(
                max(self._unchecked, BYTES_BETWEEN_CHECKS), spare=self._bag.path
            )
        except NoRoomError as error:
            self._is_full = True
            self.problem = f"'{self._bag.path.name}' is cut short: {error}"

    def _custom_data(self, reason: str, dropped: int) -> dict[str, str]:
        """Return the custom data of the bag's metadata, which `ros2 bag info` shows."""
        known = {None: "unknown", True: "true", False: "false"}
        return {
            "incident.cause": self._incident.cause,
            "incident.reason": self._incident.reason,
            "incident.source": self._incident.source,
            "incident.nanoseconds": str(self._incident.nanoseconds),
            "incident.values": json.dumps(dict(self._incident.values)),
            "incident.bundle_sha256": self._bundle_hash(),
            "incident.begins_with_rollout": known[self._whole_rollout],
            "incident.dropped_messages": str(dropped),
            "incident.end": "the disk had no room for more" if self._is_full else reason,
        }

    def _bundle_hash(self) -> str:
        """Return the hash of the bundle of the monitor that raised the alarm; empty if unknown."""
        monitor = self._incident.source.removeprefix("/").removesuffix(ALARM_SUFFIX)
        if monitor in self._bundle_hashes:
            return self._bundle_hashes[monitor]
        hashes = set(self._bundle_hashes.values())
        return hashes.pop() if len(hashes) == 1 else ""


def _bundle_hashes(diagnostics: bytes) -> dict[str, str]:
    """Return the hashes of the bundles in diagnostics, by node."""
    try:
        array = deserialize_message(diagnostics, DiagnosticArray)
    except Exception:  # rclpy raises whatever the middleware's plug-in does
        return {}
    return {
        status.name.partition(":")[0]: values[BUNDLE_HASH]
        for status in array.status
        if BUNDLE_HASH in (values := read_key_values(status.values))
    }
