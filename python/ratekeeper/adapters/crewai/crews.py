"""The models of crews and agents: the way to each, and a copy in which each one is wrapped.

Owns what is looked into, and which fields may name a model by a text. What it means to wrap an LLM is `subclass`'s
business, what a wrapped crew does otherwise is `team`'s.

The copy shares all that leads to no model: tools, callbacks, caches, stores and controllers stay the same objects.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from copy import copy
from inspect import isfunction, ismethod
from typing import Any

from crewai import Crew, Task
from crewai.agent.planning_config import PlanningConfig
from crewai.agents.agent_builder.base_agent import BaseAgent
from crewai.llms.base_llm import BaseLLM
from crewai.memory.memory_scope import MemoryScope, MemorySlice
from crewai.memory.unified_memory import Memory
from crewai.tasks.hallucination_guardrail import HallucinationGuardrail
from crewai.tasks.llm_guardrail import LLMGuardrail
from crewai.tools.base_tool import BaseTool
from crewai.utilities.llm_utils import create_llm
from crewai.utilities.planning_handler import CrewPlanner

from ratekeeper.adapters.reach import reach
from ratekeeper.errors import ConfigError

from . import team
from .inside import hold_of
from .subclass import base_of, clone

_GUARDRAILS = (LLMGuardrail, HallucinationGuardrail)
_OPENED = (
    *(Crew, BaseAgent, Task, PlanningConfig, Memory, MemoryScope, MemorySlice, BaseTool),
    *_GUARDRAILS,
)
#: Fields that may hold a model's name: CrewAI makes the model from it when it needs one.
_NAMES: tuple[tuple[type, tuple[str, ...]], ...] = (
    (Crew, ("planning_llm", "manager_llm", "function_calling_llm", "chat_llm")),
    (BaseAgent, ("llm", "function_calling_llm")),
    (PlanningConfig, ("llm",)),
    (Memory, ("llm",)),
)


def models_of(root: Any) -> Iterator[tuple[str, Any]]:
    """Each place where a model is held, with the shortest way to it: an LLM, or the name of one to come."""
    for where, thing in _walk(root):
        if isinstance(thing, BaseLLM):
            yield where, thing
        else:
            yield from _named(thing, where)


def embedders_of(root: Any) -> Iterator[tuple[str, Any]]:
    """What memories and knowledge embed with: an embedder, its specification, or None for CrewAI's own choice."""
    for where, thing in _walk(root):
        if isinstance(thing, Memory):
            yield _join(where, "embedder"), thing._embedder_instance or thing.embedder
        elif isinstance(thing, Crew | BaseAgent) and (thing.knowledge or thing.knowledge_sources):
            yield _join(where, "knowledge.embedder"), getattr(thing, "embedder", None)


def _walk(root: Any) -> Iterator[tuple[str, Any]]:
    """LLMs, each time one is held, and what holds them, once."""
    seen: dict[int, Any] = {}
    queue: deque[tuple[str, Any]] = deque([("", root)])
    while queue:
        where, thing = queue.popleft()
        if isinstance(thing, BaseLLM):
            yield where, thing
            continue
        if id(thing) in seen:
            continue
        seen[id(thing)] = thing
        if isinstance(thing, _OPENED):
            yield where, thing
            queue.extend((_join(where, name), value) for name, value in _attributes(thing).items())
        else:
            queue.extend(_inside(thing, where))


def rewired(root: Any, limit: Callable[[BaseLLM], Any]) -> Any:
    """A copy of a crew or an agent whose every model is wrapped.

    Args:
        root: The crew or agent.
        limit: Wraps an LLM.

    Raises:
        ConfigError: A model cannot be gated, or is held where it cannot be replaced (in a function's closure).
    """
    made = _Rewiring(limit).of(root, "")
    for where, model in models_of(made):
        if hold_of(model) is None:
            raise ConfigError(
                f"{where}: this model is held where it cannot be replaced; give it keeper.wrap(llm) in its place",
                field=where,
            )
    return made


class _Rewiring:
    """One copy in the making: each thing is copied once, so that what was shared stays shared."""

    def __init__(self, limit: Callable[[BaseLLM], Any]) -> None:
        self._limit = limit
        self._made: dict[int, tuple[Any, Any]] = {}

    def of(self, thing: Any, where: str) -> Any:
        """What takes a thing's place."""
        if id(thing) in self._made:
            return self._made[id(thing)][1]
        if isinstance(thing, BaseLLM):
            return self._keep(thing, self._limited(thing, where))
        if type(thing) in (list, tuple, dict):
            return self._many(thing, where)
        if not isinstance(thing, _OPENED) or (isinstance(thing, BaseTool) and not _leads_to_models(thing)):
            return thing
        return self._opened(thing, where)

    def _keep(self, thing: Any, made: Any) -> Any:
        """Remembers both: while it lives, nothing else has a thing's id."""
        self._made[id(thing)] = thing, made
        return made

    def _limited(self, llm: BaseLLM, where: str) -> Any:
        try:
            return self._limit(llm)
        except TypeError as error:
            raise ConfigError(f"{where}: {error}", field=where) from error

    def _many(self, many: Any, where: str) -> Any:
        """The same container if nothing in it changes: some are written to by several."""
        if isinstance(many, dict):
            made: Any = {key: self.of(value, f"{where}[{key!r}]") for key, value in many.items()}
            changed = any(made[key] is not value for key, value in many.items())
        else:
            made = type(many)(self.of(value, f"{where}[{number}]") for number, value in enumerate(many))
            changed = any(new is not old for new, old in zip(made, many, strict=True))
        return made if changed else many

    def _opened(self, thing: Any, where: str) -> Any:
        made = self._keep(thing, self._twin(thing))
        self._keep(made, made)
        for name in _names(thing):
            model = _model_named(thing, name)
            if isinstance(model, str):
                made.__dict__[name] = self._limited(_created(model, _join(where, name)), _join(where, name))
        for values in (made.__dict__, getattr(made, "__pydantic_private__", None) or {}):
            values.update({name: self.of(value, _join(where, name)) for name, value in values.items()})
        return made

    @staticmethod
    def _twin(thing: Any) -> Any:
        if isinstance(thing, _GUARDRAILS):
            return copy(thing)
        made = clone(thing, team.kind_of(base_of(type(thing))))
        if isinstance(thing, BaseAgent):
            made.__dict__["agent_executor"] = None  # made anew for each task; an old one holds the old model
        return made


def _attributes(thing: Any) -> dict[str, Any]:
    """Fields, and of the private attributes those that are not a field once more."""
    fields = vars(thing)
    known = {id(value) for value in fields.values()}
    private = getattr(thing, "__pydantic_private__", None) or {}
    return {**fields, **{name: value for name, value in private.items() if id(value) not in known}}


def _inside(thing: Any, where: str) -> Iterator[tuple[str, Any]]:
    """What containers hold, and what functions bring along."""
    if isinstance(thing, dict):
        return ((f"{where}[{key!r}]", value) for key, value in thing.items())
    if isinstance(thing, list | tuple):
        return ((f"{where}[{number}]", value) for number, value in enumerate(thing))
    if isfunction(thing) or ismethod(thing):
        return ((f"{where}{way}", model) for way, model in _reached(thing))
    return iter(())


def _reached(thing: Any) -> Iterator[tuple[str, Any]]:
    return reach(
        thing,
        is_model=lambda part: isinstance(part, BaseLLM),
        opens=lambda part: isinstance(part, _OPENED),
    )


def _leads_to_models(tool: BaseTool) -> bool:
    return next(_reached(tool), None) is not None


def _names(thing: Any) -> tuple[str, ...]:
    return next((names for kind, names in _NAMES if isinstance(thing, kind)), ())


def _named(thing: Any, where: str) -> Iterator[tuple[str, str]]:
    for name in _names(thing):
        model = _model_named(thing, name)
        if isinstance(model, str):
            yield _join(where, name), model


def _model_named(thing: Any, name: str) -> Any:
    """What a field says; of a crew that plans without saying by what, CrewAI's own choice."""
    model = vars(thing).get(name)
    if model is None and name == "planning_llm" and thing.planning:
        return CrewPlanner(tasks=[], planning_agent_llm=None).planning_agent_llm
    return model


def _created(model: str, where: str) -> Any:
    try:
        return create_llm(model)
    except Exception as error:
        raise ConfigError(f"{where}: CrewAI cannot make the model {model!r}: {error}", field=where) from error


def _join(where: str, name: str) -> str:
    return f"{where}.{name.lstrip('_')}" if where else name.lstrip("_")
