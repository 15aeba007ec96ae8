"""What backing off achieves: known, halved and unknown limits, faults, refusals that cost, a pause told, an outage.

Owns the group. Every contender calls from a process of its own, a provider of its own in another; those of a trial run
side by side. A child that lives in another environment than this one imports this package too, so nothing is imported
here before it is needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..figures import Figure


def figures(quick: bool, only: Iterable[str] = (), contenders: Iterable[str] = ()) -> Iterator[Figure]:
    """The figures of all trials.

    Args:
        quick: A tenth of the calls.
        only: Parts of the names of trials; none takes all.
        contenders: Parts of the names of contenders; none takes all.

    Raises:
        SystemExit: Nothing has such a name.
    """
    from .group import compare

    return compare(quick, tuple(only), tuple(contenders))
