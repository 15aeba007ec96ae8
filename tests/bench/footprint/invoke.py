"""What `keeper.wrap` adds to a call: a model that does nothing, wrapped against unwrapped, in turn."""

from __future__ import annotations

import asyncio
from contextlib import closing
from itertools import repeat
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatResult

import ratekeeper as rk

from ..interleave import Run, interleave

_PLENTY = 10**9
_PROMPT = "the quota refills while a call waits its turn and every answer is counted once " * 25


class Idle(BaseChatModel):
    """Answers at once, with a usage like a provider's."""

    @property
    def _llm_type(self) -> str:
        return "idle"

    def _generate(
        self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        usage = {"input_tokens": 500, "output_tokens": 3, "total_tokens": 503}
        return ChatResult(generations=[ChatGeneration(message=AIMessage("done", usage_metadata=usage))])

    async def _agenerate(
        self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        return self._generate(messages)


def microseconds(quick: bool) -> dict[str, float]:
    """Time that the wrap adds, by form of the call."""
    rounds = 15 if quick else 100
    bare = Idle()
    wrapped = rk.Keeper(rk.Quota(rpm=_PLENTY, tpm=_PLENTY, concurrency=64)).wrap(bare)
    loop = asyncio.new_event_loop()
    with closing(loop):
        return {
            "invoke": _added(_invoking(bare), _invoking(wrapped), rounds),
            "ainvoke": _added(_ainvoking(loop, bare), _ainvoking(loop, wrapped), rounds),
        }


def _invoking(model: BaseChatModel) -> Run:
    def run(count: int) -> None:
        for _ in repeat(None, count):
            model.invoke(_PROMPT)

    return run


def _ainvoking(loop: asyncio.AbstractEventLoop, model: BaseChatModel) -> Run:
    async def run(count: int) -> None:
        for _ in repeat(None, count):
            await model.ainvoke(_PROMPT)

    return lambda count: loop.run_until_complete(run(count))


def _added(bare: Run, wrapped: Run, rounds: int) -> float:
    """Between the quietest rounds of each: what other programs take is not the wrap's."""
    times = interleave({"bare": bare, "wrapped": wrapped}, rounds)
    return (min(times["wrapped"]) - min(times["bare"])) * 1e6
