"""A walk through an object to the models that can be reached from it.

Owns the order of the walk: attributes, containers, and what functions hold on to (their closures, defaults and objects).
What is a model, and whose attributes are looked at, each adapter says.
"""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import chain
from typing import Any

#: Containers whose elements are looked at; no iterator, which a look would use up.
_MANY = (list, tuple, set, frozenset, deque)


def reach(
    root: Any, *, is_model: Callable[[Any], bool], opens: Callable[[Any], bool]
) -> Iterator[tuple[str, Any]]:
    """Each place of a model that is reachable from `root`, with the shortest way to what holds it (``agents[0].llm``).

    Args:
        root: Where to begin; its attributes are looked at in any case.
        is_model: What to stop at.
        opens: Whose attributes to look at.
    """
    seen = {id(root): root}
    queue = deque(_inside(root, "", opens=lambda _: True))
    while queue:
        where, thing = queue.popleft()
        if is_model(thing):
            yield where, thing
        elif id(thing) not in seen:
            seen[id(thing)] = thing  # kept, so that no other thing gets its id
            queue.extend(_inside(thing, where, opens))


def _inside(thing: Any, where: str, opens: Callable[[Any], bool]) -> Iterator[tuple[str, Any]]:
    if isinstance(thing, Mapping):
        return ((f"{where}[{key!r}]", value) for key, value in list(thing.items()))
    if isinstance(thing, _MANY):
        return ((f"{where}[{number}]", value) for number, value in enumerate(list(thing)))
    if isinstance(thing, partial) or inspect.isroutine(thing):
        return _held(thing, where)
    if not isinstance(thing, type) and opens(thing):
        return _attributes(thing, where)
    return iter(())


def _held(function: Any, where: str) -> Iterator[tuple[str, Any]]:
    """What a function brings along: its object, or the variables of its closure by name and its defaults."""
    if isinstance(function, partial):
        return ((where, part) for part in (function.func, function.args, function.keywords))
    if inspect.ismethod(function):
        return iter([(where, function.__self__), (where, function.__func__)])
    if not inspect.isfunction(function):
        return iter(())
    names = function.__code__.co_freevars
    cells = (
        (f"{where}.{name}", cell.cell_contents)
        for name, cell in zip(names, function.__closure__ or (), strict=True)
        if not _is_empty(cell)
    )
    defaults = ((where, part) for part in (function.__defaults__, function.__kwdefaults__) if part)
    return chain(cells, defaults)


def _is_empty(cell: Any) -> bool:
    """A variable that was not set yet."""
    try:
        cell.cell_contents  # noqa: B018 (asking raises)
    except ValueError:
        return True
    return False


def _attributes(thing: Any, where: str) -> Iterator[tuple[str, Any]]:
    own = dict(getattr(thing, "__dict__", {}))
    for kind in type(thing).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name not in ("__dict__", "__weakref__") and hasattr(thing, name):
                own.setdefault(name, getattr(thing, name))
    dot = "." if where else ""
    for name, value in own.items():
        yield f"{where}{dot}{name.lstrip('_')}", value
