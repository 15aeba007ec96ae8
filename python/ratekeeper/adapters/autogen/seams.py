"""Where AutoGen itself is changed: a few methods, once, for agents with a wrapped config alone.

Owns these changes and the check that their places are there. Each stands before AutoGen's own method and calls it; for
configs that no keeper has wrapped, nothing else happens.
"""

from __future__ import annotations

import inspect
from functools import wraps
from importlib import import_module
from typing import Any

from ratekeeper import forks, runs
from ratekeeper.errors import ConfigError, RatekeeperError
from ratekeeper.tags import tags

from . import refusals
from .chats import on_thread
from .clients import AgentWay, way_of
from .models import gate_model_client

_CHANGED = "__ratekeeper_changed__"
_WAY = "_ratekeeper_way"
_KNOWN = "known are ag2 0.9 to autogen 0.14, and pyautogen 0.2"
_LLM_SUMMARY = "reflection_with_llm"

_installing = forks.lock()


def install() -> None:
    """Puts the changes in place, if they are not there yet.

    Raises:
        ConfigError: This AutoGen has no such places: it is of no version that is known.
    """
    with _installing:
        wrapper = _owner("autogen.oai.client", "OpenAIWrapper")
        agent = _owner("autogen.agentchat.conversable_agent", "ConversableAgent")
        owners = {"OpenAIWrapper": wrapper, "ConversableAgent": agent}
        if _CHANGED in vars(agent):
            return
        for kind, name, takes, _ in _SEAMS:
            _check(owners[kind], name, takes)
        for kind, name, _, change in _SEAMS:
            if change is not None:
                _put(owners[kind], name, change)
        setattr(agent, _CHANGED, True)


def way_of_wrapper(client: object) -> AgentWay | None:
    """The way of an agent's `OpenAIWrapper`; None if no entry of it was wrapped."""
    return getattr(client, _WAY, None)


def _owner(module: str, name: str) -> Any:
    owner = getattr(import_module(module), name, None)
    if owner is None:
        raise ConfigError(f"this AutoGen has no {module}.{name}; {_KNOWN}", field="llm_config")
    return owner


def _check(owner: Any, name: str, takes: tuple[str, ...]) -> None:
    method = getattr(owner, name, None)
    taken = inspect.signature(method).parameters if callable(method) else {}
    missing = [argument for argument in takes if argument not in taken]
    if missing or not taken:
        raise ConfigError(
            f"this AutoGen's {owner.__name__} has no {name}({', '.join(takes)}); {_KNOWN}", field="llm_config"
        )


def _put(owner: Any, name: str, change: Any) -> None:
    is_static = isinstance(inspect.getattr_static(owner, name), staticmethod)
    origin = getattr(owner, name)
    changed = wraps(origin)(change(origin))
    setattr(owner, name, staticmethod(changed) if is_static else changed)


def _register_default_client(origin: Any) -> Any:
    def register(self: Any, config: Any, openai_config: Any) -> None:
        http_client = config.get("http_client") or openai_config.get("http_client")
        way = way_of(http_client)
        origin(self, config, openai_config)
        if way is not None:
            gate_model_client(self._clients[-1], http_client, way)
            setattr(self, _WAY, way)

    return register


def _create(origin: Any) -> Any:
    def create(self: Any, **config: Any) -> Any:
        if way_of_wrapper(self) is None:
            return origin(self, **config)
        name = getattr(config.get("agent"), "name", None)
        whose = {"agent": name} if name and isinstance(name, str) else {}
        # Entries of the same key and model are one: what the first gave up, the next does not send again.
        with tags(**whose), runs.part_of(runs.current() or object()):
            try:
                return origin(self, **config)
            except RatekeeperError as error:
                refusals.note(error)
                raise

    return create


def _a_generate_oai_reply(origin: Any) -> Any:
    async def reply(
        self: Any, messages: Any = None, sender: Any = None, config: Any = None, **more: Any
    ) -> Any:
        if way_of_wrapper(self.client if config is None else config) is None:
            return await origin(self, messages, sender, config, **more)
        return await on_thread(
            self.generate_oai_reply, messages=messages, sender=sender, config=config, **more
        )

    return reply


def _a_initiate_chat(origin: Any) -> Any:
    signature = inspect.signature(origin)

    async def chat(*args: Any, **kwargs: Any) -> Any:
        given = signature.bind(*args, **kwargs)
        given.apply_defaults()
        settings = given.arguments
        sender, recipient, method = settings["self"], settings["recipient"], settings["summary_method"]
        ways = [way_of_wrapper(getattr(agent, "client", None)) for agent in (sender, recipient)]
        if method != _LLM_SUMMARY or ways == [None, None]:
            return await origin(*args, **kwargs)
        settings["summary_method"] = _no_summary
        result = await origin(*given.args, **given.kwargs)
        # AutoGen would ask for it on the event loop's own thread, where nothing may wait.
        result.summary = await on_thread(
            sender._summarize_chat, method, settings["summary_args"], recipient, cache=settings["cache"]
        )
        result.cost = origin.__globals__["gather_usage_summary"]([sender, recipient])
        return result

    return chat


def _no_summary(*_: Any) -> str:
    return ""


def _reflection_with_llm_as_summary(origin: Any) -> Any:
    def summary(sender: Any, recipient: Any, summary_args: Any) -> Any:
        with refusals.listening() as heard:
            try:
                text = origin(sender, recipient, summary_args)
            except UserWarning:  # where warnings are errors, AutoGen's own about what we have heard
                if not heard:
                    raise
        refusals.insist(heard)
        return text

    return summary


def _execute_function(origin: Any) -> Any:
    def execute(self: Any, *args: Any, **kwargs: Any) -> Any:
        with refusals.listening() as heard:
            result = origin(self, *args, **kwargs)
        if not result[0]:
            refusals.insist(heard)
        return result

    return execute


def _a_execute_function(origin: Any) -> Any:
    async def execute(self: Any, *args: Any, **kwargs: Any) -> Any:
        with refusals.listening() as heard:
            result = await origin(self, *args, **kwargs)
        if not result[0]:
            refusals.insist(heard)
        return result

    return execute


#: Class, method, what it must take, and what stands before it (None: it is only called).
_SEAMS: tuple[tuple[str, str, tuple[str, ...], Any], ...] = (
    (
        "OpenAIWrapper",
        "_register_default_client",
        ("self", "config", "openai_config"),
        _register_default_client,
    ),
    ("OpenAIWrapper", "create", ("self", "config"), _create),
    (
        "ConversableAgent",
        "a_generate_oai_reply",
        ("self", "messages", "sender", "config"),
        _a_generate_oai_reply,
    ),
    ("ConversableAgent", "generate_oai_reply", ("self", "messages", "sender", "config"), None),
    (
        "ConversableAgent",
        "a_initiate_chat",
        ("self", "recipient", "cache", "summary_method", "summary_args"),
        _a_initiate_chat,
    ),
    (
        "ConversableAgent",
        "_summarize_chat",
        ("self", "summary_method", "summary_args", "recipient", "cache"),
        None,
    ),
    (
        "ConversableAgent",
        "_reflection_with_llm_as_summary",
        ("sender", "recipient", "summary_args"),
        _reflection_with_llm_as_summary,
    ),
    ("ConversableAgent", "execute_function", ("self", "func_call"), _execute_function),
    ("ConversableAgent", "a_execute_function", ("self", "func_call"), _a_execute_function),
)
