# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Packaging for colcon (ament_python) and for pip alike."""

import sys
from glob import glob
from pathlib import Path

from setuptools import find_packages, setup

PACKAGE = "failure_monitor"

CALIBRATE = ["torch>=2.4", "onnx>=1.16", "matplotlib>=3.5", "jinja2>=3.0", "markupsafe"]
DEMO = [*CALIBRATE, "metaworld==3.1.1", "mujoco>=3.0"]
LEROBOT = ["av>=11", "pyarrow>=12"]
RAY = ["ray>=2.40"]
REMOTE = ["fsspec>=2023.1", "s3fs>=2023.1"]
DOCS = ["sphinx>=7", "myst-parser>=3", "furo"]
TEST = [
    *DEMO,
    *LEROBOT,
    *RAY,
    *REMOTE,
    "colcon-common-extensions",
    "crepes",
    "hypothesis",
    "import-linter",
    "moto[server]>=5",
    "mypy",
    "psutil",
    "pytest",
    "pytest-rerunfailures",
    "pytest-timeout",
    "pytest-xdist",
    "ruff",
    "scikit-learn",
    "types-PyYAML",
    "zstandard",
]

# The demo's models and bags are nearly all of the package's size. A wheel does without them; a
# workspace shares them.
DEMO_FOLDERS = glob(f"{PACKAGE}/demo/models/*") + glob(f"{PACKAGE}/demo/bags/*/*")
DEMO_DATA = [
    (f"share/{folder}", [path for path in glob(f"{folder}/*") if not path.endswith(".py")])
    for folder in DEMO_FOLDERS
    if "bdist_wheel" not in sys.argv
]

setup(
    name=PACKAGE,
    version="0.2.0",
    description="Runtime failure prediction for learned robot policies, as ROS 2 nodes",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    author="The failure_monitor authors",
    maintainer="The failure_monitor authors",
    maintainer_email="failure-monitor@users.noreply.github.com",
    python_requires=">=3.10",
    packages=find_packages(include=[PACKAGE, f"{PACKAGE}.*"]),
    package_data={PACKAGE: ["py.typed", "report/templates/*", "demo/demo.yaml"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{PACKAGE}"]),
        (f"share/{PACKAGE}", ["package.xml"]),
        (f"share/{PACKAGE}/launch", glob("launch/*.launch.xml")),
        (f"share/{PACKAGE}/config", glob("config/*")),
        *DEMO_DATA,
    ],
    # The lowest versions are those of the distributions: of Ubuntu 22.04 for Python 3.10, of
    # Debian 12 and Ubuntu 24.04 for newer ones (.ci/distributions).
    install_requires=[
        "backports.zstd; python_version < '3.14'",
        "lz4",
        "numpy>=1.21.5; python_version < '3.11'",
        "numpy>=1.24.2; python_version >= '3.11'",
        "scipy>=1.8; python_version < '3.11'",
        "scipy>=1.10.1; python_version >= '3.11'",
        "onnxruntime>=1.12.1; python_version < '3.11'",
        "onnxruntime>=1.17; python_version >= '3.11'",
        # The same `cv2` as python3-opencv, without its windows: a robot needs none.
        "opencv-python-headless>=4.5.4",
        "PyYAML>=5.4.1; python_version < '3.11'",
        "PyYAML>=6.0; python_version >= '3.11'",
        "rich>=11.2",
        "rosbags>=0.11",
    ],
    extras_require={
        "calibrate": CALIBRATE,
        "demo": DEMO,
        "docs": DOCS,
        "lerobot": LEROBOT,
        "ray": RAY,
        "remote": REMOTE,
        "test": TEST,
    },
    zip_safe=False,
    entry_points={
        "console_scripts": [
            "failure-monitor = failure_monitor.executables:command_line",
            "failure_monitor_node = failure_monitor.executables:monitor_node",
            "failure_monitor_displays_node = failure_monitor.executables:displays_node",
            "failure_monitor_gate_node = failure_monitor.executables:gate_node",
            "failure_monitor_record_node = failure_monitor.executables:record_node",
            "failure_monitor_incident_recorder_node = "
            "failure_monitor.executables:incident_recorder_node",
            "failure_monitor_judge_node = failure_monitor.executables:judge_node",
            "failure_monitor_metrics_node = failure_monitor.executables:metrics_node",
            "failure_monitor_demo_robot_node = failure_monitor.executables:robot_node",
            "failure_monitor_demo_policy_node = failure_monitor.executables:policy_node",
            "failure_monitor_demo_director = failure_monitor.executables:demo_director",
        ],
        # `ros2 failure_monitor`, where ros2cli is.
        "ros2cli.command": ["failure_monitor = failure_monitor.ros2_command:Ros2Command"],
    },
)
