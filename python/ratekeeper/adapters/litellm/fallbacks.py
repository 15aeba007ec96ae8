"""The models that a call of LiteLLM goes to when its own has failed.

Owns `fallbacks=` and `context_window_fallback_dict=`, which LiteLLM would send past the gate. May not retry: what failed
has had all its attempts. Our own refusals lead nowhere else: nobody asked for another bill.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from litellm.exceptions import ContextWindowExceededError

from ratekeeper.errors import RatekeeperError

_LONGER = "context_window_fallback_dict"


def first_answer(ask: Callable[[dict[str, Any]], Any], given: dict[str, Any]) -> Any:
    """The answer of the first that has one.

    Raises:
        Exception: The last one's, if none has.
    """
    return _walk(ask, *_ways(given))


async def afirst_answer(ask: Callable[[dict[str, Any]], Awaitable[Any]], given: dict[str, Any]) -> Any:
    """`first_answer`, asynchronously.

    Raises:
        Exception: As of `first_answer`.
    """
    return await _awalk(ask, *_ways(given))


def _walk(ask: Callable[[dict[str, Any]], Any], own: dict[str, Any], *others: dict[str, Any]) -> Any:
    try:
        return _long_enough(ask, own)
    except RatekeeperError:
        raise
    except Exception:
        if not others:
            raise
    return _walk(ask, *others)


async def _awalk(
    ask: Callable[[dict[str, Any]], Awaitable[Any]], own: dict[str, Any], *others: dict[str, Any]
) -> Any:
    try:
        return await _along_enough(ask, own)
    except RatekeeperError:
        raise
    except Exception:
        if not others:
            raise
    return await _awalk(ask, *others)


def _ways(given: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The call itself, then each fallback: another model's name, or settings that replace the call's."""
    own = {name: value for name, value in given.items() if name != "fallbacks"}
    yield own
    for other in given.get("fallbacks") or ():
        yield {**own, **(other if isinstance(other, dict) else {"model": other})}


def _long_enough(ask: Callable[[dict[str, Any]], Any], given: dict[str, Any]) -> Any:
    own = {name: value for name, value in given.items() if name != _LONGER}
    longer = (given.get(_LONGER) or {}).get(given.get("model"))
    if longer is None:
        return ask(own)
    try:
        return ask(own)
    except ContextWindowExceededError:
        return ask({**own, "model": longer})


async def _along_enough(ask: Callable[[dict[str, Any]], Awaitable[Any]], given: dict[str, Any]) -> Any:
    own = {name: value for name, value in given.items() if name != _LONGER}
    longer = (given.get(_LONGER) or {}).get(given.get("model"))
    if longer is None:
        return await ask(own)
    try:
        return await ask(own)
    except ContextWindowExceededError:
        return await ask({**own, "model": longer})
