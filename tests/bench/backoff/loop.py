"""The calls of one contender, inside a child process: so many at once, each caller's next after its last.

Owns the loop and its log, with the standard library alone: it runs in other environments too. May not know what is
measured; times are monotonic seconds, which the processes of a machine share.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import cycle
from typing import Any, TypedDict

from .callers import CONTENDERS, Contender, Target

_TEXT = "the quota refills while a call waits its turn and every answer is counted once "
_PROBE = 0.05


class Load(TypedDict):
    """What is called.

    Attributes:
        lengths: Characters of the prompts.
        at_once: Callers.
        lasts: Seconds in which calls are begun, over and over the same; None for every prompt once.
        cut: Seconds after which calls still running are given up.
        think: Seconds a caller waits after a call that failed.
    """

    lengths: list[int]
    at_once: int
    lasts: float | None
    cut: float
    think: float


class Called(TypedDict):
    """What came of it.

    Attributes:
        began: When the first call began.
        seconds: From then until the last call ended.
        calls: Begin, end and success of every call that ended.
        running: Calls given up.
        errors: How often each error reached the caller.
        cpu: Seconds of CPU this process used.
        late: Seconds by which the loop's timers came late, the worst of a hundred.
    """

    began: float
    seconds: float
    calls: list[tuple[float, float, bool]]
    running: int
    errors: dict[str, int]
    cpu: float
    late: float


class _Callers:
    """All callers of one run, and their log."""

    def __init__(self, contender: Contender, load: Load) -> None:
        self._contender, self._load = contender, load
        self.calls: list[tuple[float, float, bool]] = []
        self.errors: Counter[str] = Counter()
        self.running = 0

    async def run(self) -> None:
        """Returns when all calls have ended, or at the cut."""
        texts = self._texts(time.monotonic())
        callers = [asyncio.create_task(self._call_all(texts)) for _ in range(self._load["at_once"])]
        done, late = await asyncio.wait(callers, timeout=self._load["cut"])
        for caller in late:
            caller.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        await asyncio.gather(*done)

    def _texts(self, began: float) -> Iterator[str]:
        """Drawn from by all callers; ends when the time for calls is over."""
        lasts, lengths = self._load["lasts"], self._load["lengths"]
        whole = _TEXT * (max(lengths) // len(_TEXT) + 1)
        for length in lengths if lasts is None else cycle(lengths):
            if lasts is not None and time.monotonic() > began + lasts:
                return
            yield whole[:length]

    async def _call_all(self, texts: Iterable[str]) -> None:
        for text in texts:
            began = time.monotonic()
            self.running += 1
            answered = await self._is_answered(text)
            self.running -= 1
            self.calls.append((began, time.monotonic(), answered))
            if not answered:
                await asyncio.sleep(self._load["think"])

    async def _is_answered(self, text: str) -> bool:
        try:
            await self._contender.call(text)
        except self._contender.errors as error:
            self.errors[type(error).__name__] += 1
            return False
        return True


async def _lateness(late: list[float]) -> None:
    """Notes how late timers come, until it is cancelled: whether the machine was fast enough for this client."""
    while True:
        due = time.monotonic() + _PROBE
        await asyncio.sleep(_PROBE)
        late.append(time.monotonic() - due)


async def _measure(contender: Contender, load: Load) -> Called:
    callers, late = _Callers(contender, load), [0.0]
    probe = asyncio.create_task(_lateness(late))
    cpu, began = time.process_time(), time.monotonic()
    await callers.run()
    ended = time.monotonic()
    probe.cancel()
    return Called(
        began=began,
        seconds=ended - began,
        calls=callers.calls,
        running=callers.running,
        errors=dict(callers.errors),
        cpu=time.process_time() - cpu,
        late=sorted(late)[len(late) * 99 // 100],
    )


def measure(name: str, target: Target, load: Load) -> Callable[[], Called]:
    """Calls a provider; its imports, and one call, are done when this returns."""
    loop = asyncio.new_event_loop()
    loop.run_until_complete(_warm(CONTENDERS[name](target)))
    contender = CONTENDERS[name](target)

    def run() -> Called:
        try:
            return loop.run_until_complete(_measure(contender, load))
        finally:
            loop.close()

    return run


async def _warm(contender: Contender) -> Any:
    return await contender.call("hello")
