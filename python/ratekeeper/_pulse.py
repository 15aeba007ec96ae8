"""The signs of life of this process in the stores that it shares with others.

Owns one thread, which says every few seconds that the process is there. One that is killed falls silent, and what it
held is given back within ten seconds; one whose end is noticed gives it back at once (see `_leaving`).
"""

from __future__ import annotations

import logging
import os
import threading

from . import _core, _leaving
from .errors import StoreError

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
    said = ""
    while not end.wait(_INTERVAL):
        said = _say(said)


def _say(said: str) -> str:
    """Says that this process is there; returns what is wrong, which is logged where it is not what was `said` last."""
    try:
        _core.pulse_stores()
    except StoreError as error:
        # Whoever asks for a lease is told, each time; here it is a line in the log.
        if str(error) != said:
            _log.warning("cannot tell the other processes that this one is there: %s", error)
        return str(error)
    return ""


def _stop() -> None:
    if os.getpid() not in _beating:
        return
    thread, end = _beating[os.getpid()]
    end.set()
    thread.join(1.0)
    try:
        _core.leave_stores()
    except StoreError as error:
        _log.warning("what this process holds comes back when it is missed: %s", error)
