"""What an audit of ag2's agents and configs finds.

Owns what counts as a model there: model configs, and the clients of other adapters that agents or tools hold.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ag2.config import ModelConfig

from ratekeeper import adapters
from ratekeeper.adapters.audit import Audited
from ratekeeper.adapters.reach import reach

from .subclass import hold_of


def audit(obj: Any) -> Iterator[Audited]:
    """Every model that is reachable from an agent or a config."""
    if _is_config(obj):
        yield _row("config", obj)
        return
    for where, thing in reach(obj, is_model=_is_model, opens=_opens):
        if _is_config(thing):
            yield _row(where, thing)
        else:
            yield from (row._replace(where=where) for row in adapters.audited(thing))


def _is_config(thing: Any) -> bool:
    # No isinstance: the class is a protocol.
    return ModelConfig in type(thing).__mro__


def _is_model(thing: Any) -> bool:
    if _is_config(thing):
        return True
    try:
        return adapters.find(thing) != "ag2"
    except TypeError:
        return False


def _opens(thing: Any) -> bool:
    """ag2's objects, those of classes made from them, and what holds the functions of its tools."""
    return any(kind.__module__.partition(".")[0] in ("ag2", "fast_depends") for kind in type(thing).__mro__)


def _row(where: str, config: Any) -> Audited:
    return Audited(
        where, type(config).__name__, str(getattr(config, "model", "")), hold_of(config) is not None
    )
