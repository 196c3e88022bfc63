# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What rclpy does not publish is used in one file."""

import ast
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

import failure_monitor

rclpy = pytest.importorskip("rclpy")

PACKAGE = Path(failure_monitor.__file__).parent
INTERNALS = PACKAGE / "ros/common/rclpy_internals.py"
NODES = {"Node", "LifecycleNode", "LeanLifecycleNode"}


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__")


def attributes_of_rclpy(*modules: str) -> set[str]:
    """The private attributes and methods of all classes in some of rclpy's modules."""
    names = set()
    for module in modules:
        spec = importlib.util.find_spec(f"rclpy.{module}")
        assert spec is not None
        assert spec.origin is not None
        for node in ast.walk(ast.parse(Path(spec.origin).read_text())):
            if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "self":
                names.add(node.attr)
            elif isinstance(node, ast.FunctionDef):
                names.add(node.name)
    return {name for name in names if is_private(name)}


ANYWHERE = attributes_of_rclpy(
    "node", "lifecycle.node", "executors", "publisher", "subscription", "client", "context"
)
IN_NODES = attributes_of_rclpy("node", "lifecycle.node")


def uses(source: str) -> Iterator[str]:
    """Names of rclpy that it does not publish, in the order of the source."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            module = node.module or ""
            names = [f"{module}.{alias.name}" for alias in node.names]
            yield from (name for name in names if "rclpy._" in name)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if "rclpy._" in alias.name)
        elif isinstance(node, ast.Attribute) and getattr(node.value, "id", "") not in (
            "self",
            "cls",
        ):
            if node.attr in ANYWHERE or node.attr.startswith("_rclpy"):
                yield ast.unparse(node)
        elif isinstance(node, ast.Constant):
            if node.value in ANYWHERE:
                yield str(node.value)
        elif isinstance(node, ast.ClassDef) and NODES & {ast.unparse(base) for base in node.bases}:
            # To assign one would break the node as well.
            yield from (
                f"{node.name}.{each.attr}"
                for each in ast.walk(node)
                if isinstance(each, ast.Attribute)
                and getattr(each.value, "id", "") == "self"
                and each.attr in IN_NODES
            )


WITHOUT_ROS = PACKAGE / "policies"
"""A room whose modules are torch's, which have private names of their own."""


def test_private_names_of_rclpy_stand_in_one_file():
    found = {
        str(path.relative_to(PACKAGE)): names
        for path in PACKAGE.rglob("*.py")
        if path != INTERNALS
        and WITHOUT_ROS not in path.parents
        and (names := list(uses(path.read_text())))
    }
    assert found == {}


@pytest.mark.parametrize(
    "source",
    [
        "from rclpy._rclpy_pybind11 import RCLError",
        "from rclpy import _rclpy_pybind11",
        "import rclpy._rclpy_pybind11",
        "rclpy._rclpy_pybind11.RCLError",
        'getattr(node, "_parameter_overrides", {})',
        "self._node._parameters",
        "class Mine(Node):\n    def on(self):\n        self._parameters = 1",
    ],
)
def test_private_names_of_rclpy_are_found(source):
    assert list(uses(source))


def test_the_file_uses_names_that_this_version_has():
    assert list(uses(INTERNALS.read_text()))


SHARED_MODULES = {
    "rclpy",
    *(
        f"rclpy.{module}"
        for module in (
            "callback_groups",
            "client",
            "clock",
            "context",
            "duration",
            "exceptions",
            "executors",
            "lifecycle",
            "node",
            "parameter",
            "publisher",
            "qos",
            "qos_overriding_options",
            "serialization",
            "signals",
            "subscription",
            "time",
            "timer",
            "utilities",
            "validate_namespace",
        )
    ),
}
"""Modules that rclpy has on every distribution from Humble (3.3) to Lyrical (10.0)."""

BY_DISTRIBUTION = {"rclpy.event_handler", "rclpy.qos_event"}
"""Modules of which there is one or the other."""


def imported_when_run(tree: ast.AST) -> Iterator[str]:
    """Modules that are imported, but for those that only the type checker sees."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ImportFrom):
            yield node.module or ""
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
            yield from imported_when_run(node)


def test_what_is_imported_of_rclpy_is_in_every_distribution():
    found = {
        (module, path.name)
        for path in PACKAGE.rglob("*.py")
        for module in imported_when_run(ast.parse(path.read_text()))
        if module.split(".")[0] == "rclpy" and module not in SHARED_MODULES
    }
    assert found == {(module, "incompatible_qos.py") for module in BY_DISTRIBUTION}


@pytest.mark.ros
def test_what_cannot_be_read_is_told_by_name_and_is_as_if_it_had_not_come(monkeypatch):
    from rclpy.context import Context
    from rclpy.executors import SingleThreadedExecutor

    from failure_monitor.ros.common.rclpy_internals import TolerantExecutor

    def fail(executor: object, entity: object) -> None:
        raise RuntimeError("bad CDR")

    monkeypatch.setattr(SingleThreadedExecutor, "_take_subscription", fail)
    context, told = Context(), []
    rclpy.init(context=context)
    executor = TolerantExecutor(told.append, context=context)
    assert executor._take_subscription(SimpleNamespace(topic_name="/words")) is None
    executor.shutdown()
    rclpy.shutdown(context=context)
    (error,) = map(str, told)
    assert "what was received on '/words' cannot be read, and is ignored (bad CDR)" in error
