"""The forms of an llm_config: which one it is, and the same form again with other entries.

Owns the way to the entries. May not know what an entry gets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import copy
from typing import Any

from ratekeeper.errors import ConfigError

from .clients import AgentWay
from .entries import gated_entry, is_entry_object, not_empty

_AGENTS = ("Agent", "ConversableAgent", "GroupChat")


def is_agent(obj: object) -> bool:
    """Whether it holds configs rather than being one."""
    return any(base.__name__ in _AGENTS for base in type(obj).__mro__)


def is_config(obj: object) -> bool:
    """Whether it is AutoGen's own class for configs, told by name."""
    return any(base.__name__ == "LLMConfig" for base in type(obj).__mro__)


def gated(obj: Any, way: AgentWay) -> Any:
    """The same form, with each entry on `way`.

    Raises:
        TypeError: An entry cannot be put under a keeper.
        ConfigError: There are no entries, or another keeper has wrapped one.
    """
    if is_config(obj):
        return _with_entries(obj, lambda entry, where: gated_entry(entry, where, way))
    if isinstance(obj, list):
        not_empty(obj, "llm_config")
        return _same_list(obj, [gated_entry(entry, f"llm_config[{at}]", way) for at, entry in enumerate(obj)])
    if isinstance(obj, dict) and "config_list" in obj:
        return _gated_dict(obj, way)
    return gated_entry(obj, "llm_config", way)


def _gated_dict(obj: dict[str, Any], way: AgentWay) -> dict[str, Any]:
    entries, shared = obj["config_list"], obj.get("http_client")
    not_empty(entries, "llm_config.config_list")
    twin = copy(obj)
    if isinstance(entries, dict) or is_entry_object(entries):
        twin["config_list"] = gated_entry(entries, "config_list", way, shared)
    else:
        made = [gated_entry(entry, f"config_list[{at}]", way, shared) for at, entry in enumerate(entries)]
        twin["config_list"] = _same_list(entries, made)
    return twin


def _same_list(origin: Any, entries: list[Any]) -> Any:
    if isinstance(origin, list) and type(origin) is not list:
        twin = copy(origin)
        twin[:] = entries
        return twin
    return tuple(entries) if isinstance(origin, tuple) else entries


def _with_entries(config: Any, change: Callable[[Any, str], Any]) -> Any:
    """A config of the same class with changed entries; AutoGen's own copy would forget a subclass."""
    model = vars(config).get("_model")  # getattr would ask that very model
    if model is None or not hasattr(model, "model_copy"):
        raise ConfigError(
            "this LLMConfig does not keep its settings in a pydantic model; known are ag2 0.9 to autogen 0.14",
            field="llm_config",
        )
    entries = [change(entry, f"config_list[{at}]") for at, entry in enumerate(model.config_list)]
    not_empty(entries, "llm_config.config_list")
    twin = object.__new__(type(config))
    vars(twin).update(vars(config))
    object.__setattr__(twin, "_model", model.model_copy(update={"config_list": entries}))
    return twin


def entries_of(obj: Any) -> Iterator[tuple[str, Any]]:
    """The entries of a config with their places; none of what is no config."""
    if is_config(obj) or (isinstance(obj, dict) and "config_list" in obj):
        found = obj["config_list"]
        single = isinstance(found, dict) or is_entry_object(found)
        yield from (
            (f"config_list[{at}]", entry) for at, entry in enumerate([found] if single else found or ())
        )
    elif isinstance(obj, list):
        yield from ((f"[{at}]", entry) for at, entry in enumerate(obj))
    elif isinstance(obj, dict) or is_entry_object(obj):
        yield "", obj
