"""How much a wrapper adds to one `invoke` of a model that does nothing.

Owns the measurement; run it as a script for the figures. The bench and the test share it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, ChatResult

from ratekeeper import Keeper, Quota

MESSAGES = [HumanMessage("You are terse. " * 20), HumanMessage("What is the capital of Norway?")]


class Idle(BaseChatModel):
    """Answers the same at once."""

    def _generate(
        self, messages: list[Any], stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        usage = {"input_tokens": 90, "output_tokens": 1, "total_tokens": 91}
        return ChatResult(generations=[ChatGeneration(message=AIMessage("Oslo", usage_metadata=usage))])

    @property
    def _llm_type(self) -> str:
        return "idle"


def added_by_wrapping(*, rounds: int = 150, calls: int = 10) -> tuple[float, float]:
    """Microseconds of a bare `invoke`, and those that a wrapper with three limits adds to it.

    CPU time of this thread. Bare and wrapped take turns in rounds shorter than a slice of the scheduler, and
    the fastest round of each counts: a busy machine only makes them slower.
    """
    bare = Idle()
    wrapped = Keeper(Quota(rpm=10_000_000, tpm=2_000_000_000, concurrency=100)).wrap(bare)
    times: dict[str, list[float]] = {"bare": [], "wrapped": []}
    for _ in range(rounds):
        times["bare"].append(_microseconds(lambda: bare.invoke(MESSAGES), calls))
        times["wrapped"].append(_microseconds(lambda: wrapped.invoke(MESSAGES), calls))
    fastest = min(times["bare"])
    return fastest, min(times["wrapped"]) - fastest


def _microseconds(call: Callable[[], object], calls: int) -> float:
    begin = time.thread_time()
    for _ in range(calls):
        call()
    return (time.thread_time() - begin) / calls * 1e6


if __name__ == "__main__":
    took, added = added_by_wrapping(rounds=1000)
    print(f"bare invoke {took:.1f} µs, the wrapper adds {added:.1f} µs")
