"""What a call from AutoGen is wrapped in: the agent's name as a tag, and the memory of what was refused.

Owns both. A tool that asks a model hands a refusal to the agent as a text, and the agent would go on with it: a call that
answers such a text is refused with the same error.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, TypeVar

from autogen_core import CancellationToken, MessageHandlerContext

from ratekeeper.adapters.refused import Refused
from ratekeeper.tags import tags

from .hold import Hold

T = TypeVar("T")

_refused = Refused()


@contextmanager
def inside(hold: Hold) -> Iterator[None]:
    """Tags what runs inside with the agent that calls, and remembers how it was refused."""
    agent = _agent() or hold.options.agent
    with _refused.watching(), tags(agent=agent) if agent else nullcontext():
        yield


def check(messages: Sequence[Any]) -> None:
    """Refuses a call whose last message hands on a refusal.

    Raises:
        RatekeeperError: The one that was handed on.
    """
    if messages:
        _refused.check(messages[-1].content)


async def linked(awaitable: Awaitable[T], token: CancellationToken | None) -> T:
    """Awaits what the token cancels too."""
    if token is None:
        return await awaitable
    future = asyncio.ensure_future(awaitable)
    token.link_future(future)
    return await future


def _agent() -> str:
    """The agent whose handler runs here, without the id of its team; "" outside of any."""
    try:
        caller = MessageHandlerContext.agent_id()
    except RuntimeError:
        return ""
    return str(caller.type).removesuffix(f"_{caller.key}")
