"""The names of CrewAI that the adapter stands on, looked up before anything is wrapped.

Owns the list of them. Many are private: a version that lacks one is refused here, never wrapped in part.
"""

from __future__ import annotations

from contextvars import ContextVar
from functools import cache
from importlib import import_module
from importlib.metadata import version
from itertools import pairwise
from operator import attrgetter
from typing import Any

from ratekeeper.errors import ConfigError

_KNOWN = "crewai 1.15"

_SEAMS = (
    ("crewai.llms.base_llm", "BaseLLM._wrap_call_method"),
    ("crewai.llms.base_llm", "BaseLLM._track_token_usage_internal"),
    ("crewai.llms.base_llm", "BaseLLM._invoke_before_llm_call_hooks"),
    ("crewai.llms.base_llm", "BaseLLM._invoke_after_llm_call_hooks"),
    ("crewai.llms.base_llm", "BaseLLM._emit_call_started_event"),
    ("crewai.llms.base_llm", "BaseLLM._emit_call_completed_event"),
    ("crewai.llms.base_llm", "BaseLLM._emit_call_failed_event"),
    ("crewai.llms.base_llm", "BaseLLM._effective_stream"),
    ("crewai.llms.base_llm", "BaseLLM._emit_call_denied_event"),
    ("crewai.llms.base_llm", "LLMCallBlockedError"),
    ("crewai.llms.retry", "_active_llm_rate_limit_retry"),
    ("crewai.events.event_context", "_event_id_stack"),
    ("crewai.agents.agent_executor", "AgentExecutor"),
    ("crewai.crew", "Crew.akickoff"),
    ("crewai.crew", "Crew.kickoff_async"),
    ("crewai.flow.runtime", "Flow.kickoff"),
    ("crewai.flow.runtime", "Flow.kickoff_async"),
    ("crewai.flow.runtime", "Flow._execute_method"),
    ("crewai.hooks.dispatch", "HookAborted"),
    ("crewai.task", "Task._execute_task_async"),
    ("crewai.utilities.converter", "Converter._create_instructor"),
    ("crewai.utilities.internal_instructor", "InternalInstructor._create_instructor_client"),
    ("crewai.utilities.internal_instructor", "InternalInstructor.to_pydantic"),
    ("crewai.utilities.planning_handler", "CrewPlanner"),
)
#: What opens a run that comes to an end of its own: a crew's, and that of an agent without a crew.
_KICKOFFS = ("crew_kickoff_started", "lite_agent_execution_started")


@cache
def check() -> None:
    """Looks for all of them, once.

    Raises:
        ConfigError: This version of CrewAI lacks one.
    """
    missing = [f"{module}.{name}" for module, name in _SEAMS if _find(module, name) is None]
    if missing:
        raise ConfigError(
            f"crewai {version('crewai')} has no {', '.join(missing)}: known is {_KNOWN}", field="crewai"
        )


def methods(kind: type, *names: str) -> None:
    """Makes sure that a class has these methods.

    Raises:
        ConfigError: It lacks one.
    """
    missing = [name for name in names if not hasattr(kind, name)]
    if missing:
        raise ConfigError(
            f"this {kind.__qualname__} of crewai {version('crewai')} has no {', '.join(missing)}: known is {_KNOWN}",
            field="llm",
        )


@cache
def find(module: str, name: str) -> Any:
    """A thing of CrewAI that `check` has seen."""
    found = _find(module, name)
    assert found is not None, f"{module}.{name} is among those that are looked for"
    return found


def scopes() -> ContextVar[tuple[tuple[str, str], ...]]:
    """CrewAI's stack of what has begun and not ended here: ids and kinds of events, the outermost first."""
    found: ContextVar[tuple[tuple[str, str], ...]] = find("crewai.events.event_context", "_event_id_stack")
    return found


def kickoffs() -> tuple[str, ...]:
    """The runs of crews and agents that the code here is part of, the outermost first.

    CrewAI leaves runs on its stack that were aborted. Those have nothing on top, or another run: where a run calls a
    model, a task has begun in it.
    """
    stack = scopes().get()
    return tuple(
        event for (event, kind), (_, inner) in pairwise(stack) if kind in _KICKOFFS and inner not in _KICKOFFS
    )


def _find(module: str, name: str) -> Any:
    try:
        return attrgetter(name)(import_module(module))
    except (ImportError, AttributeError):
        return None
