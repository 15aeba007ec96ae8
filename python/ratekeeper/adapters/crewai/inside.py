"""What holds while a wrapped LLM makes a call: whose it is, which run it is part of, and that nobody else retries.

Owns these three, and how our errors come out. The call itself is CrewAI's, the gate stands at the client below it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import wraps
from typing import TYPE_CHECKING, Any, NamedTuple

from ratekeeper import runs
from ratekeeper.errors import ConfigError
from ratekeeper.tags import tags

from . import refusals, seams

if TYPE_CHECKING:
    from ratekeeper.gate import Options
    from ratekeeper.keeper import Keeper

#: Where `call` and `acall` take who calls, after the messages.
_TASK, _AGENT = 3, 4
_LONGEST_TAG = 80


class Hold(NamedTuple):
    """What a wrapped LLM has beyond its own; its copies share it.

    Attributes:
        keeper: Whose quotas count.
        options: How it was wrapped.
    """

    keeper: Keeper
    options: Options

    def __deepcopy__(self, memo: Any) -> Hold:
        return self


def hold_of(llm: Any) -> Hold | None:
    """What a wrapped LLM carries; None for any other."""
    hold = (getattr(llm, "__pydantic_private__", None) or {}).get("_ratekeeper")
    return hold if isinstance(hold, Hold) else None


def held(llm: Any) -> Hold:
    """What a wrapped LLM carries.

    Raises:
        ConfigError: It was made from a wrapped LLM's class, not by wrapping: it belongs to no keeper.
    """
    hold = hold_of(llm)
    if hold is None:
        raise ConfigError(
            f"this {type(llm).__name__} was built from the class of a wrapped LLM and belongs to no keeper; "
            "pass it to keeper.wrap(), or build it from the original class",
            field="llm",
        )
    return hold


def overrides(base: Any) -> dict[str, Any]:
    """`call` and `acall` of a wrapped subclass of `base`."""

    @wraps(base.call)
    def call(self: Any, messages: Any, *args: Any, **kwargs: Any) -> Any:
        with _inside(held(self), *_who(args, kwargs)):
            return base.call(self, messages, *args, **kwargs)

    @wraps(base.acall)
    async def acall(self: Any, messages: Any, *args: Any, **kwargs: Any) -> Any:
        with _inside(held(self), *_who(args, kwargs)):
            return await base.acall(self, messages, *args, **kwargs)

    return {"call": _once(call), "acall": _once(acall)}


def _once(method: Callable[..., Any]) -> Callable[..., Any]:
    """Tells CrewAI that the method has its retries already, so that it is not put into another loop of them."""
    method._crewai_rate_limit_wrapped = True  # type: ignore[attr-defined]
    return method


def _who(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
    """The task and the agent that call, if CrewAI says it."""
    task = args[_TASK] if len(args) > _TASK else kwargs.get("from_task")
    agent = args[_AGENT] if len(args) > _AGENT else kwargs.get("from_agent")
    return task, agent


@contextmanager
def _inside(hold: Hold, task: Any, agent: Any) -> Iterator[None]:
    scopes, kickoffs = seams.scopes(), seams.kickoffs()
    opened = scopes.get()
    refusals.check(hold.keeper, kickoffs[-1:])
    retrying = seams.find("crewai.llms.retry", "_active_llm_rate_limit_retry")
    token = retrying.set(True)
    run = runs.part_of(("crewai", kickoffs[-1])) if kickoffs else nullcontext()
    try:
        with run, tags(**_named(task, agent)):
            yield
    except Exception as error:
        # CrewAI's OpenAI LLM closes a failed call twice, and with it the scope around: a kickoff that failed often
        # enough would not be known any more.
        scopes.set(opened)
        refusals.note_shown(error)
        ours = refusals.ours_in(error)
        if ours is None:
            raise
        refusals.latch(hold.keeper, kickoffs, ours)
        raise refusals.denied(ours) from None
    finally:
        retrying.reset(token)


def _named(task: Any, agent: Any) -> dict[str, str]:
    """Tags of a call; what CrewAI does not say stays as it is outside."""
    crew = getattr(agent, "crew", None)
    found = {
        "agent": getattr(agent, "role", None),
        "task": getattr(task, "name", None) or getattr(task, "description", None),
        "crew": getattr(crew, "name", None),
    }
    return {name: _short(value) for name, value in found.items() if isinstance(value, str) and value.strip()}


def _short(text: str) -> str:
    return text.strip().splitlines()[0][:_LONGEST_TAG]
