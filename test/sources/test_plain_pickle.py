# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""That plain values come out of a pickle as they went in, and that nothing in it is ever run."""

from __future__ import annotations

import contextlib
import os
import pickle
import random
import tracemalloc
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from failure_monitor.sources import plain_pickle
from failure_monitor.sources.plain_pickle import PickleError, read_plain_pickle

PROTOCOLS = (3, 4, 5)

VALUES: dict[str, Any] = {
    "nothing": None,
    "truths": [True, False],
    "numbers": [0, -1, 255, 65536, 2**40, -(2**100), 1.5, float("inf")],
    "texts": ["", "id", "größer", "x" * 300],
    "bytes": b"\x00\xff",
    "tuples": [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)],
    "nested": {"a": {1: [("b", {"c": []})]}},
    "ordered": OrderedDict(b=1, a=2),
}

ARRAYS: dict[str, Any] = {
    "float16": np.arange(6, dtype=np.float16).reshape(2, 3),
    "float32": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "float64": np.arange(3.0),
    "bool": np.array([True, False]),
    "uint8": np.full((4, 4, 3), 200, np.uint8),
    "int64": np.array([-1, 2**40]),
    "big-endian": np.arange(3, dtype=">f4"),
    "big-endian again": np.arange(3, dtype=">f4"),
    "Fortran order": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "transposed": np.arange(24.0).reshape(2, 3, 4).transpose(1, 0, 2),
    "a view": np.arange(10.0)[::2],
    "without sides": np.array(3.5),
    "empty": np.zeros((0, 3)),
    "short texts": np.array(["id", "ood"]),
}

SCALARS: dict[str, Any] = {
    "float32": np.float32(1.5),
    "float64": np.float64(-0.1),
    "bool": np.bool_(True),
    "int": np.int64(7),
    "text": np.str_("id"),
}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_plain_values_come_out_as_they_went_in(protocol: int) -> None:
    assert read_plain_pickle(pickle.dumps(VALUES, protocol)) == VALUES


@pytest.mark.parametrize("protocol", [4, 5])
def test_sets_come_out_as_they_went_in(protocol: int) -> None:
    values = [{1, "a"}, frozenset([2.5]), set()]
    assert read_plain_pickle(pickle.dumps(values, protocol)) == values


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_arrays_come_out_as_they_went_in(protocol: int) -> None:
    arrays = read_plain_pickle(pickle.dumps(ARRAYS, protocol))
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(arrays[name], array, err_msg=name)
        assert (arrays[name].dtype, arrays[name].shape) == (array.dtype, array.shape)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_numpy_scalars_come_out_as_plain_values(protocol: int) -> None:
    scalars = read_plain_pickle(pickle.dumps(SCALARS, protocol))
    assert scalars == {name: scalar.item() for name, scalar in SCALARS.items()}
    assert {type(scalar) for scalar in scalars.values()} == {float, bool, int, str}


def test_values_that_are_shared_stay_shared() -> None:
    array, items = np.arange(3.0), [1]
    first, second, one, other = read_plain_pickle(pickle.dumps([array, array, items, items]))
    assert first is second
    assert one is other


@pytest.mark.parametrize("package", ["numpy.core", "numpy._core"])
@pytest.mark.parametrize("protocol", [4, 5])
def test_pickles_of_numpy_1_and_2_are_read(package: str, protocol: int) -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    content = pickle.dumps([array, np.float32(2)], protocol)
    assert read_plain_pickle(of_package(content, package))[1] == 2
    np.testing.assert_array_equal(read_plain_pickle(of_package(content, package))[0], array)


def of_package(content: bytes, package: str) -> bytes:
    """The pickle that a numpy whose inner package is called so would have made."""
    for module in ("multiarray", "numeric"):
        renamed = short_text(f"{package}.{module}")
        for name in (f"numpy.core.{module}", f"numpy._core.{module}"):
            content = content.replace(short_text(name), renamed)
    # Without its frame, whose length is another now.
    return content[:2] + content[11:]


class Call:
    """Pickled, it is a call of the function."""

    def __init__(self, *reduced: Any) -> None:
        self._reduced = reduced

    def __reduce__(self) -> Any:
        return self._reduced

    def __call__(self) -> None:
        """For the pickler, which takes what a call returns for a function only if it is one."""


def short_text(text: str) -> bytes:
    return b"\x8c" + bytes([len(text)]) + text.encode()


def code(marker: Path) -> str:
    return f"open({str(marker)!r}, 'w').close()"


def touch(marker: Path) -> Call:
    return Call(os.system, (f"touch {marker}",))


def objects(marker: Path) -> np.ndarray:
    array = np.empty(1, dtype=object)
    array[0] = touch(marker)
    return array


def saved_objects(marker: Path) -> str:
    path = marker.with_name("objects.npy")
    np.save(path, objects(marker), allow_pickle=True)
    return str(path)


RECONSTRUCT = np.zeros((2, 3)).T[::2].__reduce__()[0]
SCALAR = np.float64(0).__reduce__()[0]

HOSTILE_CALLS: dict[str, Callable[[Path], Any]] = {
    "os.system": touch,
    "eval": lambda marker: Call(eval, (code(marker),)),
    "exec": lambda marker: Call(exec, (code(marker),)),
    "open": lambda marker: Call(open, (str(marker), "w")),
    "os.mkdir": lambda marker: Call(os.mkdir, (str(marker),)),
    "a nested getattr": lambda marker: Call(
        Call(getattr, (Call(__import__, ("os",)), "system")), (f"touch {marker}",)
    ),
    "numpy.save": lambda marker: Call(np.savetxt, (str(marker), np.zeros(2))),
    "numpy.load": lambda marker: Call(np.load, (saved_objects(marker), None, True)),
    "numpy.memmap": lambda marker: Call(np.memmap, (str(marker), "f8", "w+", 0, (2,))),
    "an array of objects": objects,
    "a scalar of objects": lambda marker: Call(SCALAR, (np.dtype("O"), touch(marker))),
    "an array's state": lambda marker: Call(
        RECONSTRUCT, (np.ndarray, (0,), b"b"), (1, (1,), np.dtype("O"), False, [touch(marker)])
    ),
    "an array's subtype": lambda marker: Call(RECONSTRUCT, (touch(marker), (0,), b"b")),
    "a dtype's code": lambda marker: Call(np.dtype, (touch(marker), False, True)),
    "an ordered dict": lambda marker: OrderedDict(a=touch(marker)),
    "an ordered dict's arguments": lambda marker: Call(OrderedDict, ([("a", touch(marker))],)),
    "a default": lambda marker: Call(defaultdict, (None, {"a": touch(marker)})),
    "within containers": lambda marker: {"metadata": [({"a": touch(marker)},)]},
    "a state": lambda marker: Call(OrderedDict, (), {"a": touch(marker)}),
}

SYSTEM = b"c" + os.system.__module__.encode() + b"\nsystem\n"
RUNS_WHEN_MADE = b"c" + __name__.encode() + b"\nRunsWhenMade\n"

HOSTILE_OPCODES: dict[str, Callable[[bytes], bytes]] = {
    "REDUCE": lambda text: b"\x80\x04" + SYSTEM + text + b"\x85R.",
    "REDUCE from the memo": lambda text: (
        b"\x80\x04" + SYSTEM + b"q\x00" + text + b"\x85q\x010h\x00h\x01R."
    ),
    "STACK_GLOBAL": lambda text: (
        b"\x80\x04" + short_text("os") + short_text("system") + b"\x93" + text + b"\x85R."
    ),
    "STACK_GLOBAL from the memo": lambda text: (
        b"\x80\x04"
        + (short_text("os") + b"\x94" + short_text("system") + b"\x94h\x00h\x01\x93")
        + (text + b"\x85R.")
    ),
    "a dotted name within numpy": lambda text: (
        b"\x80\x04"
        + (short_text("numpy") + short_text("testing._private.utils.os.system") + b"\x93")
        + (text + b"\x85R.")
    ),
    "INST": lambda text: b"\x80\x04(" + text + b"i" + SYSTEM[1:] + b".",
    "OBJ": lambda text: b"\x80\x04(" + SYSTEM + text + b"o.",
    "NEWOBJ": lambda text: b"\x80\x04" + RUNS_WHEN_MADE + text + b"\x85\x81.",
    "NEWOBJ_EX": lambda text: b"\x80\x04" + RUNS_WHEN_MADE + text + b"\x85}\x92.",
    "BUILD": lambda text: (
        b"\x80\x04ccollections\nOrderedDict\n)R}"
        + (short_text("__setstate__") + SYSTEM + b"sb" + text + b"b.")
    ),
    "protocol 0": lambda text: SYSTEM + b"(V" + text[5:] + b"\ntR.",
    "protocol 0, INST": lambda text: b"(V" + text[5:] + b"\ni" + SYSTEM[1:] + b".",
    "a value before it": lambda text: b"\x80\x04N0" + SYSTEM + text + b"\x85R.",
    "nothing after it": lambda text: b"\x80\x04" + SYSTEM + text + b"\x85R",
}


class RunsWhenMade:
    """Stands for a class that acts before it is initialised."""

    def __new__(cls, command: str) -> RunsWhenMade:
        os.system(command)
        return super().__new__(cls)


def call_pickle(name: str, marker: Path) -> bytes:
    return pickle.dumps(HOSTILE_CALLS[name](marker), 4)


def opcode_pickle(name: str, marker: Path) -> bytes:
    command = f"touch {marker}".encode()
    return HOSTILE_OPCODES[name](b"X" + len(command).to_bytes(4, "little") + command)


HOSTILE = [
    *((call_pickle, name) for name in HOSTILE_CALLS),
    *((opcode_pickle, name) for name in HOSTILE_OPCODES),
]


@pytest.mark.parametrize(("make", "name"), HOSTILE)
def test_a_hostile_pickle_is_refused_and_does_not_run(
    tmp_path: Path, make: Callable[[str, Path], bytes], name: str
) -> None:
    marker = tmp_path / "marker"
    with pytest.raises(PickleError):
        read_plain_pickle(make(name, marker))
    assert not marker.exists()


@pytest.mark.parametrize(("make", "name"), HOSTILE)
def test_the_hostile_pickles_would_run_if_they_were_loaded(
    tmp_path: Path, make: Callable[[str, Path], bytes], name: str
) -> None:
    marker = tmp_path / "marker"
    with contextlib.suppress(Exception):
        pickle.loads(make(name, marker))
    assert marker.exists()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_call_is_refused_by_its_name(tmp_path: Path, protocol: int) -> None:
    content = pickle.dumps({"a": touch(tmp_path / "marker")}, protocol)
    with pytest.raises(
        PickleError, match=rf"at byte \d+ of \d+ .*'{os.system.__module__}.system'"
    ):
        read_plain_pickle(content)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\x80\x04Pwhatever\n.", "opcode PERSID"),
        (b"\x80\x04NQ.", "opcode BINPERSID"),
        (b"\x80\x04\x82\x01.", "opcode EXT1"),
        (b"\x80\x05\x97.", "opcode NEXT_BUFFER"),
        (b"\x80\x04N2.", "opcode DUP"),
        (b"\x80\x04cnumpy\nndarray\nK\x03\x85R.", "calls numpy.ndarray"),
        (b"\x80\x04cnumpy\ndtype\n}b.", "gives a function a state"),
        (b"\x80\x04N)R.", "calls something that is not a function"),
        (b"\x80\x04]}b.", "gives a list a state"),
        (b"\x80\x04}Na.", "fills a dict like a list"),
        (b"\x80\x04})Ns.", "has a tuple as a key"),
        (b"\x80\x04\x8f()\x90.", "has a tuple as a key"),
        (b"\x80\x04(N\x85\x86.", "takes more than there is"),
        (pickle.dumps([1], 2), "is of protocol 2, expected 3 or newer"),
        (pickle.dumps(np.zeros(2, "c8")), "whose dtype is 'c8'"),
        (pickle.dumps(np.zeros(2, "M8[s]")), "whose dtype is 'M8'"),
        (pickle.dumps(np.zeros(2, [("a", "f4")])), "whose dtype is 'V4'"),
        (pickle.dumps(np.zeros(2, object)), "whose dtype is 'O8'"),
        (pickle.dumps(np.ma.zeros(2)), "asks for 'numpy.ma"),
        (b"\x80\x04ctorch._utils\n_rebuild_tensor_v2\n.", r"torch tensors.*tensor\.cpu\(\)"),
    ],
)
def test_what_is_no_plain_value_is_refused_with_the_reason(content: bytes, reason: str) -> None:
    with pytest.raises(PickleError, match=reason):
        read_plain_pickle(content)


def dtype_pickle(code: str, state: tuple[Any, ...]) -> Call:
    return Call(np.dtype, (code, False, True), state)


@pytest.mark.parametrize(
    "state",
    [
        (3, "<", None, ("a",), {"a": (np.dtype("f8"), 0)}, 8, 8, 0),
        (3, "<", (np.dtype("f4"), (2,)), None, None, 8, 4, 0),
        (3, "X", None, None, None, -1, -1, 0),
        (3, np.zeros(3), None, None, None, -1, -1, 0),
        (),
    ],
)
def test_a_dtype_that_is_changed_is_refused(state: tuple[Any, ...]) -> None:
    with pytest.raises(PickleError):
        read_plain_pickle(pickle.dumps(dtype_pickle("f8", state), 4))


def test_a_dtype_that_claims_to_refer_to_objects_stays_one_of_numbers() -> None:
    honest = dtype_pickle("f8", (3, "<", None, None, None, -1, -1, 0xFF))
    dtype = read_plain_pickle(pickle.dumps(honest, 4))
    assert dtype == np.dtype("f8")
    assert not dtype.hasobject


@pytest.mark.parametrize(
    ("shape", "size"),
    [((3,), 16), ((2**62,), 16), ((2**62, 4), 0), ((-1,), 16), ((2.0,), 16), ((True, 2), 16)],
)
def test_an_array_whose_shape_is_not_that_of_its_bytes_is_refused(shape: Any, size: int) -> None:
    state = (1, shape, np.dtype("f8"), False, bytes(size))
    call = Call(RECONSTRUCT, (np.ndarray, (0,), b"b"), state)
    with pytest.raises(PickleError):
        read_plain_pickle(pickle.dumps(call, 4))


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x04\x8e" + (2**62).to_bytes(8, "little") + b"abc.",
        b"\x80\x04\x8d" + (2**62).to_bytes(8, "little") + b"abc.",
        b"\x80\x05\x96" + (2**62).to_bytes(8, "little") + b"abc.",
        b"\x80\x04B" + (2**32 - 1).to_bytes(4, "little") + b"abc.",
        b"\x80\x04\x8b" + (2**31 - 1).to_bytes(4, "little") + b"abc.",
        b"\x80\x04\x95" + (2**62).to_bytes(8, "little") + b"(.",
        b"\x80\x04Nr" + (2**32 - 1).to_bytes(4, "little") + b"0(.",
    ],
)
def test_a_length_that_is_a_lie_takes_no_memory(content: bytes) -> None:
    tracemalloc.start()
    with pytest.raises(PickleError):
        read_plain_pickle(content)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 20


def test_a_pickle_that_only_fills_the_memory_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain_pickle, "MAX_OPCODES", 1000)
    with pytest.raises(PickleError, match="more than 1000 opcodes"):
        read_plain_pickle(b"\x80\x04" + 2000 * b"]")


def test_a_pickle_that_nests_without_end_does_no_harm() -> None:
    depth = 200_000
    tuples = b"\x80\x04)" + depth * b"\x85"
    assert len(read_plain_pickle(tuples + b".")) == 1
    with pytest.raises(PickleError, match="as a key"):
        read_plain_pickle(b"\x80\x04}" + tuples[2:] + b"Ns.")
    doubling = b"\x80\x04)" + b"".join(b"q%ch%c\x86" % (i, i) for i in range(100))
    assert len(read_plain_pickle(doubling + b".")) == 2
    for content in (b"\x80\x04" + doubling[2:] + b"N\x93.", doubling + b"N\x86cnumpy\ndtype\n"):
        with pytest.raises(PickleError):
            read_plain_pickle(content)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_truncated_pickle_is_refused_wherever_it_ends(protocol: int) -> None:
    whole = pickle.dumps([VALUES, ARRAYS, SCALARS], protocol)
    for size in range(len(whole)):
        with pytest.raises(PickleError, match=f"of {size}"):
            read_plain_pickle(whole[:size])


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_damaged_bytes_give_values_or_a_refusal_and_nothing_else(protocol: int) -> None:
    whole = pickle.dumps([VALUES, ARRAYS, SCALARS], protocol)
    chance = random.Random(protocol)
    for _ in range(2000):
        damaged = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        with contextlib.suppress(PickleError):
            read_plain_pickle(bytes(damaged))
