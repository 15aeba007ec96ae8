"""Classes and instances of wrapped model configs.

Owns the dynamic subclass of a config's class: every client that it creates asks its SDK through the keeper. Agents,
compaction and aggregation all create their clients by the config, so nothing of ag2 is patched.
"""

from __future__ import annotations

import copy
from dataclasses import fields
from functools import cache
from typing import TYPE_CHECKING, Any

from ratekeeper import adapters
from ratekeeper.adapters.by_name import keeper_named
from ratekeeper.errors import ConfigError

from . import clients
from .clients import Hold

if TYPE_CHECKING:
    from ratekeeper.gate import Options
    from ratekeeper.keeper import Keeper

_SLOT = "_ratekeeper_hold"
_BASE = "__ratekeeper_base__"
#: Configs whose clients ask a client of OpenAI's or Anthropic's SDK in `_client` for everything.
_KNOWN = frozenset(
    {
        ("ag2.config.openai.config", "OpenAIConfig"),
        ("ag2.config.openai.config", "OpenAIResponsesConfig"),
        ("ag2.config.anthropic.config", "AnthropicConfig"),
    }
)


def hold_of(config: object) -> Hold | None:
    """What a wrapped config carries; None for any other."""
    hold = getattr(config, _SLOT, None)
    return hold if isinstance(hold, Hold) else None


def keep(config: Any, keeper: Keeper, options: Options) -> Any:
    """A config of a subclass of `config`'s class, with the same settings.

    Raises:
        ConfigError: Nobody here knows how calls of its provider can be gated.
    """
    kind: Any = type(config)
    base: Any = getattr(kind, _BASE, kind)
    if _KNOWN.isdisjoint((ancestor.__module__, ancestor.__qualname__) for ancestor in base.__mro__):
        raise ConfigError(
            f"a {base.__qualname__} from {base.__module__} cannot be gated: known are OpenAIConfig, "
            "OpenAIResponsesConfig and AnthropicConfig of ag2 1.x; give others a wrapped HTTP client, if they take one",
            field="config",
        )
    return _with_hold(_clone(config, _kind(base)), Hold(keeper, options))


def _clone(config: Any, kind: type) -> Any:
    twin: Any = object.__new__(kind)
    for field in fields(config):
        object.__setattr__(twin, field.name, getattr(config, field.name))
    for name, value in getattr(config, "__dict__", {}).items():
        object.__setattr__(twin, name, value)
    return twin


def _with_hold(config: Any, hold: Hold | None) -> Any:
    object.__setattr__(config, _SLOT, hold)
    return config


@cache
def _kind(base: Any) -> Any:
    members = {
        "__slots__": (_SLOT,),
        "__module__": base.__module__,
        "__qualname__": base.__qualname__,
        "__doc__": base.__doc__,
        _BASE: base,
        "copy": _copying(base),
        "create": _creating(base),
        "__copy__": lambda self: _with_hold(_clone(self, type(self)), hold_of(self)),
        "__deepcopy__": _deepcopying(base),
        "__reduce__": lambda self: _reduce(self, base),
    }
    return type(base.__name__, (base,), members)


def _copying(base: Any) -> Any:
    def copy(self: Any, /, **overrides: Any) -> Any:
        """As of the config, still under the keeper."""
        return _with_hold(base.copy(self, **overrides), hold_of(self))

    return copy


def _creating(base: Any) -> Any:
    def create(self: Any) -> Any:
        """A client that asks through the keeper.

        Raises:
            ConfigError: The config belongs to no keeper, or this version keeps its SDK's client elsewhere.
        """
        hold = hold_of(self)
        if hold is None:
            raise ConfigError(
                f"this {base.__name__} was built from the class of a wrapped config (dataclasses.replace does so) and "
                "belongs to no keeper; use its copy(), or pass it to keeper.wrap()",
                field="config",
            )
        client = base.create(self)
        try:
            is_known = adapters.find(getattr(client, "_client", None)) == "sdk"
        except TypeError:
            is_known = False
        if not is_known:
            raise ConfigError(
                f"the {type(client).__name__} of this {base.__name__} holds no SDK client in `_client`: known is that "
                "of ag2 1.2",
                field="config",
            )
        return clients.keep(client, hold)

    return create


def _deepcopying(base: Any) -> Any:
    def deepcopy(self: Any, memo: dict[int, Any]) -> Any:
        plain = copy.deepcopy(_clone(self, base), memo)
        return _with_hold(_clone(plain, type(self)), hold_of(self))

    return deepcopy


def _reduce(self: Any, base: Any) -> tuple[Any, ...]:
    """Pickles as the class it was made from, and the keeper's name."""
    hold = hold_of(self)
    return _reopen, (_clone(self, base), hold and hold.keeper.name, hold and hold.options)


def _reopen(config: Any, keeper: str, options: Options) -> Any:
    return keep(config, keeper_named(keeper), options)
