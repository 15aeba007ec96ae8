"""Which adapter wraps an object, found by names alone, so that no framework is imported before it is used.

Owns the table of adapters. An adapter is a module of this package with::

    def wrap(obj: T, keeper: Keeper, options: Options) -> T

It finds the provider, the account (`providers.account_of`, or `options.account` if given) and the model from
the object, leaves the object itself untouched, and sends every call through the gate that
`keeper.gate(provider, account, options)` gives. Adapters may import their framework; this module may not.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, NamedTuple, TypeVar

if TYPE_CHECKING:
    from ratekeeper.adapters.audit import Audited
    from ratekeeper.gate import Options
    from ratekeeper.keeper import Keeper

T = TypeVar("T")


class _Adapter(NamedTuple):
    """An adapter module, what it takes in words, and the classes by which its objects are known.

    Attributes:
        fits: For classes that are anybody's: whether this object is meant.
    """

    module: str
    takes: str
    classes: frozenset[tuple[str, str]]
    fits: Callable[[object], bool] | None = None


def _is_llm_config(obj: object) -> bool:
    """Whether a plain dict or list is one of AutoGen's forms of an llm_config, and AutoGen is there."""
    if isinstance(obj, list):
        fits = bool(obj) and all(_is_entry(entry) for entry in obj)
    else:
        fits = isinstance(obj, dict) and ("config_list" in obj or _is_entry(obj))
    return fits and find_spec("autogen") is not None


def _is_entry(entry: object) -> bool:
    if isinstance(entry, dict):
        return isinstance(entry.get("model"), str)
    return any(base.__name__ == "LLMConfigEntry" for base in type(entry).__mro__)


_ADAPTERS = (
    _Adapter(
        "langchain",
        "LangChain chat models (any BaseChatModel, and what init_chat_model returns)",
        frozenset(
            {
                ("langchain_core.language_models.chat_models", "BaseChatModel"),
                ("langchain.chat_models.base", "_ConfigurableModel"),
                ("langchain_classic.chat_models.base", "_ConfigurableModel"),
            }
        ),
    ),
    _Adapter(
        "sdk",
        "clients of the SDKs (OpenAI, AsyncOpenAI, AzureOpenAI, Anthropic, AsyncAnthropic, Groq, …)",
        frozenset(
            (f"{package}._base_client", kind)
            for package in ("openai", "anthropic", "groq")
            for kind in ("SyncAPIClient", "AsyncAPIClient")
        ),
    ),
    _Adapter(
        "agentchat",
        "AutoGen's model clients (any ChatCompletionClient of autogen-ext)",
        frozenset(
            {
                ("autogen_core.models._model_client", "ChatCompletionClient"),
                ("autogen_agentchat.base._chat_agent", "ChatAgent"),
                ("autogen_agentchat.base._team", "Team"),
            }
        ),
    ),
    _Adapter(
        "autogen",
        "AutoGen's llm_config (dict, list of entries, LLMConfig, or an entry object)",
        frozenset(
            {
                ("autogen.llm_config.config", "LLMConfig"),
                ("autogen.llm_config.entry", "LLMConfigEntry"),
                ("autogen.llm_config", "LLMConfig"),
                ("autogen.llm_config", "LLMConfigEntry"),
                ("autogen.agentchat.conversable_agent", "ConversableAgent"),
                ("autogen.agentchat.groupchat", "GroupChat"),
            }
        ),
    ),
    _Adapter(
        "autogen",
        "",
        frozenset({("builtins", "dict"), ("builtins", "list")}),
        _is_llm_config,
    ),
    _Adapter(
        "crewai",
        "CrewAI's LLMs, agents and crews",
        frozenset(
            {
                ("crewai.llms.base_llm", "BaseLLM"),
                ("crewai.agents.agent_builder.base_agent", "BaseAgent"),
                ("crewai.crew", "Crew"),
            }
        ),
    ),
    _Adapter("litellm", "LiteLLM Routers (litellm.Router)", frozenset({("litellm.router", "Router")})),
    _Adapter(
        "ag2",
        "ag2's model configs (OpenAIConfig, OpenAIResponsesConfig, AnthropicConfig of ag2 1.x)",
        frozenset({("ag2.config.config", "ModelConfig"), ("ag2.agent", "Agent")}),
    ),
    _Adapter(
        "http",
        "HTTP clients (httpx and httpx2, Client and AsyncClient)",
        frozenset((package, kind) for package in ("httpx", "httpx2") for kind in ("Client", "AsyncClient")),
    ),
)


def wrap(obj: T, keeper: Keeper, options: Options) -> T:
    """A drop-in for `obj` whose calls all go through `keeper`; `obj` itself stays as it is.

    Raises:
        TypeError: No adapter takes objects of this type.
    """
    adapter = find(obj)
    module = import_module(f".{adapter}", __name__)
    wrapped: T = module.wrap(obj, keeper, options)
    return wrapped


def audited(obj: object) -> list[Audited]:
    """Every model that is reachable from `obj`.

    Raises:
        TypeError: No adapter can look through objects of this type.
    """
    module = import_module(f".{find(obj, 'audit')}", __name__)
    return list(module.audit(obj))


def find(obj: object, verb: str = "wrap") -> str:
    """The name of the adapter module for `obj`.

    Raises:
        TypeError: No adapter takes objects of this type; the message says what is supported.
    """
    bases = {(base.__module__, base.__qualname__) for base in type(obj).__mro__}
    for adapter in _ADAPTERS:
        if not adapter.classes.isdisjoint(bases) and (adapter.fits is None or adapter.fits(obj)):
            return adapter.module
    kind = (
        f"the class {obj.__qualname__}"
        if isinstance(obj, type)
        else f"an object of type {type(obj).__qualname__}"
    )
    supported = "; ".join(adapter.takes for adapter in _ADAPTERS if adapter.takes)
    raise TypeError(f"keeper.{verb}() cannot {verb} {kind} from {_home(obj)}; supported: {supported}")


def _home(obj: object) -> str:
    return obj.__module__ if isinstance(obj, type) else type(obj).__module__
