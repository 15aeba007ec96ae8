"""LiteLLM's functions under a keeper's quotas, as one object in place of the module.

Owns the table of what is gated, what passes and what is refused: nothing that asks a model passes ungated.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from inspect import Parameter, iscoroutinefunction, signature
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

import litellm

from ratekeeper.errors import ConfigError

from .calls import Way, asend, send
from .fallbacks import afirst_answer, first_answer

if TYPE_CHECKING:
    from ratekeeper.gate import Options
    from ratekeeper.keeper import Keeper

#: What asks a model, synchronously; each has a twin with an "a" in front that takes the same arguments.
_ASKS = (
    "completion",
    "text_completion",
    "responses",
    "embedding",
    "moderation",
    "image_generation",
    "image_edit",
    "image_variation",
    "transcription",
    "speech",
    "rerank",
)
GATED = frozenset((*_ASKS, *(f"a{name}" for name in _ASKS)))
#: The streams of these tell their usage if they are asked to.
_TELL = frozenset({"completion", "text_completion"})
#: What asks a model too, and cannot be gated here: several at once, other dialects, sessions.
ASKS_ELSE = frozenset(
    {
        "aadapter_completion", "aadapter_generate_content", "acompletion_with_retries", "adapter_completion",
        "agenerate_content", "ahealth_check", "allm_passthrough_route", "anthropic_messages", "aresponses_with_retries",
        "arun_thread", "batch_completion", "batch_completion_models", "batch_completion_models_all_responses",
        "completion_with_fallbacks", "completion_with_retries", "responses_with_retries", "run_thread",
    }
)  # fmt: skip
#: What asks no model: counting, prices, facts, files and batches, parts of answers.
PASSES = frozenset(
    {
        "acancel_batch", "acount_tokens", "acreate_batch", "acreate_file", "adelete_responses", "afile_content",
        "afile_delete", "afile_list", "afile_retrieve", "aget_responses", "alist_batches", "alist_input_items",
        "aretrieve_batch", "cancel_batch", "check_valid_key", "completion_cost", "cost_per_token", "create_batch",
        "create_file", "decode", "delete_responses", "disable_cache", "enable_cache", "encode", "file_content",
        "file_delete", "file_list", "file_retrieve", "get_llm_provider", "get_max_tokens", "get_model_info",
        "get_responses", "get_supported_openai_params", "list_batches", "list_input_items", "register_model",
        "register_prompt_template", "retrieve_batch", "stream_chunk_builder", "supports_function_calling",
        "supports_parallel_function_calling", "supports_reasoning",
        "supports_response_schema", "supports_system_messages", "supports_vision",
        "supports_web_search", "token_counter", "update_cache", "validate_environment",
    }
)  # fmt: skip


class LiteLLM:
    """LiteLLM under a keeper: `completion`, `acompletion` and the rest as of the module.

    Constants, exceptions and what asks no model are the module's own.

    Args:
        keeper: Whose quotas count.
        options: How it was wrapped.
    """

    def __init__(self, keeper: Keeper, options: Options) -> None:
        self._way = Way(keeper, options)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        original = getattr(litellm, name)
        if name in GATED:
            return self.__dict__.setdefault(name, gated(original, name, self._way))
        if name in PASSES or _asks_nobody(original):
            return original
        raise _refusal(name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name != "_way":
            raise AttributeError(f"settings are LiteLLM's own: set litellm.{name} itself")
        super().__setattr__(name, value)

    def __copy__(self) -> LiteLLM:
        return self

    def __deepcopy__(self, memo: Any) -> LiteLLM:
        return self

    def __dir__(self) -> list[str]:
        return sorted(GATED | PASSES)

    def __repr__(self) -> str:
        return f"<litellm under {self._way.keeper!r}>"


def gated(original: Callable[..., Any], name: str, way: Way) -> Callable[..., Any]:
    """One of LiteLLM's functions, all of whose calls go through `way`."""
    kind = name[1:] if name not in _ASKS else name
    names = _positional(kind)
    about = {"embeds": kind == "embedding", "tells_usage": kind in _TELL}

    sender: Any = asend if iscoroutinefunction(original) else send
    ask = partial(sender, function=original, way=way, **about)

    def by_name(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        return {**dict(zip(names, args, strict=False)), **kwargs} if args else kwargs

    def call(*args: Any, **kwargs: Any) -> Any:
        return first_answer(ask, by_name(args, kwargs))

    async def acall(*args: Any, **kwargs: Any) -> Any:
        return await afirst_answer(ask, by_name(args, kwargs))

    method: Any = acall if iscoroutinefunction(original) else call
    method.__name__, method.__qualname__, method.__doc__ = name, name, original.__doc__
    method.__signature__ = signature(original)
    method.__ratekeeper__ = way
    return cast("Callable[..., Any]", method)


def _positional(name: str) -> tuple[str, ...]:
    """The names of what may be given by place; the asynchronous twins do not tell theirs."""
    kinds = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
    parameters = signature(getattr(litellm, name)).parameters.values()
    return tuple(parameter.name for parameter in parameters if parameter.kind in kinds)


def _asks_nobody(thing: Any) -> bool:
    """Whether it is a constant or an exception."""
    if isinstance(thing, type):
        return issubclass(thing, BaseException)
    return not callable(thing) and not isinstance(thing, ModuleType)


def _refusal(name: str) -> ConfigError:
    hint = (
        "expected keeper.wrap(litellm.Router(...))" if name == "Router" else f"expected litellm.{name} itself"
    )
    return ConfigError(
        f"litellm.{name} is not known to be gated or to ask no model, so it is not passed on; {hint}",
        field=name,
    )
