"""A ledger in a file, as anybody may read it: also while applications write it.

Owns the reading of ``sqlite:///path``. Writes nothing.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from ratekeeper._core import Ledger
from ratekeeper.checks import fail

from .questions import Questions, chosen
from .rows import Entries
from .times import When, micros_of

_SCHEME = "sqlite:///"


class StoredCosts(Questions):
    """All that was ever written to a ledger's file, by any process. Exact: nothing is folded.

    Every question opens the file and reads what is in it now.

    Args:
        store: As `CostTracker` takes it, or the path of the file.

    Raises:
        ConfigError: It is no such text.
    """

    def __init__(self, store: str | os.PathLike[str]) -> None:
        self.path = path_of(store, "store", is_path=True)

    def entries(
        self,
        *,
        since: When = None,
        until: When = None,
        model: str | None = None,
        most: int = 10_000,
        **tags: str,
    ) -> Entries:
        """The newest single attempts, at most so many, in the order of their writing.

        Args:
            since: As in `total`.
            until: As in `total`.
            model: As in `total`.
            most: How many.
            **tags: As in `total`.

        Raises:
            StoreError: The file is not there, or cannot be read.
        """
        now = self._now()
        limits = micros_of(since, "since", now), micros_of(until, "until", now)
        return Entries(Ledger._entries_of(self.path, *limits, chosen(model, tags), most))

    def _groups(
        self, by: list[str], since: int | None, until: int | None, wanted: dict[str, str]
    ) -> list[tuple[tuple[str | None, ...], tuple[Any, ...]]]:
        return Ledger._groups_of(self.path, by, since, until, wanted)

    def _now(self) -> float:
        return time.time()


def path_of(store: object, field: str, *, is_path: bool = False) -> Path:
    """The file of ``sqlite:///relative.db``, ``sqlite:////absolute.db``, or of a path object.

    Args:
        store: What was given.
        field: Its name, for the error.
        is_path: A text without a scheme is a path.

    Raises:
        ConfigError: It is something else.
    """
    if isinstance(store, os.PathLike):
        return Path(os.fspath(store))
    if isinstance(store, str):
        if store.startswith(_SCHEME) and len(store) > len(_SCHEME):
            return Path(store[len(_SCHEME) :])
        if is_path and store and "://" not in store:
            return Path(store)
    return fail(field, '"sqlite:///relative.db", "sqlite:////absolute.db" or a Path', store)
