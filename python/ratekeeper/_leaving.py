"""How a process ends, wherever that can be noticed: what it holds in stores is then given back at once.

Owns what is registered for that: with the interpreter, with `multiprocessing`, and for SIGTERM where it would end the
process by the default. Knows nothing of stores; `_pulse` says what is to be done.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
from collections.abc import Callable

from . import _core
from .errors import ConfigError

#: With ``default`` SIGTERM ends a process as if ratekeeper were not there.
SWITCH = "RATEKEEPER_SIGTERM"
_CHOICES = ("give-back", "default")


def call_at_exit(leave: Callable[[], None]) -> None:
    """Has `leave` called when this very process exits, perhaps twice."""
    atexit.register(leave)
    process = sys.modules.get("multiprocessing.process")
    # A child of `multiprocessing` that was forked ends without the interpreter's exit, before Python 3.13.
    if process is not None and process.parent_process() is not None:
        from multiprocessing.util import Finalize  # noqa: PLC0415 (only where it is in use)

        Finalize(None, leave, exitpriority=-100)


def tell_of_sigterm(pipe: int) -> None:
    """Has SIGTERM write a byte into a pipe where it would end this process by the default.

    Who has a handler, or ignores it, has reasons: gunicorn, uvicorn and Celery end in their own ways. The first process
    of a container is not ended by the default, and goes on with what it holds. To be called whenever a store is opened,
    since a handler may be gone by then.

    Raises:
        ConfigError: RATEKEEPER_SIGTERM is none of its values.
    """
    choice = os.environ.get(SWITCH) or _CHOICES[0]
    if choice not in _CHOICES:
        raise ConfigError(f"{SWITCH} must be one of {', '.join(_CHOICES)}, not {choice!r}", field=SWITCH)
    if choice == _CHOICES[0] and os.getpid() != 1:
        _core.tell_of_sigterm(pipe)


def end_by_sigterm() -> None:
    """Ends this process as it would have ended; who has taken SIGTERM over meanwhile is asked instead."""
    _core.forget_sigterm()
    os.kill(os.getpid(), signal.SIGTERM)
