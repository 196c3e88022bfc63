# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""LeRobot's own policy server and robot client over loopback, with a robot of paper."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from testbed.lerobot_policies import ACTIONS

FPS = 10
PERIOD = 1 / FPS
CHUNK = 12


class PaperRobot:
    """Moves as it is told, and notes it."""

    def __init__(self) -> None:
        self.sent: list[np.ndarray] = []
        self.observation_features = {**dict.fromkeys(ACTIONS, float), "front": (64, 64, 3)}
        self.action_features = dict.fromkeys(ACTIONS, float)

    def connect(self) -> None:
        pass

    def disconnect(self) -> None:
        pass

    def get_observation(self) -> dict[str, Any]:
        # Observations that are alike are not answered.
        joints = {name: 10.0 * len(self.sent) for name in ACTIONS}
        return {**joints, "front": np.zeros((64, 64, 3), np.uint8)}

    def send_action(self, action: dict[str, float]) -> dict[str, float]:
        self.sent.append(np.array(list(action.values())))
        return action


@contextmanager
def policy_server(on_policy: Callable[[Any, Any], None]) -> Iterator[tuple[Any, int]]:
    """Serve; whoever loads a policy, `on_policy` gets it with its postprocessor."""
    import grpc
    from lerobot.async_inference.configs import PolicyServerConfig
    from lerobot.async_inference.policy_server import PolicyServer
    from lerobot.transport import services_pb2_grpc

    class Server(PolicyServer):
        def SendPolicyInstructions(self, request, context):  # noqa: N802
            result = super().SendPolicyInstructions(request, context)
            on_policy(self.policy, self.postprocessor)
            return result

    server = Server(PolicyServerConfig(port=1, fps=FPS, inference_latency=0, obs_queue_timeout=1))
    served = grpc.server(futures.ThreadPoolExecutor(max_workers=4))
    services_pb2_grpc.add_AsyncInferenceServicer_to_server(server, served)
    port = served.add_insecure_port("127.0.0.1:0")
    served.start()
    try:
        yield server, port
    finally:
        server.stop()
        served.stop(grace=0).wait()


@contextmanager
def robot_client(
    port: int, checkpoint: Path, *, clock_lead: float = 0.0, **options: Any
) -> Iterator[Any]:
    """Run a client with a robot of paper, whose wall clock is ahead by so many seconds."""
    from lerobot.async_inference import robot_client as module
    from lerobot.async_inference.configs import RobotClientConfig

    robot = PaperRobot()
    make, clock = module.make_robot_from_config, module.time
    module.make_robot_from_config = lambda config: robot
    module.time = SimpleNamespace(
        time=lambda: time.time() + clock_lead, sleep=time.sleep, perf_counter=time.perf_counter
    )
    try:
        client = module.RobotClient(
            RobotClientConfig(
                policy_type="act",
                pretrained_name_or_path=str(checkpoint),
                robot=None,
                actions_per_chunk=CHUNK,
                server_address=f"127.0.0.1:{port}",
                fps=FPS,
                **options,
            )
        )
        assert client.start()
        threads = [
            threading.Thread(target=client.receive_actions, daemon=True),
            threading.Thread(target=client.control_loop, args=("take",), daemon=True),
        ]
        for thread in threads:
            thread.start()
        try:
            yield client
        finally:
            client.stop()
            for thread in threads:
                thread.join(5.0)
    finally:
        module.make_robot_from_config, module.time = make, clock
