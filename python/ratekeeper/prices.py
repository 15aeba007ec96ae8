"""What models cost: the price book, and the cost of a usage in hand.

Owns where a book's prices come from. Looking up and reckoning are native. May not import a framework; genai-prices only
where somebody asks for it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from . import checks
from ._core import Cost, Price, PriceTable

if TYPE_CHECKING:
    from datetime import datetime

__all__ = ["Cost", "Price", "PriceBook", "estimate_cost"]

Rates = Mapping[str, Any]


class PriceBook(PriceTable):
    """Prices by the names of models: those compiled in, unless others are asked for.

    Args:
        fallback: The price of models that nobody knows: the rates of one, as in `load`, or a known model's name.
        deployments: Names of your own → models, such as ``{"my-deployment": "azure/gpt-4o-mini"}``.

    Raises:
        ConfigError: A rate that is none, a field that there is not, a fallback that nobody knows.
    """

    def __new__(
        cls,
        *,
        fallback: Rates | str | None = None,
        deployments: Mapping[str, str] | None = None,
        _own: str = "",
        _other: str | None = None,
    ) -> PriceBook:
        """A book of the compiled-in prices; `_own` and `_other` are tables that the class methods made."""
        if isinstance(fallback, Mapping):
            from . import _own_prices  # noqa: PLC0415 (only for prices of one's own)

            fallback = _own_prices.fallback_row(fallback)
        names = {
            name: checks.text(model, f"deployments.{checks.quoted(name)}")
            for name, model in checks.table(deployments or {}, "deployments").items()
        }
        return super().__new__(cls, _own, _other, deployments=names, fallback=fallback)

    @classmethod
    def load(
        cls,
        source: str | os.PathLike[str] | Mapping[str, Rates],
        *,
        fallback: Rates | str | None = None,
        deployments: Mapping[str, str] | None = None,
    ) -> PriceBook:
        """The compiled-in prices below your own, which win.

        Args:
            source: Model names → rates in dollars a million tokens, or a TOML or JSON file of that. ``input`` and
                ``output`` must be there; ``cache_read``, ``cache_write``, ``cache_write_1h``, ``input_audio``,
                ``output_audio``, ``cache_read_audio``, ``reasoning`` and ``request`` (dollars a call) may. ``above`` has
                other rates by the size of the input in tokens, ``tiers`` by service tier. A name may have a provider in
                front (``azure/gpt-4o``), and ``*`` for anything.
            fallback: As in `PriceBook`.
            deployments: As in `PriceBook`.

        Raises:
            ConfigError: The file cannot be read, or which field is wrong.
        """
        from . import _own_prices  # noqa: PLC0415 (only for prices of one's own)

        return cls(fallback=fallback, deployments=deployments, _own=_own_prices.table_of(source))

    @classmethod
    def from_genai_prices(
        cls,
        *,
        fallback: Rates | str | None = None,
        deployments: Mapping[str, str] | None = None,
    ) -> PriceBook:
        """The prices of the genai-prices package that is installed, updates it has taken included.

        Raises:
            ImportError: It is not installed.
        """
        from importlib.metadata import version  # noqa: PLC0415 (only here)

        from genai_prices.data_snapshot import get_snapshot  # noqa: PLC0415 (of the user's own asking)

        from . import _price_rows as rows  # noqa: PLC0415 (only here)

        name = f"genai-prices {version('genai-prices')}"
        snapshot = get_snapshot()
        text = rows.head([("g", name, f"{snapshot.timestamp:%Y-%m-%d}" if snapshot.from_auto_update else "")])
        for provider in snapshot.providers:
            text += rows.genai_block(provider)
            text += "".join(rows.genai_row(model) for model in provider.models)
        return cls(fallback=fallback, deployments=deployments, _other=text)


def estimate_cost(
    usage: object,
    model: str,
    provider: str = "",
    *,
    prices: PriceBook | None = None,
    at: datetime | float | None = None,
) -> Cost | None:
    """What a usage in hand costs, or None for a model that nobody knows.

    Args:
        usage: A `Usage`; an answer of OpenAI, Anthropic, Gemini or Bedrock, or its usage, as object or dict; LangChain's
            ``usage_metadata`` or message, or what its usage callback counted; CrewAI's ``UsageMetrics`` or output;
            AutoGen's ``RequestUsage``, usage summary or ``ChatResult.cost``.
        model: The model's name, as you write it.
        provider: Whose model it is, where the name does not tell.
        prices: Another price book than the compiled-in one.
        at: When it was used; now unless given.

    Raises:
        ConfigError: Counts that no call can have.
        TypeError: Nothing in it is a count of tokens.
    """
    from ._usage_forms import usage_in  # noqa: PLC0415 (only here)

    return (default() if prices is None else prices).cost(usage_in(usage, model), model, provider, at=at)


def default() -> PriceBook:
    """The compiled-in prices, one book for all."""
    global _default  # noqa: PLW0603 (one book for all who have none of their own)
    if _default is None:
        _default = PriceBook()
    return _default


_default: PriceBook | None = None
