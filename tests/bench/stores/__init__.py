"""One quota for all processes: decisions a second, six processes with one key against the fake provider, and what is lost.

Owns the order. Each process is given the full quota; both stores make the same runs.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..figures import Figure
from .decisions import decisions
from .losses import losses
from .runs import runs


def figures(quick: bool) -> Iterator[Figure]:
    """Decisions, runs and losses."""
    yield from decisions(quick)
    yield from runs(quick)
    yield from losses(quick)
