"""How much resident memory many waiting tasks take.

Owns the measurement, inside a child process. It asks the operating system, since Python's own
count does not see native memory.
"""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import ratekeeper as rk


async def _for_future() -> None:
    await asyncio.get_running_loop().create_future()


def _for_lease() -> Callable[[], Coroutine[Any, Any, None]]:
    limiter = rk.RateLimiter(rk.Quota(rpm=1))
    limiter.acquire().wait().close()

    async def wait() -> None:
        async with limiter.acquire(tokens=7):
            pass

    return wait


async def _measure(kind: str, tasks: int) -> int:
    wait = _for_future if kind == "future" else _for_lease()
    gc.collect()
    before = _resident()
    waiting = [asyncio.create_task(wait()) for _ in range(tasks)]
    await asyncio.sleep(0)
    grown = _resident() - before
    for task in waiting:
        task.cancel()
    await asyncio.wait(waiting)
    return grown


def _resident() -> int:
    """Bytes of this process in memory."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    told = subprocess.run(
        ["ps", "-o", "rss=", "-p", str(os.getpid())], check=True, capture_output=True, text=True
    )
    return int(told.stdout) * 1024


def measure(kind: str, tasks: int) -> Callable[[], int]:
    """Bytes by which the process grows when so many tasks wait, for a `future` or a `lease`."""
    return lambda: asyncio.run(_measure(kind, tasks))
