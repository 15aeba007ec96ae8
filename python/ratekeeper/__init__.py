"""Keeps LLM agent applications inside their providers' quotas.

Public names only. Each is loaded at its first use, so that `import ratekeeper` stays cheap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._core import Estimator as Estimator
    from ._core import Lease as Lease
    from ._core import Limit as Limit
    from ._core import ManualClock as ManualClock
    from ._core import Quota as Quota
    from ._core import RateLimiter as RateLimiter
    from ._core import RetryBudget as RetryBudget
    from ._core import RetryPolicy as RetryPolicy
    from ._core import Semaphore as Semaphore
    from ._retrying import Retrying as Retrying
    from .budgets.budget import Budget as Budget
    from .budgets.budget import BudgetEvent as BudgetEvent
    from .budgets.job import Job as Job
    from .budgets.job import Summary as Summary
    from .costs import CostTracker as CostTracker
    from .costs import Spend as Spend
    from .errors import BudgetExceededError as BudgetExceededError
    from .errors import ConfigError as ConfigError
    from .errors import EventLoopBlockedError as EventLoopBlockedError
    from .errors import LeaseError as LeaseError
    from .errors import NeverFitsError as NeverFitsError
    from .errors import PausedError as PausedError
    from .errors import QuotaExceededError as QuotaExceededError
    from .errors import RatekeeperError as RatekeeperError
    from .errors import StoreError as StoreError
    from .events import Failed as Failed
    from .events import Refused as Refused
    from .events import Settled as Settled
    from .events import Started as Started
    from .events import Waited as Waited
    from .hooks import Hook as Hook
    from .keeper import Keeper as Keeper
    from .prices import PriceBook as PriceBook
    from .prices import estimate_cost as estimate_cost
    from .providers import Request as Request
    from .providers import Usage as Usage
    from .throttle import Throttle as Throttle

# At once, since these functions have the names of their modules: importing those later would put the modules in
# their place.
from .retry import retry, retry_context
from .tags import carried, tags

#: Public name → the module that has it.
_HOMES = {
    "Limit": "_core",
    "Lease": "_core",
    "ManualClock": "_core",
    "Quota": "_core",
    "RateLimiter": "_core",
    "RetryBudget": "_core",
    "RetryPolicy": "_core",
    "Semaphore": "_core",
    "Estimator": "_core",
    "Budget": "budgets.budget",
    "BudgetEvent": "budgets.budget",
    "Job": "budgets.job",
    "Summary": "budgets.job",
    "CostTracker": "costs",
    "Spend": "costs",
    "BudgetExceededError": "errors",
    "ConfigError": "errors",
    "EventLoopBlockedError": "errors",
    "LeaseError": "errors",
    "NeverFitsError": "errors",
    "PausedError": "errors",
    "QuotaExceededError": "errors",
    "RatekeeperError": "errors",
    "StoreError": "errors",
    "Retrying": "_retrying",
    "Failed": "events",
    "Hook": "hooks",
    "Refused": "events",
    "Settled": "events",
    "Started": "events",
    "Waited": "events",
    "Keeper": "keeper",
    "PriceBook": "prices",
    "estimate_cost": "prices",
    "Request": "providers",
    "Usage": "providers",
    "Throttle": "throttle",
}

__all__ = [*_HOMES, "carried", "retry", "retry_context", "tags"]  # noqa: PLE0604 (all of them are texts)


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415

    value = globals()[name] = getattr(import_module(f".{home}", __name__), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
