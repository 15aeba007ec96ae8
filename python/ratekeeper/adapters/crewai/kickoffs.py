"""CrewAI's asynchronous kickoffs as jobs: they wait on threads of ours, and a cancelled one leaves the queue at once.

Owns the methods of CrewAI's that are changed for it, once: each stands before CrewAI's own and calls it. For crews and
agents with no wrapped model, nothing else happens. Of a flow nobody can tell, so every asynchronous one is a job.
"""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Callable
from contextvars import ContextVar
from functools import cache, wraps
from typing import Any

from ratekeeper import forks
from ratekeeper.adapters.jobs import cancellable, cancellable_steps, current_job

from . import inside, seams
from .subclass import base_of

_LLMS = ("llm", "function_calling_llm")

#: The flow that is kicked off synchronously: it has an event loop of its own, and a thread that blocks anyhow.
_blocking: ContextVar[Any] = ContextVar("ratekeeper_crewai_blocking", default=None)
_installing = forks.lock()


def install() -> None:
    """Changes these methods, once."""
    with _installing:
        _change()


@cache
def _change() -> None:
    crew, flow = seams.find("crewai.crew", "Crew"), seams.find("crewai.flow.runtime", "Flow")
    crew.akickoff, crew.kickoff_async = _of_crew(crew.akickoff), _of_crew(crew.kickoff_async)
    flow.kickoff, flow.kickoff_async = _alone(flow.kickoff), _of_flow(flow.kickoff_async)
    flow._execute_method = _of_flow(flow._execute_method)
    task = seams.find("crewai.task", "Task")
    task._execute_task_async = _on_thread(task._execute_task_async)


def _of_crew(origin: Any) -> Callable[..., Any]:
    @wraps(origin)
    async def kickoff(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not _has_wrapped_models(self):
            return await origin(self, *args, **kwargs)
        with cancellable():
            output = await origin(self, *args, **kwargs)
        chunks = getattr(output, "_async_iterator", None)
        if chunks is not None:  # a stream: the crew starts when it is read
            output._async_iterator = cancellable_steps(chunks)
        return output

    return kickoff


def _has_wrapped_models(crew: Any) -> bool:
    kind: Any = type(crew)
    return base_of(kind) is not kind or any(map(_asks_wrapped, crew.agents))


def _asks_wrapped(asker: Any) -> bool:
    return any(inside.hold_of(vars(asker).get(name)) is not None for name in _LLMS)


def _alone(origin: Any) -> Callable[..., Any]:
    @wraps(origin)
    def kickoff(self: Any, *args: Any, **kwargs: Any) -> Any:
        token = _blocking.set(self)
        try:
            return origin(self, *args, **kwargs)
        finally:
            _blocking.reset(token)

    return kickoff


def _of_flow(origin: Any) -> Callable[..., Any]:
    @wraps(origin)
    async def run(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not _may_wait(self):
            return await origin(self, *args, **kwargs)
        with cancellable():
            return await origin(self, *args, **kwargs)

    return run


def _on_thread(origin: Any) -> Callable[..., Any]:
    """CrewAI's thread of a task, which sees to exceptions alone: its crew would wait for a cancelled one for ever."""

    @wraps(origin)
    def execute(self: Any, agent: Any, context: Any, tools: Any, future: Any) -> None:
        try:
            origin(self, agent, context, tools, future)
        except CancelledError as error:
            future.set_exception(error)

    return execute


def _may_wait(flow: Any) -> bool:
    """Whether models are asked for it that can be called back; an agent's work is a flow too."""
    if current_job() is not None:
        return True
    executor = seams.find("crewai.agents.agent_executor", "AgentExecutor")
    return _blocking.get() is not flow and (not isinstance(flow, executor) or _asks_wrapped(flow))
