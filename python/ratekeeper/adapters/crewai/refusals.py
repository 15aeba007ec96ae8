"""Our own errors on their way through CrewAI: as what it lets through, and remembered where it does not.

Owns both. CrewAI runs a task again after any error but a `HookAborted`, which stops all that is no delegation;
delegation turns every error into text for the manager. So a refusal stands until its kickoff is over.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from copy import copy
from functools import cache
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from ratekeeper import forks
from ratekeeper._tried import refusal_in
from ratekeeper.errors import RatekeeperError

from . import seams

if TYPE_CHECKING:
    from ratekeeper.keeper import Keeper

#: Kickoffs whose refusal is remembered; the oldest go first, long after their end.
_MOST_KICKOFFS = 256
_LONGEST_CHAIN = 16

_latches: WeakKeyDictionary[Keeper, OrderedDict[str, RatekeeperError]] = WeakKeyDictionary()
_latching = forks.lock()


def check(keeper: Keeper, kickoffs: Iterable[str]) -> None:
    """Answers a call of a kickoff that was refused before, whatever became of the refusal.

    Raises:
        RatekeeperError: It was.
    """
    latched = _latches.get(keeper)
    if latched:
        for kickoff in kickoffs:
            error = latched.get(kickoff)
            if error is not None:
                raise denied(error)


def latch(keeper: Keeper, kickoffs: Iterable[str], error: RatekeeperError) -> None:
    """Remembers that calls of these kickoffs were refused, without the frames that the error holds."""
    kept = copy(error)
    with _latching:
        latched = _latches.setdefault(keeper, OrderedDict())
        for kickoff in kickoffs:
            latched[kickoff] = kept
        while len(latched) > _MOST_KICKOFFS:
            latched.popitem(last=False)


def ours_in(error: BaseException) -> RatekeeperError | None:
    """The error of ours that led to this one, if any did."""
    return next((link for link in _chain(error) if isinstance(link, RatekeeperError)), None)


def denied(error: RatekeeperError) -> RatekeeperError:
    """`error`, of a class that CrewAI takes for a decision: it does not try again."""
    aborted: Any = seams.find("crewai.hooks.dispatch", "HookAborted")
    if issubclass(type(error), aborted):
        return error
    kind: Any = type(error)
    twin = _recast(error, _kind(kind, aborted))
    twin.__dict__.update(reason=str(error), source="ratekeeper")
    return twin


def is_denial(error: Exception) -> bool:
    """Whether CrewAI takes an error for somebody's decision, not for a failure of the model."""
    aborted = seams.find("crewai.hooks.dispatch", "HookAborted")
    blocked = seams.find("crewai.llms.base_llm", "LLMCallBlockedError")
    return isinstance(error, aborted | blocked)


def note_shown(error: Exception) -> None:
    """Makes what an SDK raised of a refused response known to `Keeper.last_error`."""
    for link in _chain(error):
        refusal: Any = refusal_in(link)
        if refusal is not None:
            refusal.shown = getattr(refusal, "shown", link)
            return


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and what led to it; some are their own cause."""
    link: BaseException | None = error
    for _ in range(_LONGEST_CHAIN):
        if link is None:
            return
        yield link
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)


def _recast(error: RatekeeperError, kind: Any) -> RatekeeperError:
    twin: RatekeeperError = kind.__new__(kind, *error.args)
    twin.args = error.args
    twin.__dict__.update(error.__dict__)
    return twin.with_traceback(error.__traceback__)


@cache
def _kind(kind: Any, aborted: Any) -> Any:
    """A class of both; it pickles and copies as ours alone."""

    def __reduce__(self: Any) -> Any:
        return _recast(self, kind).__reduce__()

    names = {"__module__": kind.__module__, "__qualname__": kind.__qualname__, "__doc__": kind.__doc__}
    return type(kind.__name__, (kind, aborted), {**names, "__reduce__": __reduce__})
