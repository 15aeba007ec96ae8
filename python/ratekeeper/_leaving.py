"""How a process ends, wherever that can be noticed: what it holds in stores is then given back at once.

Owns what is registered for that: with the interpreter, with `multiprocessing`, and for SIGTERM where it would end the
process by the default. Knows nothing of stores; `_pulse` says what is to be done.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from . import _core
from .errors import ConfigError

#: With ``default`` SIGTERM ends a process as if ratekeeper were not there.
SWITCH = "RATEKEEPER_SIGTERM"
_CHOICES = ("give-back", "default")
#: What the system raises for a fault of the very thread, and cannot put off.
_FAULTS = {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGTRAP, signal.SIGSYS}


@contextmanager
def signals_left_to_others() -> Iterator[None]:
    """Threads that are started within it are delivered no signal, as those of the native core (src/spawn.rs says why)."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals() - _FAULTS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def call_at_exit(leave: Callable[[], None]) -> None:
    """Has `leave` called when this very process exits, perhaps twice."""
    atexit.register(leave)
    process = sys.modules.get("multiprocessing.process")
    # A child of `multiprocessing` that was forked ends without the interpreter's exit, before Python 3.13.
    if process is not None and process.parent_process() is not None:
        from multiprocessing.util import Finalize  # noqa: PLC0415 (only where it is in use)

        Finalize(None, leave, exitpriority=-100)


def follow_celery(listen: Callable[[], None], leave: Callable[[], None]) -> None:
    """Has `listen` called before each task of a child of Celery's prefork pool, and `leave` when it exits."""
    celery = sys.modules.get("celery.signals")
    if celery is None:
        return
    # It ends without the interpreter's exit, and without that of `multiprocessing`,
    celery.worker_process_shutdown.connect(lambda **_: leave(), weak=False, dispatch_uid=leave)
    # and takes SIGTERM over after whoever makes a keeper in `worker_process_init`.
    celery.task_prerun.connect(lambda **_: listen(), weak=False, dispatch_uid=listen)


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
        _hear_celery_out(pipe)


def _hear_celery_out(pipe: int) -> None:
    """Has the second SIGTERM write that byte in a child of Celery's prefork pool.

    A task that is revoked with ``terminate=True`` is sent two. The child's handler lets the first one unwind the task, and
    leaves the second one to the default, which would end it before what it holds is given back.
    """
    celerys = getattr(sys.modules.get("billiard.common"), "_shutdown_cleanup", None)
    theirs, owner = signal.getsignal(signal.SIGTERM), os.getpid()
    if theirs is not celerys or not callable(theirs):
        return
    # Only the main thread may set a handler.
    if threading.current_thread() is not threading.main_thread():
        return

    def unwind(number: int, frame: FrameType | None) -> None:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {number})
        try:
            theirs(number, frame)
        finally:
            if os.getpid() == owner:
                _core.tell_of_sigterm(pipe)
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    signal.signal(signal.SIGTERM, unwind)
