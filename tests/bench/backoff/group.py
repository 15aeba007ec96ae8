"""Which trials and contenders take part, and the order of the figures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..figures import Figure
from . import verdicts
from .callers import CONTENDERS
from .race import Outcome, race
from .trials import SLOW, Trial, groups

#: Seconds from one contender's start to the next. An opening burst takes a core for about two.
_APART, _QUICKLY_APART = 2.0, 0.3


def compare(quick: bool, only: Sequence[str], contenders: Sequence[str]) -> Iterator[Figure]:
    """The figures of the trials and contenders whose names contain one of the texts; none takes all.

    Raises:
        SystemExit: A text is in no name.
    """
    together = groups(quick)
    names = _chosen(only, [trial.name for trials in together for trial in trials])
    if quick and not only:
        names = [name for name in names if name not in SLOW]
    who = _chosen(contenders, list(CONTENDERS))
    for trials in together:
        if chosen := [trial for trial in trials if trial.name in names]:
            yield from _group(chosen, who, _QUICKLY_APART if quick else _APART)


def _group(trials: Sequence[Trial], who: Sequence[str], apart: float) -> Iterator[Figure]:
    outcomes = race(trials, who, apart)
    for trial in trials:
        yield verdicts.head(trial)
        for contender in who:
            yield from _lines(contender, outcomes.get((trial.name, contender)))
    ran = {
        f"{contender}: {name}": found
        for (name, contender), found in outcomes.items()
        if isinstance(found, Outcome)
    }
    if ran:
        yield verdicts.machine(ran)


def _lines(contender: str, outcome: Outcome | str | None) -> Iterator[Figure]:
    if isinstance(outcome, Outcome):
        yield from verdicts.lines(contender, outcome)
    elif outcome is not None:
        yield Figure(f"  {contender}", f"skipped: {outcome}")


def _chosen(parts: Sequence[str], names: Sequence[str]) -> list[str]:
    """Of the names, those that contain one of the parts, in any case."""
    for part in parts:
        if not any(part.lower() in name.lower() for name in names):
            raise SystemExit(f"nothing is called {part!r}; there are {', '.join(names)}")
    return [name for name in names if not parts or any(part.lower() in name.lower() for part in parts)]
