"""AutoGen's classic API (autogen, ag2 before 1.0, pyautogen 0.2) under a keeper's quotas.

Owns the entries `wrap` and `audit`. What is wrapped is the llm_config: each of its entries gets an HTTP client whose
requests go through the keeper, and that client is also the mark by which the seams know the entry again. Agents are
left as they are, for they rebuild their clients from the llm_config.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar, cast

from . import forms, seams
from .auditing import audit
from .clients import AgentWay

if TYPE_CHECKING:
    from ratekeeper.gate import Options
    from ratekeeper.keeper import Keeper

__all__ = ["audit", "wrap"]

T = TypeVar("T")


def wrap(obj: T, keeper: Keeper, options: Options) -> T:
    """An llm_config of the same form whose every model call goes through `keeper`; the one given stays as it is.

    Args:
        obj: A dict (flat, or with a ``config_list``), a list of entries, an `LLMConfig`, or an entry object.
        keeper: Whose quotas count.
        options: How to wrap it; without an `agent`, calls bear the name of the AutoGen agent that makes them.

    Raises:
        TypeError: It is no llm_config, or an entry is of an api_type that cannot be put under a keeper; the message
            names both.
        ConfigError: Another keeper has wrapped it, it has no entries, or this version of AutoGen lacks a seam.
    """
    if forms.is_agent(obj):
        raise TypeError(
            f"keeper.wrap() cannot wrap an AutoGen {type(obj).__name__}: wrap its llm_config, and make the agent with that"
        )
    seams.install()
    return cast("T", forms.gated(obj, AgentWay(keeper, options)))
