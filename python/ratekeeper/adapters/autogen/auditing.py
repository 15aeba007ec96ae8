"""Which models an AutoGen object can reach, wrapped or not.

Owns the walk: configs, agents, group chats with their selectors, nested chats. Changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ratekeeper.adapters.audit import Audited

from .clients import way_of
from .forms import entries_of, is_agent
from .seams import way_of_wrapper


def audit(obj: Any) -> Iterator[Audited]:
    """Every entry of every llm_config that is reachable from a config, an agent or a group chat.

    Tools are functions and are not looked into; neither are configs that an agent makes while it runs.
    """
    if is_agent(obj):
        yield from _of_agent(obj, type(obj).__name__, set())
    else:
        yield from _of_config(obj, "llm_config", is_used=True)


def _of_config(config: Any, where: str, *, is_used: bool) -> Iterator[Audited]:
    for place, entry in entries_of(config):
        wrapped = way_of(entry.get("http_client") or _shared_client(config)) is not None
        dot = "" if not place or place.startswith("[") else "."
        kind = type(entry).__name__ if not isinstance(entry, dict) else entry.get("api_type") or "openai"
        yield Audited(f"{where}{dot}{place}", kind, str(entry.get("model") or ""), wrapped and is_used)


def _shared_client(config: Any) -> Any:
    return config.get("http_client") if isinstance(config, dict) else None


def _of_agent(obj: Any, where: str, seen: set[int]) -> Iterator[Audited]:
    if id(obj) in seen:
        return
    seen.add(id(obj))
    config = getattr(obj, "llm_config", None)
    if config:
        client = getattr(obj, "client", None)
        is_used = client is None or way_of_wrapper(client) is not None
        yield from _of_config(config, f"{where}.llm_config", is_used=is_used)
    selector = getattr(obj, "select_speaker_auto_llm_config", None)
    if selector:
        yield from _of_config(selector, f"{where}.select_speaker_auto_llm_config", is_used=True)
    for way, part in _parts(obj):
        yield from _of_agent(part, f"{where}.{way}", seen)


def _parts(obj: Any) -> Iterator[tuple[str, Any]]:
    """The agents that an agent or a group chat can hand a chat to."""
    groupchat = getattr(obj, "_groupchat", None) or getattr(obj, "groupchat", None)
    if groupchat is not None:
        yield "groupchat", groupchat
    for at, agent in enumerate(getattr(obj, "agents", None) or ()):
        yield f"agents[{at}]", agent
    for reply in getattr(obj, "_reply_func_list", ()):
        for at, chat in enumerate(_nested(reply)):
            for role in ("sender", "recipient"):
                if is_agent(chat.get(role)):
                    yield f"nested_chats[{at}].{role}", chat[role]


def _nested(reply: Any) -> list[dict[str, Any]]:
    """The queue of a nested chat, which AutoGen keeps in the closure of a reply function only."""
    function = reply.get("reply_func") if isinstance(reply, dict) else None
    cells = dict(
        zip(
            getattr(getattr(function, "__code__", None), "co_freevars", ()),
            getattr(function, "__closure__", None) or (),
            strict=False,
        )
    )
    queue = cells["chat_queue"].cell_contents if "chat_queue" in cells else ()
    return [chat for chat in queue if isinstance(chat, dict)]
