"""What a wrapped crew or agent does otherwise than CrewAI's own: it copies with its models, and raises our errors bare.

Owns the subclasses. CrewAI copies by dumping and building anew; models come out of that as plain ones, or not at all.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, wraps
from typing import Any

from crewai import Crew
from crewai.agents.agent_builder.base_agent import BaseAgent
from crewai.utilities.llm_utils import create_llm

from ratekeeper.errors import ConfigError
from ratekeeper.tags import tags

from . import inside, refusals, seams
from .subclass import clone, limited, subclass

#: What does not survive a dump, by who has it: taken out before it, and put back after.
_CREW = ("planning_llm", "function_calling_llm", "chat_llm", "memory")
_AGENT = ("function_calling_llm", "planning_config", "memory")


@cache
def kind_of(base: Any) -> Any:
    """The class of wrapped objects of a class; the class itself if nothing about it changes."""
    if issubclass(base, Crew):
        return subclass(base, {"copy": _copy_crew(base), "test": _test(base), **_kickoffs(base)})
    if issubclass(base, BaseAgent):
        return subclass(base, {"copy": _copy_agent(base), **_overlaid(base)})
    return base


def _copy_agent(base: Any) -> Any:
    @wraps(base.copy)
    def copy_agent(self: Any) -> Any:
        twin = base.copy(_without(self, _AGENT))
        _put_back(self, twin, _AGENT)
        return twin

    return copy_agent


def _overlaid(base: Any) -> dict[str, Any]:
    """CrewAI's `llm_overlay` gives an agent another model when a kickoff rewrites its role; that one is wrapped too."""
    if not hasattr(base, "_resolved_overlay"):
        return {}

    def _resolved_overlay(self: Any, declared: Any) -> Any:
        llm, hold = base._resolved_overlay(self, declared), inside.hold_of(declared)
        if llm is not None and hold is not None and inside.hold_of(llm) is None:
            llm = self._overlay_built = limited(llm, hold)
        return llm

    return {"_resolved_overlay": _resolved_overlay}


def _copy_crew(base: Any) -> Any:
    @wraps(base.copy)
    def copy_crew(self: Any) -> Any:
        twin = base.copy(_without(self, _CREW))
        _put_back(self, twin, _CREW)
        kind: Any = type(twin)
        return clone(twin, kind_of(kind))

    return copy_crew


def _test(base: Any) -> Any:
    @wraps(base.test)
    def test(self: Any, n_iterations: int, eval_llm: Any, inputs: Any = None) -> Any:
        return base.test(self, n_iterations, _judge(self, eval_llm), inputs)

    return test


def _judge(crew: Any, eval_llm: Any) -> Any:
    """The model that marks a crew's work: CrewAI is given it at the call, so it is wrapped like the crew's own."""
    llm = create_llm(eval_llm)
    if not llm or inside.hold_of(llm) is not None:
        return llm
    holds = [hold for agent in crew.agents if (hold := inside.hold_of(agent.llm)) is not None]
    if not holds:
        raise ConfigError(
            "no agent of this crew has a wrapped model, so nobody knows by whose quota it is to be marked; expected "
            "eval_llm=keeper.wrap(llm)",
            field="eval_llm",
        )
    return limited(llm, holds[0])


def _without(model: Any, names: tuple[str, ...]) -> Any:
    bare = clone(model, type(model))
    bare.__dict__.update(dict.fromkeys(names))
    return bare


def _put_back(model: Any, twin: Any, names: tuple[str, ...]) -> None:
    """The same objects: a copy of a wrapped LLM would ask the same way, and stores are one."""
    twin.__dict__.update({name: model.__dict__[name] for name in names})


def _kickoffs(base: Any) -> dict[str, Any]:
    @wraps(base.kickoff)
    def kickoff(self: Any, *args: Any, **kwargs: Any) -> Any:
        with _bare_refusals(self):
            return base.kickoff(self, *args, **kwargs)

    @wraps(base.akickoff)
    async def akickoff(self: Any, *args: Any, **kwargs: Any) -> Any:
        with _bare_refusals(self):
            return await base.akickoff(self, *args, **kwargs)

    return {"kickoff": kickoff, "akickoff": akickoff}


@contextmanager
def _bare_refusals(crew: Any) -> Iterator[None]:
    """Calls bear the crew's name, and a refusal of ours comes out, not what CrewAI makes of it."""
    scopes = seams.scopes()
    opened = scopes.get()
    try:
        with tags(crew=crew.name or type(crew).__name__):
            yield
    except Exception as error:
        scopes.set(opened)  # CrewAI leaves scopes open that were aborted
        ours = refusals.ours_in(error)
        if ours is None or ours is error:
            raise
        raise ours from None
