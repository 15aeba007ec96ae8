"""What an audit finds: each model that an object can reach.

Owns the row. How to find them, each adapter knows: `audit(obj) -> Iterator[Audited]`.
"""

from __future__ import annotations

from typing import NamedTuple


class Audited(NamedTuple):
    """A model that is reachable from an object.

    Attributes:
        where: The way to it, such as ``agents[0].llm``.
        kind: Its class.
        model: Its name, if it has one.
        wrapped: Whether its calls go through a keeper.
    """

    where: str
    kind: str
    model: str
    wrapped: bool
