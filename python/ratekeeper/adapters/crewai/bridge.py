"""LangChain chat models as CrewAI LLMs, under a keeper.

Owns the LLM class: messages, tools, structured output, streams, events and hooks, as CrewAI's native LLMs have them.
Each call is gated below, at the chat model, which is wrapped as everywhere (`adapters.langchain`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

from crewai.events.types.llm_events import LLMCallType
from crewai.llms.base_llm import BaseLLM, llm_call_context
from crewai.utilities.agent_utils import is_context_length_exceeded
from crewai.utilities.exceptions.context_window_exceeding_exception import LLMContextLengthExceededError
from langchain_core.callbacks import CallbackManager
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, convert_to_messages
from pydantic import BaseModel, PrivateAttr

from ratekeeper.adapters import langchain
from ratekeeper.adapters.langchain.identify import model_of

from . import gates, inside, kickoffs, refusals, seams
from .subclass import limited

if TYPE_CHECKING:
    from ratekeeper.gate import Options
    from ratekeeper.keeper import Keeper

#: What LangChain reads in a message; CrewAI keeps more in its own.
_TOLD = ("role", "content", "name", "tool_calls", "tool_call_id")
#: Models that refuse a call that names stop words.
_NO_STOP = re.compile(r"(?:^|/)(?:o\d|gpt-5)")


def crewai_llm(chat_model: Any, keeper: Keeper, options: Options) -> Any:
    """A CrewAI LLM that asks a LangChain chat model, for `Agent(llm=…)` and wherever CrewAI takes an LLM.

    Args:
        chat_model: A LangChain chat model, wrapped or not; it stays as it is.
        keeper: Whose quotas count.
        options: How to wrap it.

    Raises:
        TypeError: It is no chat model.
        ConfigError: Another keeper has wrapped it, or this version of CrewAI lacks what a wrap stands on.
    """
    seams.check()
    kickoffs.install()
    if not isinstance(chat_model, BaseChatModel):
        raise TypeError(
            f"keeper.crewai_llm() expects a LangChain chat model (a BaseChatModel), got {type(chat_model).__qualname__}"
        )
    llm = ChatModelLLM(model=model_of(chat_model, {}) or type(chat_model).__name__, provider="langchain")
    llm._chat = chat_model
    return limited(llm, inside.Hold(keeper, options))


def overrides(base: Any) -> dict[str, Any]:
    """Nothing beside `call` and `acall`."""
    del base
    return {}


def gate_all(llm: Any, base: Any) -> None:
    """Wraps the chat model."""
    del base
    hold = inside.held(llm)
    llm._chat = langchain.wrap(llm._chat, gates.keeper(hold), hold.options)


class _Asked(NamedTuple):
    """A call as it came, with its messages in CrewAI's form."""

    messages: list[Any]
    tools: Any
    functions: dict[str, Any] | None
    who: dict[str, Any]
    model: type[BaseModel] | None


class ChatModelLLM(BaseLLM):
    """A LangChain chat model as CrewAI sees it; made by `keeper.crewai_llm`."""

    _chat: Any = PrivateAttr(default=None)

    def call(  # noqa: PLR0917 (CrewAI's signature)
        self,
        messages: Any,
        tools: Any = None,
        callbacks: Any = None,
        available_functions: dict[str, Any] | None = None,
        from_task: Any = None,
        from_agent: Any = None,
        response_model: type[BaseModel] | None = None,
    ) -> Any:
        """As of `BaseLLM.call`."""
        who = {"from_task": from_task, "from_agent": from_agent}
        with llm_call_context(), self._told(messages, tools, callbacks, available_functions, who):
            asked = _Asked(self._format_messages(messages), tools, available_functions, who, response_model)
            self._invoke_before_llm_call_hooks(asked.messages, from_agent)
            runnable, settings = self._runnable(asked)
            if self._effective_stream() and not self._is_parsed(asked):
                whole: Any = None
                for chunk in runnable.stream(_converted(asked.messages), **settings):
                    whole = self._chunk(whole, chunk, asked)
                answer = whole
            else:
                answer = runnable.invoke(_converted(asked.messages), **settings)
            return self._finished(answer, asked)

    async def acall(  # noqa: PLR0917 (CrewAI's signature)
        self,
        messages: Any,
        tools: Any = None,
        callbacks: Any = None,
        available_functions: dict[str, Any] | None = None,
        from_task: Any = None,
        from_agent: Any = None,
        response_model: type[BaseModel] | None = None,
    ) -> Any:
        """As of `BaseLLM.acall`."""
        who = {"from_task": from_task, "from_agent": from_agent}
        with llm_call_context(), self._told(messages, tools, callbacks, available_functions, who):
            asked = _Asked(self._format_messages(messages), tools, available_functions, who, response_model)
            self._invoke_before_llm_call_hooks(asked.messages, from_agent)
            runnable, settings = self._runnable(asked)
            if self._effective_stream() and not self._is_parsed(asked):
                whole: Any = None
                async for chunk in runnable.astream(_converted(asked.messages), **settings):
                    whole = self._chunk(whole, chunk, asked)
                answer = whole
            else:
                answer = await runnable.ainvoke(_converted(asked.messages), **settings)
            return self._finished(answer, asked)

    def supports_function_calling(self) -> bool:
        """Whether the chat model has a `bind_tools` of its own."""
        return type(self._chat).bind_tools is not BaseChatModel.bind_tools

    def supports_stop_words(self) -> bool:
        """Whether stop words are sent; answers are cut at them in any case."""
        return _NO_STOP.search(self.model) is None

    @contextmanager
    def _told(
        self, messages: Any, tools: Any, callbacks: Any, functions: Any, who: dict[str, Any]
    ) -> Iterator[None]:
        """Tells CrewAI's event bus that a call begins, and if it fails."""
        self._emit_call_started_event(
            messages=messages, tools=tools, callbacks=callbacks, available_functions=functions, **who
        )
        try:
            yield
        except Exception as error:
            if refusals.is_denial(error):
                self._emit_call_denied_event(error, **who)
                raise
            self._emit_call_failed_event(error=f"LangChain chat model call failed: {error}", **who)
            if is_context_length_exceeded(error):
                raise LLMContextLengthExceededError(str(error)) from error
            raise

    def _is_parsed(self, asked: _Asked) -> bool:
        """Whether LangChain parses the answer; beside tools the text itself is parsed, if there is one."""
        return asked.model is not None and not asked.tools and self.supports_function_calling()

    def _runnable(self, asked: _Asked) -> tuple[Any, dict[str, Any]]:
        """What to ask, and the settings of this call."""
        runnable: Any = self._chat
        if asked.tools:
            runnable = runnable.bind_tools(asked.tools)
        elif self._is_parsed(asked):
            runnable = runnable.with_structured_output(asked.model, include_raw=True)
        settings: dict[str, Any] = {"config": _config()}
        if self.stop_sequences and self.supports_stop_words() and not self._is_parsed(asked):
            settings["stop"] = self.stop_sequences
        return runnable, settings

    def _chunk(self, whole: Any, chunk: Any, asked: _Asked) -> Any:
        if chunk.text:
            self._emit_stream_chunk_event(
                chunk=str(chunk.text), call_type=LLMCallType.LLM_CALL, response_id=chunk.id, **asked.who
            )
        return chunk if whole is None else whole + chunk

    def _finished(self, answer: Any, asked: _Asked) -> Any:
        """What CrewAI gets for an answer: tool calls, a tool's result, an object, or the text."""
        message: AIMessage = answer["raw"] if isinstance(answer, dict) else answer
        usage = _usage(message)
        self._track_token_usage_internal(usage)
        if isinstance(answer, dict):
            return self._parsed(answer, asked, usage)
        if message.tool_calls:
            return self._called(message, asked, usage)
        text = self._apply_stop_words(str(message.text))
        if asked.model is not None:
            made = self._validate_structured_output(text, asked.model)
            return self._completed(made, LLMCallType.LLM_CALL, asked, usage)
        self._completed(text, LLMCallType.LLM_CALL, asked, usage)
        return self._invoke_after_llm_call_hooks(asked.messages, text, asked.who["from_agent"])

    def _parsed(self, answer: dict[str, Any], asked: _Asked, usage: dict[str, Any]) -> Any:
        if answer["parsing_error"] is not None:
            raise answer["parsing_error"]
        return self._completed(answer["parsed"], LLMCallType.LLM_CALL, asked, usage)

    def _called(self, message: AIMessage, asked: _Asked, usage: dict[str, Any]) -> Any:
        """The calls for CrewAI's executor, or the result of the first, if CrewAI gave the functions."""
        calls = [_tool_call(call) for call in message.tool_calls]
        if not asked.functions:
            return self._completed(calls, LLMCallType.TOOL_CALL, asked, usage)
        first = message.tool_calls[0]
        result = self._handle_tool_execution(first["name"], first["args"], asked.functions, **asked.who)
        return str(message.text) if result is None else result

    def _completed(self, response: Any, kind: LLMCallType, asked: _Asked, usage: dict[str, Any]) -> Any:
        self._emit_call_completed_event(
            response=response, call_type=kind, messages=asked.messages, usage=usage, **asked.who
        )
        return response


def _converted(messages: list[Any]) -> list[BaseMessage]:
    told = [{name: message[name] for name in _TOLD if message.get(name) is not None} for message in messages]
    return convert_to_messages([{"content": "", **message} for message in told])


def _config() -> dict[str, Any]:
    """The kickoff as the run that a call is part of: what was given up is not sent again by CrewAI's own retries."""
    kickoffs = seams.kickoffs()
    if not kickoffs:
        return {}
    return {"callbacks": CallbackManager([], parent_run_id=UUID(kickoffs[-1]))}


def _tool_call(call: Any) -> dict[str, Any]:
    """In OpenAI's form, which CrewAI's executor reads."""
    return {
        "id": call["id"],
        "type": "function",
        "function": {"name": call["name"], "arguments": json.dumps(call["args"])},
    }


def _usage(message: AIMessage) -> dict[str, Any]:
    told: Any = message.usage_metadata
    if not told:
        return {}
    inputs, outputs = told.get("input_token_details") or {}, told.get("output_token_details") or {}
    return {
        "prompt_tokens": told["input_tokens"],
        "completion_tokens": told["output_tokens"],
        "total_tokens": told["total_tokens"],
        "cached_prompt_tokens": inputs.get("cache_read") or 0,
        "cache_creation_tokens": inputs.get("cache_creation") or 0,
        "reasoning_tokens": outputs.get("reasoning") or 0,
    }
