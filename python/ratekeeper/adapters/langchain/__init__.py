"""LangChain chat models under a keeper's quotas.

Owns the entry `wrap` and the rule for what is wrapped already. What a wrapped model is stands in `subclass`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypeVar, cast

from langchain_core.language_models import BaseChatModel

from ratekeeper.adapters.audit import Audited
from ratekeeper.errors import ConfigError

from .configurable import gate_of_configurable, limit_configurable
from .identify import model_of
from .subclass import limit
from .view import hold_of

if TYPE_CHECKING:
    from ratekeeper.gate import Gate, Options
    from ratekeeper.keeper import Keeper

__all__ = ["audit", "wrap"]

T = TypeVar("T")


def wrap(obj: T, keeper: Keeper, options: Options) -> T:
    """A drop-in for a chat model, still an instance of its class, whose every call goes through `keeper`.

    The SDK below makes one attempt a call, and streams carry usage (`stream_usage=False`, here or on the
    model, for servers that reject it). The model itself keeps its clients and their retries.

    Args:
        obj: Any BaseChatModel, or the configurable model that `init_chat_model` returns.
        keeper: Whose quotas count.
        options: How to wrap it. A model that this keeper has wrapped before is wrapped anew with these
            options.

    Raises:
        ConfigError: Another keeper has wrapped it: two queues in a row would count every call twice.
    """
    way = keeper.gate("generic", "default", options)
    if not isinstance(obj, BaseChatModel):
        _same_keeper(gate_of_configurable(obj), way, obj)
        return cast("T", limit_configurable(obj, way))
    hold = hold_of(obj)
    _same_keeper(hold.gate if hold else None, way, obj)
    return cast("T", limit(obj, way))


def audit(obj: Any) -> Iterator[Audited]:
    """The model itself; what it is bound to or falls back on is another object."""
    if isinstance(obj, BaseChatModel):
        yield Audited("model", type(obj).__name__, model_of(obj, {}), wrapped=hold_of(obj) is not None)
    else:
        yield Audited("model", type(obj).__name__, "", wrapped=gate_of_configurable(obj) is not None)


def _same_keeper(before: Gate | None, now: Gate, obj: object) -> None:
    if before is not None and not before.same_keeper(now):
        raise ConfigError(
            f"this {type(obj).__name__} is already wrapped by another Keeper (named {before.keeper.name!r}); "
            "expected the original model",
            field="model",
        )
