# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Reads plain values from a pickle without executing it.

A pickle is a program that may import and call anything. Here its opcodes are only read
(https://docs.python.org/3/library/pickletools.html), and only those are followed that make
numbers, text, bytes, containers and numpy arrays of numbers. Nothing that a pickle names is
imported or called: an array is made from its bytes, dtype and shape if these fit one another.
"""

from __future__ import annotations

import math
import pickletools
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

OLDEST_PROTOCOL = 3
"""Older protocols write bytes as a call of a codec."""

MAX_OPCODES = 10_000_000
"""An array of any size has about 50 opcodes: more could only be meant to fill the memory."""

DTYPE_CODE = re.compile(r"b1|[iu][1248]|f[248]|U\d{1,3}")
"""Codes of booleans, numbers and short texts; not of references or structures."""

VALUE_OPCODES = frozenset(
    [
        "BININT",
        "BININT1",
        "BININT2",
        "LONG1",
        "LONG4",
        "BINFLOAT",
        "BINBYTES",
        "SHORT_BINBYTES",
        "BINBYTES8",
        "BYTEARRAY8",
        "SHORT_BINUNICODE",
        "BINUNICODE",
        "BINUNICODE8",
    ]
)
"""Opcodes whose argument is a value."""

CONSTANTS: Mapping[str, object] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}

EMPTY_CONTAINERS: Mapping[str, type[list[Any] | tuple[Any, ...] | dict[Any, Any] | set[Any]]] = {
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "EMPTY_DICT": dict,
    "EMPTY_SET": set,
}

SHORT_TUPLES: Mapping[str, int] = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}

KEY_TYPES = (str, bytes, int, float, type(None))
"""Allowed types of keys and items of sets; hashing a nested tuple could take forever."""


class PickleError(Exception):
    """A pickle that is damaged or needs more than plain values; the caller adds the file."""


def read_plain_pickle(content: bytes) -> Any:
    """Return the value of a pickle of protocol 3 to 5.

    Arrays share the memory of `content` if possible, and are then read-only.

    Raises:
        PickleError: It is truncated or damaged, is of an older protocol, or needs anything but
            plain values and numpy arrays of numbers.
    """
    machine = _Machine()
    position = 0
    try:
        for count, (opcode, argument, place) in enumerate(pickletools.genops(content)):
            position = place or 0
            if count == MAX_OPCODES:
                raise PickleError(f"has more than {MAX_OPCODES} opcodes")
            machine.follow(opcode.name, argument)
        return machine.result()
    except PickleError as error:
        raise PickleError(
            f"at byte {position} of {len(content)} the pickle {error}; save it again, protocol 4, "
            "with plain values and numpy arrays only ('tensor.cpu().numpy()' makes one)"
        ) from None
    # The errors that damaged bytes cause in the reader, the stack or numpy.
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        raise PickleError(
            f"the pickle is cut off or damaged after byte {position} of {len(content)}; copy it "
            "again or leave it out"
        ) from None


@dataclass(eq=False)
class _Draft:
    """An object that `finish` completes with a state, and its places in the memo."""

    finish: Callable[[Any], object]
    memo_keys: list[int] = field(default_factory=list)


class _Machine:
    """The stack machine that executes a pickle, without imports and calls."""

    def __init__(self) -> None:
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}
        self._protocol = 0

    def follow(self, opcode: str, argument: Any) -> None:
        """Follow one opcode.

        Raises:
            PickleError: Plain values do not need it.
        """
        if opcode == "PROTO":
            self._protocol = argument
        if self._protocol < OLDEST_PROTOCOL:
            raise PickleError(
                f"is of protocol {self._protocol}, expected {OLDEST_PROTOCOL} or newer"
            )
        if opcode in VALUE_OPCODES:
            self._stack.append(argument)
        elif opcode in CONSTANTS:
            self._stack.append(CONSTANTS[opcode])
        elif opcode in EMPTY_CONTAINERS:
            self._stack.append(EMPTY_CONTAINERS[opcode]())
        elif opcode in SHORT_TUPLES:
            self._stack.append(self._pop(len(self._stack) - SHORT_TUPLES[opcode]))
        elif opcode in _OTHER_OPCODES:
            _OTHER_OPCODES[opcode](self, argument)
        else:
            raise PickleError(f"holds the opcode {opcode}, which plain values never need")

    def result(self) -> Any:
        """Return the only value that is left at the end."""
        (value,) = self._stack
        return value

    def ignore(self, argument: Any) -> None:
        """Ignore PROTO, FRAME and STOP, which do not change the stack."""

    def mark(self, argument: Any) -> None:
        self._marks.append(len(self._stack))

    def tuple_(self, argument: Any) -> None:
        self._stack.append(self._pop_marked())

    def frozen_set(self, argument: Any) -> None:
        self._stack.append(frozenset(_keys(self._pop_marked())))

    def append(self, argument: Any) -> None:
        self._extend([self._stack.pop()])

    def appends(self, argument: Any) -> None:
        self._extend(self._pop_marked())

    def set_item(self, argument: Any) -> None:
        self._update(self._pop(len(self._stack) - 2))

    def set_items(self, argument: Any) -> None:
        self._update(self._pop_marked())

    def add_items(self, argument: Any) -> None:
        items = _keys(self._pop_marked())
        self._top(set).update(items)

    def memoise(self, argument: Any) -> None:
        self._remember(len(self._memo))

    def put(self, argument: Any) -> None:
        self._remember(argument)

    def get(self, argument: Any) -> None:
        self._stack.append(self._memo[argument])

    def name(self, argument: Any) -> None:
        self._push_named(*argument.split(" ", 1))

    def stack_name(self, argument: Any) -> None:
        self._push_named(*self._pop(len(self._stack) - 2))

    def reduce(self, argument: Any) -> None:
        make, arguments = self._pop(len(self._stack) - 2)
        # By identity: an array must not be compared, and only `_push_named` makes these.
        if not any(make is known for known in NAMED.values()) or type(arguments) is not tuple:
            raise PickleError("calls something that is not a function")
        self._stack.append(make(*arguments))

    def build(self, argument: Any) -> None:
        draft, state = self._pop(len(self._stack) - 2)
        if not isinstance(draft, _Draft) or type(state) is not tuple:
            raise PickleError(f"gives a {type(draft).__name__} a state")
        built = draft.finish(state)
        self._stack.append(built)
        for key in draft.memo_keys:
            self._memo[key] = built

    def _push_named(self, module: Any, name: Any) -> None:
        if type(module) is not str or type(name) is not str:
            raise PickleError("asks for something without a name")
        wanted = f"{module}.{name}"
        # numpy renamed its inner package; pickles have either name.
        known = NAMED.get(wanted.replace("numpy.core.", "numpy._core."))
        if known is None:
            raise PickleError(_why_not(wanted))
        self._stack.append(known)

    def _remember(self, key: int) -> None:
        value = self._stack[-1]
        self._memo[key] = value
        if isinstance(value, _Draft):
            value.memo_keys.append(key)

    def _extend(self, items: Iterable[Any]) -> None:
        self._top(list).extend(items)

    def _update(self, items: tuple[Any, ...]) -> None:
        self._top(dict).update(zip(_keys(items[::2]), items[1::2], strict=True))

    def _top(self, kind: type[Any]) -> Any:
        if type(self._stack[-1]) is not kind:
            raise PickleError(f"fills a {type(self._stack[-1]).__name__} like a {kind.__name__}")
        return self._stack[-1]

    def _pop_marked(self) -> tuple[Any, ...]:
        return self._pop(self._marks.pop())

    def _pop(self, start: int) -> tuple[Any, ...]:
        floor = self._marks[-1] if self._marks else 0
        if start < floor:
            raise PickleError("takes more than there is")
        taken = tuple(self._stack[start:])
        del self._stack[start:]
        return taken


def _keys(items: tuple[Any, ...]) -> tuple[Any, ...]:
    for item in items:
        if not isinstance(item, KEY_TYPES):
            raise PickleError(f"has a {type(item).__name__} as a key")
    return items


def _why_not(wanted: str) -> str:
    if wanted.startswith("torch."):
        return f"holds torch tensors ({wanted[:80]!r}), which only running it could restore"
    return (
        f"asks for {wanted[:80]!r}, which is neither a plain value nor a numpy array: running it "
        "could do anything"
    )


def _array(data: Any, dtype: Any, shape: Any, order: Literal["C", "F"]) -> NDArray[Any]:
    """Return an array in the memory of `data`; bytes, dtype and shape must fit exactly."""
    if not isinstance(dtype, np.dtype) or not isinstance(data, (bytes, bytearray)):
        raise PickleError("has an array of something other than numbers")
    if type(shape) is not tuple or not all(
        type(side) is int and 0 <= side <= sys.maxsize for side in shape
    ):
        raise PickleError("has an array without a shape")
    if math.prod(shape) * dtype.itemsize != len(data):
        raise PickleError(
            f"has an array of shape {shape[:8]} and dtype {dtype} in {len(data)} bytes"
        )
    return np.ndarray(shape, dtype, data, order=order)


def _array_of_state(state: Any) -> NDArray[Any]:
    _version, shape, dtype, is_fortran, data = state
    return _array(data, dtype, shape, "F" if is_fortran is True else "C")


def _array_draft(_subtype: Any, _shape: Any, _code: Any) -> _Draft:
    return _Draft(_array_of_state)


def _array_of_buffer(
    data: Any, dtype: Any, shape: Any, order: Any, axes: Any = None
) -> NDArray[Any]:
    array = _array(data, dtype, shape, "F" if order == "F" else "C")
    return array if axes is None else array.transpose(axes)


def _scalar(dtype: Any, data: Any) -> Any:
    return _array(data, dtype, (), "C").item()


def _dtype_draft(code: Any, _align: Any, _copy: Any) -> _Draft:
    if type(code) is not str or not DTYPE_CODE.fullmatch(code):
        named = repr(code[:20]) if type(code) is str else "unknown"
        raise PickleError(f"has an array whose dtype is {named}, not one of numbers")
    return _Draft(partial(_dtype_of_state, np.dtype(code)))


def _dtype_of_state(dtype: np.dtype[Any], state: Any) -> np.dtype[Any]:
    _version, byte_order, *structure = state
    if byte_order not in ("<", ">", "|", "=") or any(part is not None for part in structure[:3]):
        raise PickleError(f"changes the dtype {dtype}")
    return dtype.newbyteorder(byte_order)


def _ordered_dict() -> dict[Any, Any]:
    return {}


def _no_function(*_arguments: Any) -> None:
    raise PickleError("calls numpy.ndarray")


NAMED: Mapping[str, Callable[..., Any]] = {
    "collections.OrderedDict": _ordered_dict,
    "numpy.dtype": _dtype_draft,
    "numpy.ndarray": _no_function,
    "numpy._core.multiarray._reconstruct": _array_draft,
    "numpy._core.multiarray.scalar": _scalar,
    "numpy._core.numeric._frombuffer": _array_of_buffer,
}
"""Everything that a pickle may name, and what replaces it."""

_OTHER_OPCODES: Mapping[str, Callable[[_Machine, Any], None]] = {
    "PROTO": _Machine.ignore,
    "FRAME": _Machine.ignore,
    "STOP": _Machine.ignore,
    "MARK": _Machine.mark,
    "TUPLE": _Machine.tuple_,
    "FROZENSET": _Machine.frozen_set,
    "APPEND": _Machine.append,
    "APPENDS": _Machine.appends,
    "SETITEM": _Machine.set_item,
    "SETITEMS": _Machine.set_items,
    "ADDITEMS": _Machine.add_items,
    "MEMOIZE": _Machine.memoise,
    "BINPUT": _Machine.put,
    "LONG_BINPUT": _Machine.put,
    "BINGET": _Machine.get,
    "LONG_BINGET": _Machine.get,
    "GLOBAL": _Machine.name,
    "STACK_GLOBAL": _Machine.stack_name,
    "REDUCE": _Machine.reduce,
    "BUILD": _Machine.build,
}
