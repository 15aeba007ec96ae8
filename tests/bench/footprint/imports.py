"""How long an import takes beyond starting the interpreter: medians of starts in turn, all in fresh processes."""

from __future__ import annotations

import subprocess
import sys
from statistics import median
from time import perf_counter

_QUICK_STARTS, _STARTS = 7, 41


def milliseconds(statement: str, quick: bool) -> float:
    """What a statement adds to a bare interpreter."""
    added = []
    _start(statement)
    for _ in range(_QUICK_STARTS if quick else _STARTS):
        bare = _start("pass")
        added.append(_start(statement) - bare)
    return median(added) * 1e3


def _start(statement: str) -> float:
    start = perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True)
    return perf_counter() - start
