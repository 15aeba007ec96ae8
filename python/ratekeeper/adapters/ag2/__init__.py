"""Model configs of ag2 1.x under a keeper's quotas.

Owns the entry `wrap` and what can be gated. What a wrapped config is stands in `subclass`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, cast

from ratekeeper.errors import ConfigError

from .reach import audit
from .subclass import hold_of, keep

if TYPE_CHECKING:
    from ratekeeper.gate import Options
    from ratekeeper.keeper import Keeper

__all__ = ["audit", "wrap"]

T = TypeVar("T")

_CONFIG = ("ag2.config.config", "ModelConfig")


def wrap(obj: T, keeper: Keeper, options: Options) -> T:
    """A config of the same class whose clients all go through `keeper`, whoever creates them.

    Args:
        obj: An OpenAIConfig, OpenAIResponsesConfig or AnthropicConfig.
        keeper: Whose quotas count.
        options: How to wrap it. A config that this keeper has wrapped before is wrapped anew with these.

    Raises:
        TypeError: It is an agent.
        ConfigError: Another keeper has wrapped it, or calls of its provider cannot be gated.
    """
    config: Any = obj
    if _CONFIG not in {(kind.__module__, kind.__qualname__) for kind in type(config).__mro__}:
        raise TypeError(
            f"keeper.wrap() takes the model configs of ag2, not {type(obj).__qualname__} objects: wrap each config that "
            "it is given; keeper.audit() lists them"
        )
    before = hold_of(config)
    if before is not None and before.keeper is not keeper:
        raise ConfigError(
            f"this {type(obj).__name__} is already wrapped by another Keeper (named {before.keeper.name!r}); "
            "expected the original config",
            field="config",
        )
    return cast("T", keep(config, keeper, options))
