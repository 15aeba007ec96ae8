"""Wrapped model clients as AutoGen's components: how they are dumped, and loaded under the keeper of the same name.

Owns the component's config. It names the keeper and holds the config of the client that was wrapped, which is
AutoGen's own, keys masked as AutoGen masks them; it holds no live object.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from autogen_core import Component, ComponentBase, ComponentModel
from autogen_core.models import ChatCompletionClient
from pydantic import BaseModel

from ratekeeper import adapters
from ratekeeper.adapters.by_name import keeper_named
from ratekeeper.gate import Options

from .hold import SLOT

_PROVIDER = "ratekeeper.adapters.agentchat.KeptModelClient"


class KeptModelClientConfig(BaseModel):
    """What is left of a wrapped client in a config.

    Attributes:
        keeper: The name of its keeper.
        options: How it was wrapped.
        client: The component of the client that was wrapped.
    """

    keeper: str
    options: dict[str, Any]
    client: ComponentModel


class KeptModelClient(ComponentBase[KeptModelClientConfig], Component[KeptModelClientConfig]):
    """Loads wrapped model clients; an instance is never made of it."""

    component_type = "model"
    component_config_schema = KeptModelClientConfig
    component_provider_override = _PROVIDER

    def _to_config(self) -> KeptModelClientConfig:
        raise NotImplementedError("a wrapped client dumps itself")

    @classmethod
    def _from_config(cls, config: KeptModelClientConfig) -> Any:
        """A wrapped client of the class that was dumped.

        Raises:
            ConfigError: This process has no keeper of that name, or several.
        """
        keeper = keeper_named(config.keeper)
        client: Any = ChatCompletionClient.load_component(config.client)
        return adapters.wrap(client, keeper, Options(**config.options))


def dumping(base: Any) -> Callable[[Any], ComponentModel]:
    """`dump_component` of a wrapped client."""

    def dump_component(self: Any) -> ComponentModel:
        inner: ComponentModel = base.dump_component(self)
        hold = self.__dict__[SLOT]
        config = KeptModelClientConfig(keeper=hold.keeper.name, options=hold.options._asdict(), client=inner)
        told = {"provider": _PROVIDER, "version": 1, "component_version": 1}
        return inner.model_copy(update={**told, "config": config.model_dump(exclude_none=True)})

    return dump_component
