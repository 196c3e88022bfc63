# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Standing in for one method of one object, so that a call of it is seen."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from typing import Any

Original = Callable[..., Any]
Around = Callable[[Original, tuple[Any, ...], dict[str, Any]], Any]
"""What is called instead of a method: it gets the method and the arguments of the call."""


class Shadow:
    """A method of one object with something around it, until it is taken away.

    The shadow lies on the object, not on its class: other objects of the class are as they were. A
    copy of the object, or one that was pickled, has the method itself.
    """

    def __init__(self, owner: Any, name: str, around: Around) -> None:
        """Put something around a method."""
        original: Original = getattr(owner, name)
        # Not the attributes: the method may be a shadow, whose own ones these are.
        functools.update_wrapper(self, original, updated=())
        self.original = original
        self._owner = owner
        self._name = name
        self._around: Around | None = around
        self._was_own = name in vars(owner)
        vars(owner)[name] = self

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call what is around the method."""
        around = self._around
        if around is None:
            return self.original(*args, **kwargs)
        return around(self.original, args, kwargs)

    def take_away(self) -> None:
        """Give the object its method back.

        Where somebody has put something around the shadow since, that stays, and the shadow in it
        passes every call on.
        """
        self._around = None
        own = vars(self._owner)
        if own.get(self._name) is not self:
            return
        if self._was_own:
            own[self._name] = self.original
        else:
            del own[self._name]

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        owner = memo.get(id(self._owner))
        if owner is None or self._was_own:
            return copy.deepcopy(self.original, memo)
        return getattr(type(owner), self._name).__get__(owner)

    def __reduce__(self) -> Any:
        if self._was_own:
            return copy.copy, (self.original,)
        return getattr, (self._owner, self._name)


def plain(method: Any) -> Any:
    """Return a method without its shadows, and not compiled."""
    while True:
        if isinstance(method, Shadow):
            method = method.original
        elif not hasattr(method, "_torchdynamo_orig_callable"):
            return method
        else:
            method = method._torchdynamo_orig_callable


def is_shadowed(owner: Any, name: str) -> bool:
    """Return whether a method of an object has a shadow, however deep."""
    method = getattr(owner, name)
    while method is not plain(method):
        if isinstance(method, Shadow):
            if method._around is not None:
                return True
            method = method.original
        else:
            method = method._torchdynamo_orig_callable
    return False
