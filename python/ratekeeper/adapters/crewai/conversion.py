"""CrewAI's conversion of text into objects: it builds a client of its own, and keys go around the LLM.

Owns one of the places in CrewAI that are changed for all (`kickoffs` has the others): `InternalInstructor`, made for a
wrapped LLM, asks through that LLM. For any other it does what it always did.
"""

from __future__ import annotations

from functools import cache, partial
from importlib import import_module
from typing import Any

from pydantic import BaseModel

from . import inside, seams

_MODULE = "crewai.utilities.internal_instructor"


@cache
def install() -> None:
    """Changes `InternalInstructor`, once: it is made in the middle of CrewAI's functions, where nothing else reaches."""
    kind = seams.find(_MODULE, "InternalInstructor")
    build, ask = kind.__init__, kind.to_pydantic

    def __init__(self: Any, content: str, model: Any, agent: Any = None, llm: Any = None) -> None:
        llm = llm or (agent.function_calling_llm or agent.llm if agent else None)
        if inside.hold_of(llm) is None:
            build(self, content, model, agent, llm)
        else:
            self.content, self.model, self.agent, self.llm = content, model, agent, llm
            self._client = _through_litellm(llm) if llm.is_litellm else None

    def to_pydantic(self: Any) -> Any:
        is_plain = inside.hold_of(self.llm) is None or self.llm.is_litellm
        return ask(self) if is_plain else _asked(self)

    kind.__init__, kind.to_pydantic = __init__, to_pydantic


def _through_litellm(llm: Any) -> Any:
    """Instructor over the gated facade, for the LLM itself asks by this way; with its key and address."""
    from .routed import facade_of  # noqa: PLC0415 (LiteLLM is an extra of CrewAI)

    own = {name: getattr(llm, name, None) for name in ("api_key", "base_url", "api_base", "api_version")}
    given = {name: value for name, value in own.items() if value is not None}
    return import_module("instructor").from_litellm(partial(facade_of(llm).completion, **given))


def _asked(instructor: Any) -> Any:
    messages = [{"role": "user", "content": instructor.content}]
    answer = instructor.llm.call(messages, from_agent=instructor.agent, response_model=instructor.model)
    return answer if isinstance(answer, BaseModel) else instructor.model.model_validate_json(answer)
