"""AutoGen's model clients (autogen-agentchat 0.7) under a keeper's quotas.

Owns the entry `wrap` and the rule for what is wrapped already. How a client's calls can be gated stands in `seams`, what
a wrapped client is in `subclass`, what its component looks like in `component`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, cast

from autogen_core.models import ChatCompletionClient

from ratekeeper.errors import ConfigError

from .component import KeptModelClient
from .hold import hold_of
from .reach import audit
from .seams import inner_client_of
from .subclass import keep

if TYPE_CHECKING:
    from ratekeeper.gate import Options
    from ratekeeper.keeper import Keeper

__all__ = ["KeptModelClient", "audit", "wrap"]

T = TypeVar("T")


def wrap(obj: T, keeper: Keeper, options: Options) -> T:
    """A model client of the same class whose every call goes through `keeper`; it is a component as before.

    A cache stays in front of the keeper: what it answers reserves nothing.

    Args:
        obj: A ChatCompletionClient of autogen-ext, or of a class made from one.
        keeper: Whose quotas count.
        options: How to wrap it. A client that this keeper has wrapped before is wrapped anew with these.

    Raises:
        TypeError: It is an agent or a team.
        ConfigError: Another keeper has wrapped it, or nobody knows how its calls reach the model.
    """
    if not isinstance(obj, ChatCompletionClient):
        raise TypeError(
            f"keeper.wrap() takes the model clients of AutoGen, not {type(obj).__qualname__} objects: wrap each model "
            "client that it is given; keeper.audit() lists them"
        )
    client: Any = obj
    before = hold_of(client)
    if before is not None and before.keeper is not keeper:
        raise ConfigError(
            f"this {type(obj).__name__} is already wrapped by another Keeper (named {before.keeper.name!r}); "
            "expected the original client",
            field="model_client",
        )
    inner = inner_client_of(client)
    if inner is None:
        return cast("T", keep(client, keeper, options))
    twin = object.__new__(type(client))
    twin.__dict__.update(client.__dict__, client=wrap(inner, keeper, options))
    return cast("T", twin)
