"""The application's one object: quotas by scope, their limiters, and the wrapping of models.

Owns which limiter a call falls under. May not import a framework; the order of a call is `call`'s business,
the arithmetic the core's.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypedDict

from . import checks, config, forks
from ._core import Estimator, Quota, RateLimiter, RetryBudget, RetryPolicy, check_store
from .budgets.till import opened
from .desk import Desk, Lane
from .frameworks import Frameworks, Seconds
from .gate import Gate, Options
from .guard import Guard
from .hooks import EVENTS, Hook, Hooks
from .notices import Notices
from .providers import Provider, Request, get
from .retry import retry
from .scopes import Scope, best, family_of

if TYPE_CHECKING:
    from ._core import ManualClock
    from .budgets.budget import Budget
    from .budgets.job import Summary
    from .costs import CostTracker
    from .prices import PriceBook
    from .retry import Decorator
    from .status import Status, StorePolicy, StoreStatus

#: The entry of `tenants` for those that have none of their own.
ANY_TENANT = "*"
#: What a retry policy is made of.
_PARTS = ("attempts", "timeout", "wait_initial", "wait_max", "jitter")

#: When a failed call is tried again, unless the user says otherwise.
_RETRY = RetryPolicy()

#: Held while a limiter is made.
_making = forks.lock()


class KeeperStatus(TypedDict):
    """What `Keeper.status` gives; all of it is JSON-able."""

    name: str
    store: StoreStatus | None  # None: there is none, or no call was made yet
    scopes: dict[str, Status]
    retry_budgets: dict[str, int]  # what is left of each scope's 100
    estimates: list[dict[str, Any]]
    budgets: list[dict[str, Any]]


class Keeper(Frameworks):
    """Puts every model call of an application under its quotas.

    Objects of the same provider, account (API key) and model share one limiter, however often they are made
    anew. A scope without a quota starts careful and goes by what the provider's answers tell. Thread-safe; usable
    in a child after fork.

    Args:
        quota: The quota of every scope that no pattern of `quotas` names.
        quotas: Quotas by pattern: ``"openai/gpt-4o-mini"``, ``"anthropic/claude-*"``, or with an account
            ``"openai/prod/gpt-4o"``. The most specific pattern wins: one without wildcards, else the one with
            more literal characters, else the one given first.
        accounts: Quotas of all models of an account together: ``"openai"`` for each account of the provider,
            ``"openai/prod"`` for one. A call needs room in both.
        families: Models that share one limit: ``{"gpt-4o": ["openai/gpt-4o", "openai/gpt-4o-2024-*"]}``. Its
            quota is that of the pattern matching ``openai/gpt-4o``, or else of the first member that is used.
        tenants: A cap for each tenant, in every scope, inside the quota; ``"*"`` for those without one.
        weights: Shares of tenants in the queue; 1 if not given.
        count: Your own counting function, from a `Request` (see its `text`) to its input tokens; else a
            calibrated estimate.
        hooks: A `Hook` or several, told of all that happens.
        headroom: Seconds of each rate that are held back from its burst, since providers count a call when it
            arrives: jitter on the network must not make two calls arrive too close.
        lease_ttl: Seconds after which the permit of a call nobody ended is given away; longer than the
            longest call.
        timeout: Seconds a call waits for its turn by default; None waits as long as it takes.
        retry: When failed model calls are tried again, each attempt with a lease of its own; None for never. What an
            outage multiplies is bounded by a retry budget for each scope.
        budgets: A `Budget` or several, for all calls of this keeper: nothing is sent that could break one.
        prices: A `PriceBook`, or your own prices by model (a dict, or the path of a file) on top of the built-in ones.
        costs: A `CostTracker` to book calls in, or the address of its store (``sqlite:///costs.db``); None keeps them in
            memory.
        slow_wait: Seconds from which a wait is worth a line in the log.
        name: By which an object that was wrapped, pickled and sent to another process finds the keeper there.
        store: Where quotas, `budgets` and what retries may take are counted for all processes that name it:
            ``"sqlite:////var/lib/myapp/quota.db"`` for those of one host (with three slashes from the working directory of
            now), ``"redis://host:6379/0"`` for those of many; None for this process alone.
        store_lost: While the store cannot be reached, ``"share"`` goes on with each quota divided by the last known number
            of processes, ``"open"`` grants everything, ``"closed"`` raises StoreError.
        clock: A ManualClock in tests.

    Raises:
        ConfigError: A setting is wrong; the message names it.
        StoreError: The store cannot be used.
    """

    def __init__(
        self,
        quota: Quota | None = None,
        *,
        quotas: Mapping[str, Quota] | None = None,
        accounts: Mapping[str, Quota] | None = None,
        families: Mapping[str, Iterable[str]] | None = None,
        tenants: Mapping[str, Quota] | None = None,
        weights: Mapping[str, float] | None = None,
        count: Callable[[Request], int] | None = None,
        hooks: Hook | Iterable[Hook] = (),
        headroom: Seconds = 0.25,
        lease_ttl: Seconds = 600.0,
        timeout: Seconds | None = None,
        retry: RetryPolicy | None = _RETRY,
        budgets: Budget | Iterable[Budget] = (),
        prices: PriceBook | Mapping[str, Any] | str | os.PathLike[str] | None = None,
        costs: CostTracker | str | None = None,
        slow_wait: Seconds = 10.0,
        name: str = "default",
        store: str | None = None,
        store_lost: StorePolicy = "share",
        clock: ManualClock | None = None,
    ) -> None:
        if quota is not None:
            _quota(quota, "quota")
        if count is not None and not callable(count):
            checks.fail("count", "a function from a Request to its number of tokens", count)
        self.name = checks.text(name, "name")
        self._default = quota
        self._quotas = _patterns(quotas, "quotas")
        self._account_quotas = _by_name(accounts, "accounts")
        self._families = checks.families(families or {}, "families")
        self._tenants = _by_name(tenants, "tenants")
        self._weights = checks.weights(weights or {}, "weights")
        self._headroom = checks.seconds(headroom, "headroom", zero=True)
        store = None if store is None else checks.store(store, "store")
        lease_ttl = checks.seconds(lease_ttl, "lease_ttl")
        self._outermost: dict[str, Any] = {"lease_ttl": lease_ttl, "clock": clock, "store": store}
        self._store, self._store_lost = store, checks.store_lost(store_lost, "store_lost")
        if store is not None:
            self._outermost["store_lost"] = store_lost
            check_store(store, store_lost)
        if retry is not None and not isinstance(retry, RetryPolicy):
            checks.fail("retry", "a ratekeeper.RetryPolicy or None", retry)
        self._retry = retry
        self._timeout = None if timeout is None else checks.seconds(timeout, "timeout")
        self._notices = Notices(checks.seconds(slow_wait, "slow_wait"))
        self._clock = clock
        self._budget = RetryBudget(clock=clock, store=store, store_lost=store_lost, scope=f"keeper {name}")
        self._estimator = Estimator()
        self._lanes: dict[Scope, Lane] = {}
        self._accounts: dict[str, RateLimiter] = {}
        self._till = opened(prices, costs, budgets, store, store_lost)
        self._desk = Desk(
            name=name,
            owner=self,
            lane=self._lane,
            estimator=self._estimator,
            hooks=Hooks(_hooks(hooks)),
            notices=self._notices,
            count=count,
            retry=retry,
            till=self._till,
        )

    @property
    def costs(self) -> CostTracker:
        """The ledger: what every call took, by whom."""
        return self._till.costs

    @property
    def prices(self) -> PriceBook:
        """What models cost."""
        return self._till.prices

    @classmethod
    def from_config(cls, path: str | os.PathLike[str] | None = None, **overrides: Any) -> Keeper:
        """A keeper from `ratekeeper.toml` and the environment (see `ratekeeper.config` for both).

        Args:
            path: The file; None takes RATEKEEPER_CONFIG, else `ratekeeper.toml` in the working directory if
                there is one.
            **overrides: Arguments of `Keeper` that win over both, and those no file can give (`count`,
                `hooks`).

        Raises:
            ConfigError: The file cannot be read or a setting is wrong; the message names its full key.
        """
        settings: dict[str, Any] = {**config.load(path), **overrides}
        return cls(**settings)

    def gate(self, provider: str, account: str, options: Options | None = None) -> Gate:
        """The gate of one wrapped object: for adapters, and for calls that no adapter knows.

        Args:
            provider: The API's name; an unknown one gets the cautious default rules.
            account: See `providers.account_of`; `options.account` wins over it.
            options: How the object was wrapped; without a `timeout` of its own it has the keeper's.
        """
        options = options or Options()
        if options.timeout is None:
            options = options._replace(timeout=self._timeout)
        return Gate(self._desk, get(provider), options.account or account, options, keeper=self._desk.keeper)

    def guard(
        self,
        concurrency: int | None = None,
        *,
        budget: Budget | Iterable[Budget] = (),
        calls: int | None = None,
        timeout: Seconds | None = None,
        tags: Mapping[str, str] | None = None,
        on_end: Callable[[Summary], object] | None = None,
    ) -> Guard:
        """A decorator around whole jobs, such as a crew's kickoff; for functions and coroutine functions.

        Args:
            concurrency: How many may run at a time, threads and event loops together, in order of arrival;
                None for any number. A job that runs for more than an hour gives up its place.
            budget: A `Budget` or several, of which each job has one of its own; a call that could break it raises
                BudgetExceededError, and nothing is sent. Calls on plain new threads are outside (see `carried`).
            calls: Short for ``budget=Budget(calls=...)``.
            timeout: Seconds a job waits for its place; then QuotaExceededError. None waits as long as it
                takes.
            tags: Tags for all calls made inside.
            on_end: Given the `Summary` of each job that is over, also of one that failed; it is a line in the log too.

        Raises:
            ConfigError: An argument is wrong.
        """
        return Guard(
            concurrency,
            budget=budget,
            calls=calls,
            timeout=timeout,
            tags=tags,
            on_end=on_end,
            clock=self._clock,
        )

    def retry(self, **settings: Any) -> Decorator:
        """`ratekeeper.retry` with this keeper's policy, for what is more than one model call.

        What a wrapped model has given up is not tried again, so the two do not multiply. All functions decorated by one
        keeper share a retry budget.

        Args:
            **settings: Those of `ratekeeper.retry`; ``policy``, or the parts of one, and ``budget`` win over the
                keeper's.

        Raises:
            ConfigError: A number is out of range.
            TypeError: A setting is unknown or has the wrong type.
        """
        own: dict[str, Any] = {"budget": self._budget}
        if self._retry is not None and "policy" not in settings:
            own |= {part: getattr(self._retry, part) for part in _PARTS}
        return retry(**{**own, **settings})

    def limiter(self, scope: Scope | str) -> RateLimiter:
        """The limiter of a scope such as ``openai/3f9a0c52e17b/gpt-4o``, made if it is not there yet.

        Raises:
            ConfigError: The text is no scope.
        """
        found = Scope.parse(scope) if isinstance(scope, str) else scope
        return self._open(found, found.group).limiter

    def status(self) -> KeeperStatus:
        """Per scope what remains, who waits and why; per model and caller how good the estimates are."""
        scopes = {str(scope): lane.limiter.status() for scope, lane in list(self._lanes.items())}
        return {
            "name": self.name,
            "store": next((status["store"] for status in scopes.values()), None),
            "scopes": scopes,
            "retry_budgets": {str(scope): lane.budget.balance for scope, lane in list(self._lanes.items())},
            "estimates": self._estimator.status(),
            "budgets": [row for budget in self._till.budgets for row in budget.status()],
        }

    def last_error(self, scope: Scope | str | None = None) -> Exception | None:
        """The last exception that a provider's refusal or failure came out as, with its headers, or None.

        For frameworks that hand on no more than its text. One for each scope is kept, with its traceback.

        Args:
            scope: Such as ``openai/3f9a0c52e17b/gpt-4o``; None looks at all and takes the youngest.

        Raises:
            ConfigError: The text is no scope.
        """
        found = Scope.parse(scope) if isinstance(scope, str) else scope
        lanes = [lane for key, lane in list(self._lanes.items()) if found is None or key == found]
        errors = [lane.last_error for lane in lanes if lane.last_error is not None]
        if not errors:
            return None
        error, _ = max(errors, key=lambda entry: entry[1])
        shown: Exception = getattr(error, "shown", error)
        return shown

    def scope(self, provider: Provider, account: str, model: str) -> Scope:
        """The scope of a model's calls: its family if one names it, else the provider's own grouping."""
        names = Scope(provider.name, account, model).names(model)
        return Scope(provider.name, account, family_of(self._families, names) or provider.group(model))

    def _lane(self, provider: Provider, account: str, model: str) -> Lane:
        return self._open(self.scope(provider, account, model), model)

    def _open(self, scope: Scope, model: str) -> Lane:
        """The lane of a scope; its quota is that of the group's pattern, or else of the first model's."""
        pattern = best(self._quotas, scope.names(scope.group)) or best(self._quotas, scope.names(model))
        lane = self._lanes.get(scope) or self._new_lane(scope, pattern)
        if pattern is not None and pattern != lane.setting:
            self._notices.conflict(str(scope), model, pattern, lane.setting or "the default")
        return lane

    def _new_lane(self, scope: Scope, pattern: str | None) -> Lane:
        with _making:
            known = self._lanes.get(scope)
            if known is not None:
                return known
            account = self._account(scope)
            lane = self._lanes[scope] = self._make_lane(scope, pattern, account)
        if pattern is None and self._default is None and account is None:
            self._notices.unknown(str(scope))
        return lane

    def _make_lane(self, scope: Scope, pattern: str | None, account: RateLimiter | None) -> Lane:
        quota = (self._default if pattern is None else self._quotas[pattern]) or Quota()
        # Inside an account the clock and the leases are the account's, and its name comes first.
        place = (
            {"name": scope.group, "within": account} if account else {"name": str(scope), **self._outermost}
        )
        limiter = RateLimiter(
            quota.with_headroom(self._headroom),
            tenants=self._tenants,
            weights=self._weights,
            careful=account is None,
            **place,
        )

        def quotas(tenant: str) -> Iterator[Quota]:
            yield limiter.quota
            if account is not None:
                yield account.quota
            cap = self._tenants.get(tenant) or self._tenants.get(ANY_TENANT)
            if cap is not None and tenant:
                yield cap

        budget = RetryBudget(
            clock=self._clock, store=self._store, store_lost=self._store_lost, scope=str(scope)
        )
        return Lane(str(scope), limiter, setting=pattern, quotas=quotas, budget=budget)

    def _account(self, scope: Scope) -> RateLimiter | None:
        """The limiter of the scope's account, if it has a quota of its own."""
        name = f"{scope.provider}/{scope.account}"
        pattern = best(self._account_quotas, (scope.provider, name))
        if pattern is not None and name not in self._accounts:
            quota = self._account_quotas[pattern].with_headroom(self._headroom)
            self._accounts[name] = RateLimiter(quota, name=name, weights=self._weights, **self._outermost)
        return self._accounts.get(name)

    def __repr__(self) -> str:
        return f"<ratekeeper.Keeper {self.name!r}: {len(self._lanes)} scopes>"


def _quota(value: object, field: str) -> Quota:
    if not isinstance(value, Quota):
        checks.fail(field, "a ratekeeper.Quota", value)
    return value


def _hooks(value: Hook | Iterable[Hook]) -> list[Hook]:
    hooks = list(value) if isinstance(value, Iterable) else [value]
    if hooks:
        from inspect import iscoroutinefunction  # noqa: PLC0415 (takes long to import)
    for hook in hooks:
        if isinstance(hook, type) or not any(hasattr(hook, name) for name in EVENTS):
            checks.fail("hooks", f"a ratekeeper.Hook, with methods such as {', '.join(EVENTS)}", hook)
        for name in EVENTS:
            if iscoroutinefunction(getattr(hook, name, None)):
                checks.fail("hooks", f"a plain method {name}(), since nobody awaits it: let it enqueue", hook)
    return hooks


def _by_name(value: Mapping[str, Quota] | None, field: str) -> dict[str, Quota]:
    entries = checks.table(value or {}, field)
    return {name: _quota(entry, f"{field}.{checks.quoted(name)}") for name, entry in entries.items()}


def _patterns(value: Mapping[str, Quota] | None, field: str) -> dict[str, Quota]:
    quotas = _by_name(value, field)
    for pattern in quotas:
        checks.quota_pattern(pattern, field)
    return quotas
