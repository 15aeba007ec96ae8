"""Processes that tests start: forked, or with an interpreter of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
import traceback
from pathlib import Path

import ratekeeper as rk

PACKAGE = Path(rk.__file__).parents[1]


def forked(work):
    """A child that does the work and is gone; 0 if it returned."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            signal.alarm(100)
            work()
            code = 0
        except BaseException:
            traceback.print_exc()
            raise
        finally:
            os._exit(code)
    return pid


def code_of(pid):
    return os.waitpid(pid, 0)[1]


def at_once(act, processes=6, rounds=30):
    """Whether `act(number)` succeeds in so many children, all of which begin each round at the same moment."""
    begin = time.monotonic() + 0.2

    def work():
        for number in range(rounds):
            at = begin + number * 0.05
            time.sleep(max(0.0, at - time.monotonic() - 0.002))
            while time.monotonic() < at:
                pass
            act(number)

    return [code_of(child) for child in [forked(work) for _ in range(processes)]] == [0] * processes


def script(text, *arguments):
    """A new interpreter that runs the text."""
    command = [sys.executable, "-c", textwrap.dedent(text), *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE)}
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
