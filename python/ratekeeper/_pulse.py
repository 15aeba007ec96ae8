"""The signs of life of this process in the stores that it shares with others.

Owns one thread, which says every few seconds that the process is there. One that is killed falls silent, and what it
held is given back within ten seconds; one whose end is noticed gives it back at once (see `_leaving`). It also says in
the log, once each, that a store was lost and that it is there again.
"""

from __future__ import annotations

import logging
import os
import threading
from typing import TYPE_CHECKING

from . import _core, _leaving
from .errors import StoreError

if TYPE_CHECKING:
    from .status import StoreTurn

#: Seconds between two signs. Others give up a process after ten.
_INTERVAL = 2.0

_log = logging.getLogger("ratekeeper")
#: By process, since a child of a fork inherits neither the thread nor the lock inside its event.
_beating: dict[int, tuple[threading.Thread, threading.Event]] = {}


def start() -> None:
    """Starts the thread, unless this very process has it."""
    _leaving.call_at_end(_stop)
    pid = os.getpid()
    if pid in _beating:
        return
    end = threading.Event()
    thread = threading.Thread(target=_beat, args=(end,), name="ratekeeper-pulse", daemon=True)
    _beating.clear()
    _beating[pid] = (thread, end)
    thread.start()


def _beat(end: threading.Event) -> None:
    while not end.wait(_INTERVAL):
        _core.pulse_stores()
        _tell()


def _tell() -> None:
    """Logs which stores were lost and came back."""
    for turn in _core.store_turns():
        if turn["is_back"]:
            _log.info(
                "the store %s is there again after %.0f s: %d calls were granted without it, which it has been told; "
                "the whole quota is shared again",
                turn["url"], turn["since"], turn["decided_alone"],
            )  # fmt: skip
        else:
            _log.warning(
                "the store %s is lost: %s. %s. It is tried again every second; nothing has to be restarted once it "
                "is there again",
                turn["url"], turn["why"], _done_without(turn),
            )  # fmt: skip


def _done_without(turn: StoreTurn) -> str:
    """What is done while a store is lost, as a sentence."""
    if turn["policy"] == "open":
        return 'Until it is back every call is granted (store_lost="open"): expect 429s'
    if turn["policy"] == "closed":
        return 'Until it is back no call is granted (store_lost="closed"): each raises StoreError'
    count = turn["processes"]
    return (
        f"Until it is back this process goes on with 1/{count} of each quota, since {count} processes used the store "
        'when it was last seen (store_lost="share")'
    )


def _stop() -> None:
    if os.getpid() not in _beating:
        return
    thread, end = _beating[os.getpid()]
    end.set()
    thread.join(1.0)
    _tell()
    try:
        _core.leave_stores()
    except StoreError as error:
        _log.warning("what this process holds comes back when it is missed: %s", error)
