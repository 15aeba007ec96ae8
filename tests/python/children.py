"""Processes that tests start: forked, or with an interpreter of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
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


def script(text, *arguments):
    """A new interpreter that runs the text."""
    command = [sys.executable, "-c", textwrap.dedent(text), *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE)}
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
