"""Which adapter wraps an object, found by names alone, so that no framework is imported before it is used.

Owns the table of adapters. An adapter is a module of this package with::

    def wrap(obj: T, keeper: Keeper, options: Options) -> T

It finds the provider, the account (`providers.account_of`, or `options.account` if given) and the model from
the object, leaves the object itself untouched, and sends every call through the gate that
`keeper.gate(provider, account, options)` gives. Adapters may import their framework; this module may not.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple, TypeVar

if TYPE_CHECKING:
    from ratekeeper.gate import Options
    from ratekeeper.keeper import Keeper

T = TypeVar("T")


class _Adapter(NamedTuple):
    """An adapter module, what it takes in words, and the classes by which its objects are known."""

    module: str
    takes: str
    classes: frozenset[tuple[str, str]]


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


def find(obj: object) -> str:
    """The name of the adapter module for `obj`.

    Raises:
        TypeError: No adapter takes objects of this type; the message says what is supported.
    """
    bases = {(base.__module__, base.__qualname__) for base in type(obj).__mro__}
    for adapter in _ADAPTERS:
        if not adapter.classes.isdisjoint(bases):
            return adapter.module
    kind = (
        f"the class {obj.__qualname__}"
        if isinstance(obj, type)
        else f"an object of type {type(obj).__qualname__}"
    )
    supported = "; ".join(adapter.takes for adapter in _ADAPTERS)
    raise TypeError(f"keeper.wrap() cannot wrap {kind} from {_home(obj)}; supported: {supported}")


def _home(obj: object) -> str:
    return obj.__module__ if isinstance(obj, type) else type(obj).__module__
