"""Azure OpenAI: the same API as OpenAI, other quotas.

Owns what counts against a deployment's limits. Source: learn.microsoft.com, Azure OpenAI, "Manage quota".
"""

from __future__ import annotations

from typing import ClassVar

from .base import MINUTE, Periods, Sizes
from .openai import OpenAI


class AzureOpenAI(OpenAI):
    """Counts the prompt's characters plus max_tokens x best_of, at arrival, and keeps it for the minute.

    The quota belongs to a deployment of a resource: the quota group is the deployment and the account is the
    resource's host, since both of its keys and every Entra token open the same deployment.
    """

    name = "azure"
    account_is_host = True
    periods: ClassVar[Periods] = {"requests": (MINUTE,), "tokens": (MINUTE,)}
    windows = True

    def held(self, ceiling: int, sizes: Sizes) -> int:
        """The prompt's estimate and the ceiling, added."""
        return sizes.prompt_quarter + ceiling
