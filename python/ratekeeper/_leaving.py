"""How a process ends, wherever that can be noticed: what it holds in stores is then given back at once.

Owns what is registered for that: with the interpreter, with `multiprocessing`, and with SIGTERM where nobody else
handles it. Knows nothing of stores; `_pulse` says what is to be done.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
from collections.abc import Callable
from functools import partial
from types import FrameType

from .errors import ConfigError

#: With ``default`` SIGTERM ends a process as if ratekeeper were not there.
SWITCH = "RATEKEEPER_SIGTERM"
_CHOICES = ("give-back", "default")

#: The process in which it is registered; a child of a fork is another one.
_registered_in = 0


def call_at_end(leave: Callable[[], None]) -> None:
    """Has `leave` called when this process ends: once or several times, by exit or by SIGTERM, but not by SIGKILL.

    To be called whenever a store is opened: what could not be done the first time, from another thread than the main
    one, is done then.

    Raises:
        ConfigError: RATEKEEPER_SIGTERM is none of its values.
    """
    global _registered_in
    if _registered_in != os.getpid():
        _registered_in = os.getpid()
        atexit.register(leave)
        _register_in_child(leave)
    if _may_handle():
        signal.signal(signal.SIGTERM, partial(_end, leave))


def _register_in_child(leave: Callable[[], None]) -> None:
    """A child of `multiprocessing` that was forked ends without the interpreter's exit, before Python 3.13."""
    process = sys.modules.get("multiprocessing.process")
    if process is not None and process.parent_process() is not None:
        from multiprocessing.util import Finalize  # noqa: PLC0415 (only where it is in use)

        Finalize(None, leave, exitpriority=-100)


def _may_handle() -> bool:
    """Whether SIGTERM would otherwise end this process with no chance to give anything back.

    Who has a handler, or ignores it, has reasons: gunicorn, uvicorn and Celery end in their own ways.
    """
    choice = os.environ.get(SWITCH) or _CHOICES[0]
    if choice not in _CHOICES:
        raise ConfigError(f"{SWITCH} must be one of {', '.join(_CHOICES)}, not {choice!r}", field=SWITCH)
    return (
        choice == _CHOICES[0]
        and threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    )


def _end(leave: Callable[[], None], number: int, _frame: FrameType | None) -> None:
    """Gives back, and then ends this process as it would have ended: by the signal. A second one ends it at once."""
    signal.signal(number, signal.SIG_DFL)
    try:
        leave()
    finally:
        os.kill(os.getpid(), number)
