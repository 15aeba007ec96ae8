"""A LangChain call as the quota sees it, before it is sent.

Owns the reading of messages and call options. Cheap on purpose: no message is turned into a provider's wire
format.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from langchain_core.runnables.config import var_child_runnable_config

from ratekeeper.providers import Request

from .identify import model_of

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages import BaseMessage

#: The names a ceiling on output tokens goes by in the integration packages, the one that wins first.
_CEILINGS = (
    "max_completion_tokens",
    "max_tokens",
    "max_output_tokens",
    "max_tokens_to_sample",
    "max_new_tokens",
    "num_predict",
)
_ANSWERS = ("n", "best_of")

#: What create_agent and LangGraph say about who calls, the closest first.
_CALLERS = ("lc_agent_name", "langgraph_node")
#: How tags begin that LangChain and LangGraph add for each step.
_STEPS = ("seq:step:", "map:key:", "graph:step:", "condition:", "langsmith:")


def request_of(
    model: BaseChatModel,
    messages: Sequence[BaseMessage],
    options: dict[str, Any],
    *,
    caller: str = "",
    stream: bool = False,
    run: Hashable = None,
) -> Request:
    """The request of one call: its options (bound ones too) win over `model_kwargs`, these over fields."""
    return Request(
        model_of(model, options),
        [_message(message) for message in messages],
        options.get("tools") or options.get("functions"),
        _number(model, options, _CEILINGS),
        max(_number(model, options, (name,)) or 1 for name in _ANSWERS),
        caller,
        stream,
        run,
    )


def caller_of(run_manager: Any) -> str:
    """The agent or graph node that calls, from the run's metadata; "" outside of any."""
    metadata = getattr(run_manager, "metadata", None)
    if not metadata:
        metadata = (var_child_runnable_config.get() or {}).get("metadata") or {}
    return next((str(metadata[name]) for name in _CALLERS if metadata.get(name)), "")


def labels_of(run_manager: Any) -> str:
    """The tags that the user gave to LangChain's config, with commas between them; without those it adds itself."""
    labels = getattr(run_manager, "tags", None)
    if not labels:
        return ""
    return ",".join(dict.fromkeys(label for label in labels if not label.startswith(_STEPS)))


def _message(message: BaseMessage) -> dict[str, Any]:
    """Role, content and tool calls as they are: strings are not copied, blocks are not converted."""
    told: dict[str, Any] = {"role": message.type, "content": message.content}
    calls = getattr(message, "tool_calls", None)
    if calls:
        told["tool_calls"] = calls
    return told


@lru_cache(maxsize=256)
def _fields(kind: type[BaseChatModel], names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name in names if name in kind.model_fields)


def _number(model: BaseChatModel, options: Mapping[str, Any], names: tuple[str, ...]) -> int | None:
    """The first positive whole number under one of these names; -1 and the like mean "no ceiling"."""
    sources: tuple[Mapping[str, Any], ...] = (options, model.__dict__.get("model_kwargs") or {})
    for source in sources:
        for name in names if source else ():
            if name in source and (count := _count(source[name])):
                return count
    counts = (_count(getattr(model, name, None)) for name in _fields(type(model), names))
    return next(filter(None, counts), None)


def _count(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
