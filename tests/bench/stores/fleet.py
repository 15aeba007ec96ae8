"""Processes that start together."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..child import Child

#: As many replicas as people have.
PROCESSES = 6


def at_once(runs: Iterable[tuple[Any, ...]]) -> list[dict[str, Any]]:
    """What functions of this package return, each in a process of its own; they start when all are ready."""
    children = [Child(*run) for run in runs]
    for child in children:
        child.ready()
    for child in children:
        child.go()
    return [child.result() for child in children]
