"""CrewAI's LLMs and crews under a keeper's quotas.

Owns the entries `wrap`, `wrap_crew` and `audit`, and the rule for what is wrapped already.
"""

from __future__ import annotations

from collections.abc import Iterator
from inspect import isfunction
from typing import TYPE_CHECKING, Any, TypeVar, cast

from crewai import Crew
from crewai.llms.base_llm import BaseLLM

from ratekeeper.adapters.audit import Audited
from ratekeeper.errors import ConfigError

from . import conversion, crews, kickoffs, seams
from .clients import is_gated
from .inside import Hold, hold_of
from .subclass import limited

if TYPE_CHECKING:
    from ratekeeper.gate import Options
    from ratekeeper.keeper import Keeper

__all__ = ["audit", "wrap", "wrap_crew"]

T = TypeVar("T")


def wrap(obj: T, keeper: Keeper, options: Options) -> T:
    """A drop-in for an LLM, or an agent or a crew with all its models, whose every call goes through `keeper`.

    Retries of CrewAI and of the SDK below are off under the wrap; agents may run a task again, but what was given up is
    not sent again in the same kickoff.

    Args:
        obj: What `crewai.LLM(...)` gives, an `Agent` or a `Crew`.
        keeper: Whose quotas count.
        options: How to wrap it. An LLM that this keeper has wrapped before is wrapped anew with these.

    Raises:
        TypeError: An LLM class of one's own: nobody knows how it asks its model.
        ConfigError: Another keeper has wrapped it, or this version of CrewAI lacks what a wrap stands on.
    """
    seams.check()
    conversion.install()
    kickoffs.install()
    if not isinstance(obj, BaseLLM):
        return cast("T", crews.rewired(obj, lambda llm: _limited(llm, keeper, options)))
    return cast("T", _limited(obj, keeper, options))


def wrap_crew(crew: T, keeper: Keeper, options: Options) -> T:
    """A crew of the same class whose every model goes through `keeper`; the crew itself stays as it is.

    Agents, manager, planning, reasoning, function calling, memory, guardrails, chat: whatever holds a model, also in
    the copies that CrewAI makes.

    Args:
        crew: A `Crew`.
        keeper: Whose quotas count.
        options: How to wrap its models.

    Raises:
        TypeError: It is no crew.
        ConfigError: It holds a model that cannot be gated; the message says where.
    """
    if not isinstance(crew, Crew):
        raise TypeError(f"keeper.wrap_crew() expects a crewai.Crew, got {type(crew).__qualname__}")
    return wrap(crew, keeper, options)


def audit(obj: Any) -> Iterator[Audited]:
    """Every model that is reachable from a crew, an agent or an LLM; embedders too, which no wrap of a crew reaches."""
    for where, llm in crews.models_of(obj):
        is_llm = isinstance(llm, BaseLLM)
        kind = type(llm).__name__ if is_llm else "str"
        yield Audited(where or "llm", kind, llm.model if is_llm else llm, wrapped=hold_of(llm) is not None)
    for where, embedder in crews.embedders_of(obj):
        if not isfunction(embedder):
            kind = "default" if embedder is None else type(embedder).__name__
            wrapped = is_gated(getattr(embedder, "client", None))
            yield Audited(where, kind, str(getattr(embedder, "model_name", "")), wrapped=wrapped)


def _limited(llm: BaseLLM, keeper: Keeper, options: Options) -> Any:
    hold = hold_of(llm)
    if hold is not None and hold.keeper is not keeper:
        raise ConfigError(
            f"this {type(llm).__name__} is already wrapped by another Keeper (named {hold.keeper.name!r}); expected "
            "the original LLM",
            field="llm",
        )
    return limited(llm, Hold(keeper, options))
