"""LiteLLM under a keeper's quotas: its functions, and its Router.

Owns the entries `bound`, `wrap` and `audit`. LiteLLM fetches its price map from the network when it is first imported,
by us or by anybody, unless LITELLM_LOCAL_MODEL_COST_MAP is set: that changes prices, so the choice stays the user's.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypeVar, cast

from ratekeeper.adapters.audit import Audited
from ratekeeper.errors import ConfigError

from .calls import Way
from .facade import LiteLLM
from .router import gated_router, hold_of

if TYPE_CHECKING:
    from ratekeeper.gate import Options
    from ratekeeper.keeper import Keeper

__all__ = ["LiteLLM", "audit", "bound", "wrap"]

T = TypeVar("T")


def bound(keeper: Keeper, options: Options) -> LiteLLM:
    """LiteLLM's functions, each call of which goes through `keeper`.

    Args:
        keeper: Whose quotas count.
        options: How to wrap them.
    """
    return LiteLLM(keeper, options)


def wrap(obj: T, keeper: Keeper, options: Options) -> T:
    """A Router of the same class whose every call of a model goes through `keeper`.

    Each deployment has the quota of its own provider, account and model. A call that fails is tried again by the keeper's
    policy on the deployment that was chosen; after that the Router's fallbacks have their turn. What we refuse goes
    nowhere else.

    Args:
        obj: A `litellm.Router`.
        keeper: Whose quotas count.
        options: How to wrap it. A Router that this keeper has wrapped before is wrapped anew with these.

    Raises:
        ConfigError: Another keeper has wrapped it, it has deployments that choose a model, or this version of LiteLLM
            lacks what a wrap stands on.
    """
    before = hold_of(obj)
    if before is not None and before.way.keeper is not keeper:
        raise ConfigError(
            f"this {type(obj).__name__} is already wrapped by another Keeper; expected the original Router",
            field="router",
        )
    return cast("T", gated_router(obj if before is None else before.origin, Way(keeper, options)))


def audit(obj: Any) -> Iterator[Audited]:
    """Each deployment of a Router."""
    for number, deployment in enumerate(obj.model_list):
        model = deployment["litellm_params"]["model"]
        yield Audited(f"model_list[{number}]", "deployment", model, wrapped=hold_of(obj) is not None)
