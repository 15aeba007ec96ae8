"""Who owns the retries of a failure: the innermost that has tried.

Owns the mark on an exception whose retries are used up, and the way to it. A module of its own, so that whoever retries can
set it.
"""

from __future__ import annotations

from collections.abc import Iterator

_MARK = "_ratekeeper_tried_until"
#: Under this name a response that came in vain holds, among its extensions, the exception of its last attempt: below an
#: SDK that makes an exception of its own from it.
REFUSAL = "ratekeeper"
#: Exceptions looked at in a tree of causes and groups; some frameworks make an exception its own cause.
_MOST_LINKS = 64


def mark_tried(error: BaseException, now: float) -> None:
    """Says that `error` has been retried as often as it may be, so that no outer retry starts again.

    Args:
        error: What comes out.
        now: `time.monotonic()`.
    """
    # Past a class of its own mind: a frozen dataclass may be an exception.
    BaseException.__setattr__(error, _MARK, now)


def was_tried(error: BaseException, since: float) -> bool:
    """Whether `error`, or one that led to it, was retried inside the call that began at `since`.

    What led to it is what a traceback shows: what it was raised from, else what was being handled, and the
    members of groups. An exception object that is raised in one call after the other, as mocks do, bears the mark of
    an earlier one: that one does not count.
    """
    return any(link.__dict__.get(_MARK, -1.0) >= since for link in _led_to(error))


def refusal_in(error: BaseException) -> Exception | None:
    """What the last attempt failed with, if the exception is about a response that came through a gated HTTP client."""
    extensions = getattr(getattr(error, "response", None), "extensions", None)
    refusal = extensions.get(REFUSAL) if isinstance(extensions, dict) else None
    return refusal if isinstance(refusal, Exception) else None


def _led_to(error: BaseException) -> Iterator[BaseException]:
    found: list[BaseException] = [error]
    for link in found:
        yield link
        if len(found) >= _MOST_LINKS:
            continue
        members = getattr(link, "exceptions", ())
        cause = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
        near = [*(members if isinstance(members, tuple) else ()), cause, refusal_in(link)]
        found += [other for other in near if isinstance(other, BaseException)]
