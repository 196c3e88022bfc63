# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The layouts for RViz, PlotJuggler and Foxglove, and the analyzers, name what there really is."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree

import pytest
import rclpy
import yaml
from rclpy.qos import DurabilityPolicy, ReliabilityPolicy
from testbed.repository import ROOT

from failure_monitor.monitoring.alarm_values import RULE
from failure_monitor.scores.registry import DEFAULT_SCORES

CONFIG = ROOT / "config"

RVIZ_2 = {
    "rviz_common": {"Displays", "Help", "Selection", "Time", "Tool Properties", "Views"},
    "rviz_default_plugins": {
        *("AccelStamped", "Axes", "Camera", "DepthCloud", "Effort", "FluidPressure", "Grid"),
        *("GridCells", "Illuminance", "Image", "InteractiveMarkers", "LaserScan", "Map", "Marker"),
        *("MarkerArray", "Odometry", "Path", "PointCloud", "PointCloud2", "PointStamped"),
        *("Polygon", "Pose", "PoseArray", "PoseWithCovariance", "Range", "RelativeHumidity"),
        *("RobotModel", "TF", "Temperature", "TwistStamped", "Wrench"),
        *("FocusCamera", "Interact", "Measure", "MoveCamera", "PublishPoint", "Select"),
        *("SetGoal", "SetInitialPose", "FPS", "Orbit", "TopDownOrtho", "XYOrbit"),
    },
}
"""The classes of RViz 2 (plugins_description.xml of its packages, ROS 2 Humble)."""

OTHERS = {"/robot_description": ("std_msgs/msg/String", True)}
"""Topics that are not of this package: of which type, and whether latched."""


@pytest.fixture(scope="module")
def published(bundle_folder) -> dict[str, tuple[str, bool, bool]]:
    """What the nodes publish with a bundle: type, whether reliable, whether latched."""
    from failure_monitor.ros.displays.node import DisplaysNode
    from failure_monitor.ros.gate.node import GateNode
    from failure_monitor.ros.monitor.node import MonitorNode

    rclpy.init(args=["--ros-args", "-p", f"failure_monitor:bundle:={bundle_folder}"])
    nodes = [MonitorNode(), GateNode(), DisplaysNode()]
    found = {}
    for publisher in (publisher for node in nodes for publisher in node.publishers):
        kind = publisher.msg_type
        package, sort, _ = kind.__module__.split(".")[:3]
        qos = publisher.qos_profile
        found[publisher.topic_name] = (
            f"{package}/{sort}/{kind.__name__}",
            qos.reliability == ReliabilityPolicy.RELIABLE,
            qos.durability == DurabilityPolicy.TRANSIENT_LOCAL,
        )
    for node in nodes:
        node.destroy_node()
    rclpy.try_shutdown()
    return found


def score_topic(name: str) -> str:
    return f"/failure_monitor/normalised_scores/{name}"


def assert_plotted(topics: set[str], published: dict[str, Any]) -> None:
    """Every topic is there; the scores of a bundle's own are those of the default rule."""
    scores = {topic for topic in topics if topic.startswith(score_topic(""))}
    assert scores == {score_topic(name) for name in (*DEFAULT_SCORES, RULE)}
    assert topics - scores <= published.keys()


# RViz


def rviz() -> dict[str, Any]:
    return yaml.safe_load((CONFIG / "failure_monitor.rviz").read_text())


def values_of(node: Any, key: str) -> Iterator[Any]:
    """Every value under a key, however deep."""
    if isinstance(node, dict):
        for name, value in node.items():
            if name == key:
                yield value
            yield from values_of(value, key)
    elif isinstance(node, list):
        for value in node:
            yield from values_of(value, key)


def test_every_class_is_one_of_rviz_2():
    classes = [name for name in values_of(rviz(), "Class") if name]
    assert len(classes) > 10
    for name in classes:
        package, _, plugin = name.partition("/")
        assert plugin in RVIZ_2[package], name


@pytest.mark.ros
def test_every_display_subscribes_to_what_is_published_as_it_is(published):
    kinds = {"MarkerArray": "visualization_msgs/msg/MarkerArray", "Image": "sensor_msgs/msg/Image"}
    seen = set()
    for display in rviz()["Visualization Manager"]["Displays"]:
        topic = display.get("Topic") or display.get("Description Topic")
        if topic is None:
            continue
        name, kind = topic["Value"], display["Class"].partition("/")[2]
        seen.add(name)
        if name in OTHERS:
            _, latched = OTHERS[name]
            reliable = True
        else:
            message_type, reliable, latched = published[name]
            assert message_type == kinds[kind]
        # To ask for more than is offered is to get nothing.
        assert reliable or topic["Reliability Policy"] == "Best Effort"
        expected = "Transient Local" if latched else "Volatile"
        assert topic["Durability Policy"] == expected, name
    assert {"/failure_monitor/markers", "/failure_monitor/overlay"} <= seen


@pytest.mark.ros
def test_fixed_frame_is_that_of_the_markers():
    parameters = yaml.safe_load((CONFIG / "displays.yaml").read_text())["/**"]["ros__parameters"]
    fixed = rviz()["Visualization Manager"]["Global Options"]["Fixed Frame"]
    assert fixed == parameters["markers.frame"]


# PlotJuggler and Foxglove


@pytest.mark.ros
def test_plotjuggler_layout_plots_what_is_published(published):
    root = ElementTree.parse(CONFIG / "plotjuggler.xml").getroot()
    curves = [curve.get("name") for curve in root.iter("curve")]
    assert len(curves) == len(set(curves)) > 0
    assert all(name.endswith("/data") for name in curves)
    assert_plotted({name.removesuffix("/data") for name in curves}, published)
    for splitter in root.iter("DockSplitter"):
        sizes = [float(size) for size in splitter.get("sizes").split(";")]
        assert len(sizes) == int(splitter.get("count")) == len(list(splitter))
        assert sum(sizes) == pytest.approx(1)


def foxglove() -> dict[str, Any]:
    return json.loads((CONFIG / "foxglove.json").read_text())


def foxglove_paths() -> Iterator[str]:
    """Every message path and topic in the layout."""
    for panel in foxglove()["configById"].values():
        yield from (path["value"] for path in panel.get("paths", ()))
        yield from panel.get("topics", {})
        yield from values_of(panel, "imageTopic")
        yield from values_of(panel, "topicPath")
        yield from values_of(panel, "topicToRender")


@pytest.mark.ros
def test_foxglove_layout_shows_what_is_published(published):
    topics = {path.split(".")[0] for path in foxglove_paths() if path.startswith("/")}
    assert_plotted(topics, published)
    assert {"/failure_monitor/markers", "/failure_monitor/overlay/compressed"} <= topics


def test_foxglove_layout_places_each_of_its_panels_once():
    def placed(node: Any) -> Iterator[str]:
        if isinstance(node, str):
            yield node
        else:
            assert node["direction"] in ("row", "column")
            yield from placed(node["first"])
            yield from placed(node["second"])

    assert sorted(placed(foxglove()["layout"])) == sorted(foxglove()["configById"])


# Analyzers


def analyzers() -> dict[str, Any]:
    parameters = yaml.safe_load((CONFIG / "analyzers.yaml").read_text())["/**"]["ros__parameters"]
    return {name: part for name, part in parameters.items() if isinstance(part, dict)}


def analyzed_by(status: str) -> list[str]:
    """The analyzers that take a status of this name, as the aggregator does."""
    return [
        name
        for name, part in analyzers().items()
        if any(piece in status for piece in part["contains"])
    ]


@pytest.mark.parametrize("namespace", ["", "left/"])
@pytest.mark.parametrize(
    ("status", "name"),
    [
        ("failure_monitor: alarm", "alarm"),
        ("failure_monitor: scoring", "scoring"),
        ("failure_monitor: promise", "promise"),
        ("failure_monitor: input policy/embedding", "inputs"),
        ("failure_monitor_displays: displays", "displays"),
        ("failure_monitor_gate: state", "gate"),
        ("incident_recorder: incidents", "incidents"),
    ],
)
def test_every_status_has_one_analyzer(namespace, status, name):
    assert analyzed_by(namespace + status) == [name]
    assert analyzers()[name]["type"] == "diagnostic_aggregator/GenericAnalyzer"


def test_status_names_are_those_of_the_nodes():
    sources = "".join(path.read_text() for path in (ROOT / "failure_monitor/ros").rglob("*.py"))
    told = set(re.findall(r'name=f"\{[^}]+\}: (\w+)"', sources))
    # How a rollout ended is no state of the monitor's health, and not among the diagnostics.
    told.remove("outcome")
    assert told == {"alarm", "scoring", "promise", "displays", "state", "incidents"}


# Launch file


def test_launch_file_starts_rviz_and_the_recorder_only_if_asked_to():
    root = ElementTree.parse(ROOT / "launch" / "monitor.launch.xml").getroot()
    defaults = {arg.get("name"): arg.get("default") for arg in root.findall("arg")}
    conditions = {
        node.get("exec"): group.get("if") for group in root.findall("group") for node in group
    }
    assert conditions == {
        "rviz2": "$(var rviz)",
        "failure_monitor_displays_node": "$(var displays)",
        "failure_monitor_incident_recorder_node": "$(var record_incidents)",
    }
    assert defaults["rviz"] == defaults["record_incidents"] == "false"


@pytest.mark.ros
def test_launched_recorder_has_the_parameters_and_topics_that_are_set(tmp_path):
    from failure_monitor.ros.recording.incident_recorder_node import IncidentRecorderNode

    root = ElementTree.parse(ROOT / "launch" / "monitor.launch.xml").getroot()
    [element] = [
        n for n in root.iter("node") if n.get("exec") == "failure_monitor_incident_recorder_node"
    ]
    rclpy.init(args=["--ros-args", "-p", f"output:={tmp_path}"])
    try:
        node = IncidentRecorderNode()
        declared = node.get_parameters_by_prefix("")
        recorded = {node.resolve_topic_name(t) for t in declared["topics"].value if "*" not in t}
        set_here = {p.get("name") for p in element.iter("param") if p.get("name")}
        remapped = {node.resolve_topic_name(r.get("from")) for r in element.iter("remap")}
        node.destroy_node()
    finally:
        rclpy.try_shutdown()
    assert set_here <= declared.keys()
    assert remapped <= recorded
