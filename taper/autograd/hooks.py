"""Handles that take a hook away again."""

from __future__ import annotations

import itertools
import weakref
from typing import Any

_next_id = itertools.count().__next__


class _Hooks(dict[int, Any]):
    """A dict that can be referred to weakly."""

    __slots__ = ("__weakref__",)


class RemovableHandle:
    """Returned by register_*_hook; `remove()` takes the hook away, as leaving a `with` does."""

    next_id = 0

    def __init__(self, hooks_dict: Any, *, extra_dict: Any = None) -> None:
        self.hooks_dict_ref = _refer(hooks_dict)
        self.id = _next_id()
        self.extra_dict_ref: tuple[Any, ...] = ()
        if isinstance(extra_dict, dict):
            self.extra_dict_ref = (_refer(extra_dict),)
        elif isinstance(extra_dict, list):
            self.extra_dict_ref = tuple(_refer(d) for d in extra_dict)

    @staticmethod
    def enter(hooks: dict[int, Any], hook: Any) -> RemovableHandle:
        """Puts `hook` into `hooks` and returns the handle."""
        handle = RemovableHandle(hooks)
        hooks[handle.id] = hook
        return handle

    def remove(self) -> None:
        """Takes the hook away; a second call does nothing."""
        for refer in (self.hooks_dict_ref, *self.extra_dict_ref):
            hooks = refer()
            if hooks is not None:
                hooks.pop(self.id, None)

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *error: object) -> None:
        self.remove()


def _refer(hooks: Any) -> Any:
    try:
        return weakref.ref(hooks)
    except TypeError:
        return lambda: hooks
