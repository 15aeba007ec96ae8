"""Times of several contenders in turn, so that a noisy moment of the machine hits all of them.

Owns the method: blocks of a few milliseconds, all contenders in every round, medians of the ratios inside rounds.
"""

from __future__ import annotations

import gc
import random
from collections.abc import Callable, Mapping
from statistics import median
from time import perf_counter

#: Runs a contender so many times.
Run = Callable[[int], object]
#: Seconds of one operation, one entry a round.
Times = dict[str, list[float]]

_BLOCK = 0.003


def interleave(runs: Mapping[str, Run], rounds: int) -> Times:
    """Seconds of one operation of each contender, in every round; the order changes from round to round."""
    counts = {name: _count_for(run) for name, run in runs.items()}
    times: Times = {name: [] for name in runs}
    order, dice = list(runs), random.Random(1)
    gc.disable()
    try:
        for _ in range(rounds):
            dice.shuffle(order)
            for name in order:
                times[name].append(_time(runs[name], counts[name]))
            gc.collect()
    finally:
        gc.enable()
    return times


def ratio(times: Times, slow: str, fast: str) -> float:
    """How many times as long `slow` takes as `fast`: the median over the rounds."""
    return median(s / f for s, f in zip(times[slow], times[fast], strict=True))


def nanoseconds(times: Times, name: str) -> str:
    """The median time of one operation, for orientation."""
    return f"{median(times[name]) * 1e9:,.0f} ns"


def _count_for(run: Run) -> int:
    """So many repetitions as fill a block; the first ones, which may import or wait, do not count."""
    run(100)
    return max(1, int(_BLOCK / min(_time(run, 100) for _ in range(5))))


def _time(run: Run, count: int) -> float:
    start = perf_counter()
    run(count)
    return (perf_counter() - start) / count
