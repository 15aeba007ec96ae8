"""Keepers by their names, for what was stored without one and is loaded again.

Owns the way from a name to the keeper.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ratekeeper.desk import KeeperId, find_desk

if TYPE_CHECKING:
    from ratekeeper.keeper import Keeper


def keeper_named(name: str) -> Keeper:
    """The one keeper of that name in this process.

    Raises:
        ConfigError: No keeper, or more than one, has that name.
    """
    return find_desk(KeeperId(name, "")).owner
