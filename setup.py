# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Packaging for colcon (ament_python) and for pip alike."""

from glob import glob

from setuptools import find_packages, setup

PACKAGE = "failure_monitor"

CALIBRATE = ["torch>=2.4", "onnx>=1.16", "matplotlib>=3.7", "jinja2>=3.0"]
DEMO = [*CALIBRATE, "metaworld==3.1.1", "mujoco>=3.0"]
TEST = [
    *DEMO,
    "colcon-common-extensions",
    "crepes",
    "hypothesis",
    "import-linter",
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

setup(
    name=PACKAGE,
    version="0.1.0",
    description="Runtime failure prediction for learned robot policies, as ROS 2 nodes",
    license="Apache-2.0",
    author="The failure_monitor authors",
    maintainer="The failure_monitor authors",
    maintainer_email="failure-monitor@users.noreply.github.com",
    python_requires=">=3.10",
    packages=find_packages(include=[PACKAGE, f"{PACKAGE}.*"]),
    package_data={
        PACKAGE: [
            "py.typed",
            "report/templates/*",
            "demo/demo.yaml",
            "demo/models/*/*",
            "demo/bags/*/*/*",
        ]
    },
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{PACKAGE}"]),
        (f"share/{PACKAGE}", ["package.xml"]),
        (f"share/{PACKAGE}/launch", glob("launch/*.launch.xml")),
        (f"share/{PACKAGE}/config", glob("config/*")),
    ],
    install_requires=[
        "backports.zstd; python_version < '3.14'",
        "lz4",
        "numpy>=1.24",
        "scipy>=1.10",
        "onnxruntime>=1.17",
        # The same `cv2` as python3-opencv, without its windows: a robot needs none.
        "opencv-python-headless",
        "PyYAML>=6",
        "rosbags>=0.11",
        "rich>=13",
    ],
    extras_require={"calibrate": CALIBRATE, "demo": DEMO, "test": TEST},
    zip_safe=False,
    entry_points={
        "console_scripts": [
            "failure-monitor = failure_monitor.cli:main",
            "monitor_node = failure_monitor.executables:monitor_node",
            "displays_node = failure_monitor.executables:displays_node",
            "gate_node = failure_monitor.executables:gate_node",
            "record_node = failure_monitor.executables:record_node",
            "incident_recorder_node = failure_monitor.executables:incident_recorder_node",
            "robot_node = failure_monitor.executables:robot_node",
            "policy_node = failure_monitor.executables:policy_node",
            "demo_director = failure_monitor.demo.director:main",
        ]
    },
)
