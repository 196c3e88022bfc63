# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A client of LeRobot's policy server that asks for one chunk at a time."""

from __future__ import annotations

import pickle
import time
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from lerobot.async_inference.helpers import RemotePolicyConfig, TimedObservation
from lerobot.transport import services_pb2, services_pb2_grpc
from lerobot.transport.utils import send_bytes_in_chunks

from testbed.lerobot_policies import ACTIONS, IMAGE

ACTIONS_PER_CHUNK = 8
FEATURES = {
    "observation.state": {"dtype": "float32", "shape": (len(ACTIONS),), "names": list(ACTIONS)},
    "observation.images.front": {
        "dtype": "image",
        "shape": (*IMAGE[1:], IMAGE[0]),
        "names": ["height", "width", "channels"],
    },
}


class PolicyClient:
    """A connection to a policy server, which may not have started yet."""

    def __init__(self, address: str, checkpoint: Path) -> None:
        channel = grpc.insecure_channel(address)
        grpc.channel_ready_future(channel).result(timeout=60)
        self._stub = services_pb2_grpc.AsyncInferenceStub(channel)
        self._stub.Ready(services_pb2.Empty())
        config = RemotePolicyConfig("act", str(checkpoint), FEATURES, ACTIONS_PER_CHUNK)
        self._stub.SendPolicyInstructions(services_pb2.PolicySetup(data=pickle.dumps(config)))

    def chunk(self, number: int) -> Any:
        """Return the actions for an observation that depends on its number alone."""
        generator = np.random.default_rng(number)
        observation = {
            **{name: float(generator.random()) for name in ACTIONS},
            "front": generator.integers(0, 255, (*IMAGE[1:], IMAGE[0]), dtype=np.uint8),
            "task": "take the cube",
        }
        timed = TimedObservation(
            timestamp=time.time(), timestep=10 * number, observation=observation, must_go=True
        )
        self._stub.SendObservations(
            send_bytes_in_chunks(pickle.dumps(timed), services_pb2.Observation)
        )
        answer = self._stub.GetActions(services_pb2.Empty())
        actions = pickle.loads(answer.data) if answer.data else []
        return np.array([action.get_action().numpy() for action in actions])
