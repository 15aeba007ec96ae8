"""What the log says of a ledger's file.

Owns the wording. Called by the core when something has changed, so each line stands for a change.
"""

from __future__ import annotations

import logging
from pathlib import Path

_log = logging.getLogger("ratekeeper")


def failing(_path: Path, why: str, waiting: int, _lost: int) -> None:
    """A write failed."""
    _log.error(
        "%s; %d entries wait in memory and are tried again every second, calls go on; it is not said again "
        "until it is over",
        why, waiting,
    )  # fmt: skip


def recovered(path: Path, _why: str, _waiting: int, lost: int) -> None:
    """Writes succeed again."""
    gone = (
        f"; {lost} entries were lost meanwhile, they are in the totals of this process alone" if lost else ""
    )
    _log.warning("the ledger %s is written again%s", path, gone)


def lost(_path: Path, why: str, waiting: int, _lost: int) -> None:
    """The memory for what waits is used up."""
    _log.error(
        "%s; %d entries wait for it, and there is no room for more: from now on they are in the totals of this process alone",
        why, waiting,
    )  # fmt: skip


def left(path: Path, why: str, waiting: int, lost: int) -> None:
    """The file is closed, and not everything is in it."""
    _log.error(
        "the ledger %s is closed without %d entries that could not be written: %s",
        path, waiting + lost, why or "they came too late",
    )  # fmt: skip
