"""The signs of life of this process in the stores that it shares with others.

Owns one thread, which says every few seconds that the process is there. One that is killed falls silent, and what it
held is given back within ten seconds; one whose end is noticed gives it back at once (see `_leaving`). It also says in
the log, once each, that a store was lost and that it is there again.
"""

from __future__ import annotations

import logging
import os
import select
import threading
from typing import TYPE_CHECKING, NamedTuple

from . import _core, _leaving
from .errors import StoreError

if TYPE_CHECKING:
    from .status import StoreTurn

#: Milliseconds between two signs. Others give up a process after ten seconds.
_INTERVAL = 2_000
#: What the thread is told: that the process exits. All else comes from SIGTERM.
_EXIT = b"e"

_log = logging.getLogger("ratekeeper")


class _Beating(NamedTuple):
    """The thread of one process, and both ends of the pipe by which it is told of the end."""

    thread: threading.Thread
    listens: int
    tells: int


#: By process, since a child of a fork inherits no thread, and its parent's pipe is not its own.
_beating: dict[int, _Beating] = {}


def start() -> None:
    """Starts the thread, unless this very process has it."""
    pid = os.getpid()
    if pid not in _beating:
        # Its parent's pipe is left alone: who closes all descriptors after a fork may have others of these numbers by now.
        _beating.clear()
        listens, tells = os.pipe()
        os.set_blocking(tells, False)
        thread = threading.Thread(target=_beat, args=(listens,), name="ratekeeper-pulse", daemon=True)
        _beating[pid] = _Beating(thread, listens, tells)
        with _leaving.signals_left_to_others():
            thread.start()
        _leaving.call_at_exit(_stop)
        _leaving.follow_celery(_listen, _stop)
    _listen()


def _listen() -> None:
    """Has the thread hear of SIGTERM, where there is one."""
    beating = _beating.get(os.getpid())
    if beating is not None and beating.thread.is_alive():
        _leaving.tell_of_sigterm(beating.tells)


def _beat(listens: int) -> None:
    end = select.poll()
    end.register(listens, select.POLLIN)
    while not end.poll(_INTERVAL):
        _core.pulse_stores()
        _tell()
    if os.read(listens, 1) != _EXIT:
        _leave(ending=True)


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
    beating = _beating.get(os.getpid())
    if beating is None:
        return
    os.write(beating.tells, _EXIT)
    beating.thread.join(1.0)
    _tell()
    _leave()
    # Until here SIGTERM would have cut the giving back short.
    _core.forget_sigterm()
    end = select.poll()
    end.register(beating.listens, select.POLLIN)
    while not beating.thread.is_alive() and end.poll(0):
        if os.read(beating.listens, 1) != _EXIT:
            _core.end_by_sigterm()


def _leave(*, ending: bool = False) -> None:
    try:
        _core.leave_stores(ending=ending)
    except StoreError as error:
        _log.warning(
            "what this process holds comes back when it is missed, and what it has not told yet is lost: %s",
            error,
        )
        if ending:
            _core.end_by_sigterm()
