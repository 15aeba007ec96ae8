"""The native core: limits, fair queue, leases, semaphore, throttle, retry policy, token estimate and ledger.

Times and durations are seconds; wherever a duration goes in, a `datetime.timedelta` will do as well. Amounts are whole
numbers. Bad values raise `ConfigError`, wrong types `TypeError`; both name the field and what was expected.
"""

import os
from collections.abc import Generator, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from types import TracebackType
from typing import Any, Literal, final

from typing_extensions import Self, disjoint_base

from .costs.spend import Outcome
from .providers.limits import LearnedLimit
from .providers.usage import Usage
from .status import DimensionName, Status, StorePolicy, StoreTurn

__all__ = [
    "Cost",
    "Entry",
    "Estimator",
    "Hold",
    "Lease",
    "Ledger",
    "Limit",
    "ManualClock",
    "Price",
    "PriceTable",
    "Purse",
    "Quota",
    "RateLimiter",
    "RetryBudget",
    "RetryPolicy",
    "Semaphore",
    "Throttle",
    "check_store",
    "end_by_sigterm",
    "forget_sigterm",
    "leave_stores",
    "pulse_stores",
    "reserve",
    "store_turns",
    "tell_of_sigterm",
]

def check_store(store: str, store_lost: str = "share") -> None:
    """Opens a store, and makes it if it is not there.

    Raises:
        ConfigError: The URL names none, or `store_lost` is no policy.
        StoreError: It cannot be used.
    """

def end_by_sigterm() -> None:
    """Has SIGTERM end this process now, or asks whoever has taken it over meanwhile."""

def forget_sigterm() -> None:
    """Has SIGTERM end this process again, after `tell_of_sigterm`."""

def leave_stores(*, ending: bool = False) -> None:
    """Gives back at once what this process holds in all stores.

    Args:
        ending: Nobody is to get anything afterwards: SIGTERM ends this process then, as of `end_by_sigterm`.
    """

def pulse_stores() -> None:
    """Says in all stores that this process is there, and tries those that are lost again."""

def store_turns() -> list[StoreTurn]:
    """Which stores were lost and came back since this was last asked."""

def tell_of_sigterm(pipe: int) -> None:
    """Has SIGTERM write ``b"t"`` into a pipe, if it would otherwise end this process; a second one ends it.

    Where the application has a handler that stays; what is given back after the signal is then told at once.

    Not in a child of a fork: it has to ask for itself.

    Args:
        pipe: The descriptor to write to, which must not block.
    """

@final
class Entry:
    """One attempt as it was booked."""

    @property
    def number(self) -> int:
        """Counted from 1 in its ledger."""
    @property
    def at(self) -> float:
        """Seconds since 1970."""
    @property
    def time(self) -> datetime:
        """The same, as a datetime in UTC."""
    @property
    def scope(self) -> str: ...
    @property
    def model(self) -> str: ...
    @property
    def price(self) -> str:
        """The id of the price; "" if there is none."""
    @property
    def tier(self) -> str:
        """The provider's service tier; "" for the usual one."""
    @property
    def tags(self) -> dict[str, str]: ...
    @property
    def usage(self) -> Usage | None:
        """None if nobody told."""
    @property
    def pico_usd(self) -> int | None:
        """Money in 1e-12 USD; None if no price is known."""
    @property
    def usd(self) -> Decimal | None:
        """The same in USD, exact."""
    @property
    def waited(self) -> float:
        """Seconds in the queue."""
    @property
    def duration(self) -> float:
        """Seconds from start to end."""
    @property
    def outcome(self) -> Outcome: ...
    @property
    def attempt(self) -> int:
        """Which try of its call, from 1."""
    @property
    def estimated(self) -> bool:
        """The usage is an estimate, not the provider's count."""

@disjoint_base
class Ledger:
    """Entries in a ring, totals of everything in bounded memory; `CostTracker` is what applications use.

    Args:
        entries: How many single entries are kept.
        cells: How many sums are kept.
        path: A SQLite file that every entry is written to.
        flush: Seconds that an entry waits for others to be written with it.
        clock: A ManualClock in tests; its origin is then 1970.
    """

    def __new__(
        cls,
        *,
        entries: int = 10_000,
        cells: int = 20_000,
        path: str | os.PathLike[str] | None = None,
        flush: float | timedelta = 0.1,
        clock: ManualClock | None = None,
    ) -> Self: ...
    def book(
        self,
        usage: Usage | None,
        pico_usd: int | None,
        *,
        price: str = "",
        scope: str = "",
        model: str = "",
        tags: Mapping[str, str] | None = None,
        waited: float = 0.0,
        duration: float = 0.0,
        outcome: Outcome = "answered",
        attempt: int = 1,
        estimated: bool = False,
        at: datetime | float | None = None,
    ) -> Entry:
        """Books one attempt whose cost is known, or known to be unknown.

        Args:
            usage: What it used; None if nobody told.
            pico_usd: What it cost, in 1e-12 USD; None if no price is known.
            price: The id of the price.
            scope: Whose quota.
            model: The model.
            tags: Whose call.
            waited: Seconds in the queue.
            duration: Seconds from start to end.
            outcome: How it ended.
            attempt: Which try of its call, from 1.
            estimated: The usage is an estimate.
            at: When, as an aware datetime or seconds since 1970; now if None.

        Raises:
            ConfigError: A number is negative or absurd; the message names it.
            TypeError: A value is of the wrong type.
        """
    def _tell_of_entries(self, wanted: bool) -> None: ...
    @staticmethod
    def _tell(_entry: Entry) -> None: ...
    @staticmethod
    def _tell_unpriced(_entry: Entry) -> None: ...
    def _now(self) -> float: ...
    def _entries(self, since: int | None, until: int | None, wanted: dict[str, str]) -> list[Entry]: ...
    def _groups(
        self, by: list[str], since: int | None, until: int | None, wanted: dict[str, str]
    ) -> list[tuple[tuple[str | None, ...], tuple[Any, ...]]]: ...
    def flush(self) -> bool:
        """Writes all that was booked to the file, and waits for it; False if it cannot be written now."""
    def close(self) -> None:
        """Writes all that was booked, and closes the file; a later entry opens it again."""
    def _health(self) -> dict[str, Any] | None: ...
    @staticmethod
    def _groups_of(
        path: str | os.PathLike[str],
        by: list[str],
        since: int | None,
        until: int | None,
        wanted: dict[str, str],
    ) -> list[tuple[tuple[str | None, ...], tuple[Any, ...]]]: ...
    @staticmethod
    def _entries_of(
        path: str | os.PathLike[str],
        since: int | None,
        until: int | None,
        wanted: dict[str, str],
        most: int,
    ) -> list[Entry]: ...
    def _size(self) -> dict[str, Any]: ...

@final
class Limit:
    """One amount per period of one dimension, such as 200,000 tokens a minute.

    Args:
        dimension: What is counted. ``tokens`` are those the provider counts at admission.
        amount: How much per period, from 1 to 10**12.
        per: ``"second"``, ``"minute"``, ``"hour"``, ``"day"``, seconds or a timedelta (1 ms to 31 days).
        burst: How much may go at once; all of ``amount`` unless given. Providers that enforce in slices
            (600 a minute as 10 a second) want it small.
    """

    def __new__(
        cls,
        dimension: DimensionName,
        amount: int,
        per: str | float | timedelta = "minute",
        *,
        burst: int | None = None,
    ) -> Self: ...
    @property
    def dimension(self) -> DimensionName: ...
    @property
    def amount(self) -> int: ...
    @property
    def per(self) -> float:
        """The period in seconds."""
    @property
    def burst(self) -> int: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...
    def __reduce__(self) -> tuple[Any, ...]: ...

@final
class Quota:
    """What a provider grants: any number of limits, all of which a call has to meet, and concurrency.

    The keywords are those of the providers' consoles: ``r`` requests, ``t`` tokens, ``it`` input and ``ot`` output tokens,
    per ``s``econd, ``m``inute, ``h``our or ``d``ay. A `Limit` says the same with a period or burst of its own.

    Args:
        limits: Limits of any dimension and period; one for each pair of them.
        concurrency: Calls in flight at once.
    """

    def __new__(
        cls,
        *limits: Limit,
        concurrency: int | None = None,
        rps: int | None = None,
        rpm: int | None = None,
        rph: int | None = None,
        rpd: int | None = None,
        tps: int | None = None,
        tpm: int | None = None,
        tph: int | None = None,
        tpd: int | None = None,
        itps: int | None = None,
        itpm: int | None = None,
        itph: int | None = None,
        itpd: int | None = None,
        otps: int | None = None,
        otpm: int | None = None,
        otph: int | None = None,
        otpd: int | None = None,
    ) -> Self: ...
    @property
    def limits(self) -> tuple[Limit, ...]: ...
    @property
    def concurrency(self) -> int | None: ...
    def with_headroom(self, seconds: float | timedelta) -> Quota:
        """The same limits, each burst smaller by what ``seconds`` of its rate give, but at least 1.

        Providers count a call when it arrives. With headroom, two calls that left in time are not refused because the network
        brought them closer together.
        """
    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...
    def __reduce__(self) -> tuple[Any, ...]: ...

@final
class RateLimiter:
    """All limits of a quota decided at once, with one fair queue for threads and event loops.

    Args:
        quota: What may be used.
        name: What errors and `status()` call it; ``outer/name`` inside another limiter. One of its kind in a tree.
        within: An outer limiter whose quota every call needs as well, both or none: an account's around its models'.
        tenants: Caps of single tenants, by name; ``"*"`` is that of everyone not named. Forgotten while idle.
        weights: Tenants' shares when there is not enough for all, from 0.01 to 1000; 1 unless given.
        lease_ttl: Seconds after which a lease that was neither ended nor renewed loses its permit. Not beside ``within``.
        careful: Starts with a few calls at once, and more with each answer, as long as nothing is known of the limits.
        clock: A clock for tests. Not beside ``within``.
        store: Where the state is, for all processes that name it: ``"sqlite:////var/lib/myapp/quota.db"``, a file in a
            folder that is there (with three slashes from the working directory of now), or ``"redis://host:6379/0"``.
            None is this process alone. Not beside ``within``.
        store_lost: What is done while the store cannot be reached, after it could be: ``"share"`` goes on with each limit
            divided by the last known number of processes, ``"open"`` grants everything, ``"closed"`` raises StoreError
            where a lease is asked for. Only beside ``store``.

    Raises:
        StoreError: The store cannot be used.
    """

    def __new__(
        cls,
        quota: Quota,
        *,
        name: str = "default",
        within: RateLimiter | None = None,
        tenants: Mapping[str, Quota] | None = None,
        weights: Mapping[str, float] | None = None,
        lease_ttl: float | timedelta = 600.0,
        careful: bool = False,
        clock: ManualClock | None = None,
        store: str | None = None,
        store_lost: StorePolicy = "share",
    ) -> Self: ...
    @property
    def name(self) -> str: ...
    @property
    def quota(self) -> Quota: ...
    def acquire(
        self,
        *,
        requests: int = 1,
        tokens: int | None = None,
        input_tokens: int = 0,
        output_tokens: int = 0,
        tenant: str | None = None,
        priority: int = 0,
        timeout: float | timedelta | None = None,
    ) -> Lease:
        """A lease that starts when all dimensions have room: with ``with``, ``async with``, ``await`` or `Lease.wait`.

        Args:
            requests: Calls it stands for.
            tokens: Tokens in all by the provider's rule of admission; ``input_tokens + output_tokens`` unless given.
            input_tokens: Tokens sent.
            output_tokens: Tokens expected back.
            tenant: Whose share it takes; None is nobody in particular.
                Tenants are served by weighted tokens, an output token weighing two.
            priority: From -10 to 10; each step is a head start of 10 seconds before the tenant's other calls.
            timeout: Seconds after which it would rather be refused; None waits for ever.

        Raises:
            QuotaExceededError: When it is entered and cannot start before the timeout; at once if that can be told.
            NeverFitsError: When it is entered and asks for more than the quota could ever hold.
            EventLoopBlockedError: When it is entered with ``with``, has to wait, and would stop the event loop.
        """
    def try_acquire(
        self,
        *,
        requests: int = 1,
        tokens: int | None = None,
        input_tokens: int = 0,
        output_tokens: int = 0,
        tenant: str | None = None,
    ) -> Lease | None:
        """A lease that is held already, or None if the call would have to wait. It passes nobody who waits for the same.

        Raises:
            NeverFitsError: If it asks for more than the quota could ever hold.
        """
    def set_quota(self, quota: Quota) -> None:
        """Another quota from now on. What is used stays used; who fits now starts."""
    def set_weight(self, tenant: str, weight: float) -> None:
        """A tenant's share relative to the others', which have 1."""
    def status(self) -> Status:
        """The limiter as it stands, ready for JSON."""

@final
class Lease:
    """A claim on quota: waits, is held, and is then settled, closed or released. It is used once."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...
    def __aenter__(self) -> Self: ...
    def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> Any: ...
    def __await__(self) -> Generator[Any, None, Self]: ...
    def __iter__(self) -> Self: ...
    def __next__(self) -> Any: ...
    def throw(self, kind: Any, value: Any = None, trace: Any = None, /) -> Any:
        """What a cancelled task does to what it awaits: gives the place or the grant to the next."""
    def wait(self) -> Self:
        """Blocks this thread until the lease is held, and returns it."""
    def settle(
        self,
        *,
        requests: int | None = None,
        tokens: int | None = None,
        input_tokens: int | None = None,
        output_tokens: int | None = None,
    ) -> None:
        """Replaces what was reserved by what was used, and frees the permit.

        Too much reserved is given back as if it had never been taken; too little becomes debt that the next calls pay off.

        Args:
            requests: None keeps what was reserved, here and below.
            tokens: Unless given, ``input_tokens + output_tokens`` where both are.
            input_tokens: Tokens sent.
            output_tokens: Tokens that came back.

        Raises:
            LeaseError: If it is not held, or over, or had expired.
        """
    def learn(self, limits: Sequence[LearnedLimit]) -> bool:
        """Takes over what the headers of the call's answer tell, while the lease is held; whether a limit has changed by it.

        A limit below the one that was set is in force from now on, and a larger one never. What remains is lowered at once to
        what is told, and raised as far as no call in flight can have used it.

        Args:
            limits: See `ratekeeper.providers`; those out of any sane range are ignored.

        Raises:
            LeaseError: If it is not held, or over, or had expired.
        """
    def fail(
        self,
        kind: str,
        *,
        dimension: str | None = None,
        per: float | None = None,
        retry_after: float | None = None,
        patience: float = 120.0,
        random: float = 0.0,
        requests: int | None = None,
        tokens: int | None = None,
        input_tokens: int | None = None,
        output_tokens: int | None = None,
    ) -> None:
        """Ends the lease of a call that failed, for everybody in its scope.

        After a ``rate_limit`` nobody starts before ``retry_after`` is over, and then no faster than the limit refills; where
        nobody has told the limit, it is cut to what was accepted. After an ``overload`` fewer calls run at once. Other kinds
        concern this call alone.

        Args:
            kind: As for `RetryPolicy.decide`.
            dimension: What ran out, if told; ``concurrency`` too.
            per: Seconds of its period, if told.
            retry_after: Seconds that the provider asks for. Ignored unless above zero and at most 31 days.
            patience: Seconds that callers wait for this provider. A longer pause refuses them at once, and lets one call a
                minute see whether it was meant.
            random: A random number, evenly spread from 0 to 1, by which a pause is longer: up to a fifth, at most 5 s.
            requests: What is kept of the reservation; None keeps it all, here and below.
            tokens: Tokens in all.
            input_tokens: Tokens sent.
            output_tokens: Tokens that came back.

        Raises:
            LeaseError: If it is not held, or over, or had expired.
        """
    def again(self, *, within: float | timedelta | None = None) -> Lease:
        """A lease for another attempt of a call that failed, with its place in the queue.

        It waits for what is left of the timeout: the attempts themselves do not count, only what was waited for them.

        Args:
            within: Seconds from now, where that is less.
        """
    def close(self) -> None:
        """Frees the permit and keeps what was reserved, as leaving ``with`` does; gives up a wait. Else does nothing."""
    def release(self) -> None:
        """Gives everything back: the call was never sent.

        Raises:
            LeaseError: If it is not held, or over, or had expired.
        """
    def renew(self) -> None:
        """Sets the expiry anew, as long calls and streams should.

        Raises:
            LeaseError: If it is not held, or over, or had expired.
        """
    @property
    def state(
        self,
    ) -> Literal[
        "new", "waiting", "held", "settled", "failed", "closed", "released", "expired", "refused", "cancelled"
    ]: ...
    @property
    def waited(self) -> float:
        """Seconds from asking until it was held."""
    @property
    def amounts(self) -> dict[str, int]:
        """What was reserved, by dimension."""

@final
class Semaphore:
    """Permits in fair order, for threads and event loops alike: two kickoffs at a time across an application.

    Args:
        permits: How many may be held at once.
        name: What errors call it.
        lease_ttl: Seconds after which a permit that was not given back is taken back.
        clock: A clock for tests.
    """

    def __new__(
        cls,
        permits: int,
        *,
        name: str = "semaphore",
        lease_ttl: float | timedelta = 3600.0,
        clock: ManualClock | None = None,
    ) -> Self: ...
    def acquire(
        self, *, tenant: str | None = None, priority: int = 0, timeout: float | timedelta | None = None
    ) -> Lease:
        """A permit that starts when one is free; see `RateLimiter.acquire`."""
    def try_acquire(self, *, tenant: str | None = None) -> Lease | None:
        """A permit that is held already, or None if none is free."""
    def resize(self, permits: int) -> None:
        """Another number of permits from now on. Those held stay held."""
    @property
    def permits(self) -> int: ...
    @property
    def in_use(self) -> int: ...
    @property
    def waiting(self) -> int: ...

@disjoint_base
class Throttle:
    """Plain keyed rates. `ratekeeper.Throttle` adds the decorator.

    Args:
        rate: ``"10/s"``, ``"100/m"``, ``"1000/h"``, ``"5/2.5s"``: so many per period, for each key apart.
        burst: How many may go at once; the whole amount unless given.
        clock: A clock for tests.
    """

    def __new__(cls, rate: str, *, burst: int | None = None, clock: ManualClock | None = None) -> Self: ...
    def acquire(self, key: str = "", *, timeout: float | timedelta | None = None) -> Lease:
        """A turn that starts when the key's rate has room, first come first served.

        Raises:
            QuotaExceededError: When it is entered and its turn would come after the timeout.
        """
    def try_acquire(self, key: str = "") -> bool:
        """Takes a turn if there is one now and nobody waits for it."""
    def __len__(self) -> int:
        """Keys used lately; idle ones are forgotten."""

@final
class RetryPolicy:
    """When to try again: how often, for how long, and how the waits grow. It decides; whoever asks it waits.

    Args:
        attempts: How many there are at most; None sets no bound.
        timeout: Seconds since the first attempt within which the last one starts; None sets no bound.
        wait_initial: Seconds of the first backoff, which doubles from attempt to attempt.
        wait_max: Seconds of the longest backoff.
        jitter: ``"full"`` (anything up to the backoff), ``"equal"`` (at least half of it) or ``"decorrelated"`` (from
            ``wait_initial`` to three times the last wait).
    """

    def __new__(
        cls,
        attempts: int | None = 10,
        timeout: float | timedelta | None = 120.0,
        wait_initial: float | timedelta = 1.0,
        wait_max: float | timedelta = 30.0,
        jitter: str = "full",
    ) -> Self: ...
    @property
    def attempts(self) -> int | None: ...
    @property
    def timeout(self) -> float | None:
        """Seconds."""
    @property
    def wait_initial(self) -> float:
        """Seconds."""
    @property
    def wait_max(self) -> float:
        """Seconds."""
    @property
    def jitter(self) -> Literal["full", "equal", "decorrelated"]: ...
    def decide(
        self,
        kind: str,
        *,
        attempt: int,
        elapsed: float,
        random: float,
        last_wait: float = 0.0,
        retry_after: float | None = None,
        wait: float | timedelta | None = None,
        budget: RetryBudget | None = None,
        queued: bool = False,
    ) -> float | Literal["kind", "attempts", "timeout", "retry_after", "budget"]:
        """Seconds to wait before the next attempt, or one word for why there is none.

        Args:
            kind: What failed: ``rate_limit``, ``overload``, ``server_error``, ``timeout``, ``connection``, or ``chosen`` by the
                application; ``exhausted``, ``too_large``, ``bad_request``, ``auth`` and ``unknown`` are not tried again.
            attempt: The attempt that failed, from 1.
            elapsed: Seconds since the first attempt started.
            random: A random number, evenly spread from 0 to 1.
            last_wait: Seconds waited before this attempt.
            retry_after: Seconds that the provider asks for: waited at least, and up to a fifth (at most 5 s) longer, so that
                not all come at once. Ignored unless above zero and at most 31 days. Longer than what is left of ``timeout``:
                no other attempt.
            wait: Just how long the application wants to wait.
            budget: Pays for the attempt, if there is one.
            queued: Whether the next attempt waits in a limiter's queue, which bounds what follows a rate limit already.
        """
    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...
    def __reduce__(self) -> tuple[Any, ...]: ...

@final
class RetryBudget:
    """What share of calls may be retries, for all who share it: an outage is not multiplied. Nobody waits for it.

    A retry costs 14, or 5 after a refusal by a rate limit. A success gives 1 back at the first attempt, else what the last
    retry cost. Empty, it lends one retry in 10 seconds. The shape is that of the AWS SDKs.

    Args:
        capacity: What it holds when full, as at the start; from 14. In a store it is 100.
        clock: A clock for tests.
        store: The URL of the store that keeps it for all processes; None for this one.
        store_lost: What is done while it cannot be reached.
        scope: Whose it is there.

    Raises:
        ConfigError: A number is out of range.
        StoreError: The store cannot be used; so do all its methods.
    """

    def __new__(
        cls,
        capacity: int = 100,
        *,
        clock: ManualClock | None = None,
        store: str | None = None,
        store_lost: StorePolicy = "share",
        scope: str = "",
    ) -> Self: ...
    @property
    def capacity(self) -> int: ...
    @property
    def balance(self) -> int:
        """What is left."""
    def try_take(self, kind: str, *, queued: bool = False) -> bool:
        """Pays for one retry; False, and nothing changes, if it cannot be afforded.

        Args:
            kind: What failed; see `RetryPolicy.decide`.
            queued: Whether the call goes back to a queue: then a retry after ``rate_limit`` costs nothing.
        """
    def succeeded(self, last_failure: str | None = None, *, queued: bool = False) -> None:
        """A call has succeeded, after a failure of that kind or at its first attempt."""

@final
class Estimator:
    """Tokens before the call, corrected per (model, caller) by what came back."""

    def __new__(cls) -> Self: ...
    def count(self, content: object, tools: object = None) -> int:
        """Tokens by fixed rules, uncorrected.

        Args:
            content: A str or bytes, or messages as OpenAI and Anthropic have them; images are counted by their size.
            tools: Tool definitions, if any.

        Raises:
            TypeError: For what is no content.
        """
    def input_tokens(self, counted: int, *, model: str, caller: str = "") -> int:
        """The best guess: ``counted``, corrected by what this model and caller had before."""
    def input_reservation(self, counted: int, *, model: str, caller: str = "") -> int:
        """What to reserve: the best guess and a margin that 19 of the last 20 calls would have needed.

        The margin is 0.15 at first and at most 0.5 of the guess.
        """
    def output_tokens(self, *, model: str, caller: str = "", max_tokens: int | None = None) -> int:
        """The 95th percentile of the last 64 outputs of this model and caller, at most ``max_tokens``.

        Before eight are known: 1024, at most ``max_tokens``.
        """
    def observe(
        self,
        *,
        model: str,
        caller: str = "",
        counted: int | None = None,
        input_tokens: int | None = None,
        output_tokens: int | None = None,
    ) -> None:
        """Learns from one answer.

        Args:
            model: The model.
            caller: Who called; an agent's name, say.
            counted: What `count` said before the call.
            input_tokens: What the provider counted.
            output_tokens: What came back.
        """
    def status(self) -> list[dict[str, Any]]:
        """Per model and caller: calls, factor, mean_error and error_p95 (relative, 0.05 is 5 %), margin, output_p95."""

@final
class ManualClock:
    """A clock for tests that moves only when told to; waiting calls start as it advances."""

    def __new__(cls) -> Self: ...
    def advance(self, seconds: float | timedelta) -> None:
        """Moves on, and starts every call whose time has come."""
    @property
    def now(self) -> float:
        """Seconds since it was made."""

class Purse:
    """One budget under one set of tags: what is spent, and what calls in flight may take. Thread-safe.

    Args:
        pico_usd: The most money, in pico-USD; None for any amount. Likewise the others.
        tokens: The most tokens.
        calls: The most calls.
        warn_at: The share of any of them from which a settlement says so, once a window.
        store: The URL of the store that keeps it for all processes; None for this one.
        store_lost: What is done while it cannot be reached.
        key: What it is about, the same in every process.

    Raises:
        ConfigError: The URL names no store.
        StoreError: The store cannot be used; so do its methods, and `reserve`.
    """

    def __new__(
        cls,
        *,
        pico_usd: int | None = None,
        tokens: int | None = None,
        calls: int | None = None,
        warn_at: float = 1.0,
        store: str | None = None,
        store_lost: StorePolicy = "share",
        key: str = "",
    ) -> Self: ...
    def set_ceiling(
        self, *, pico_usd: int | None = None, tokens: int | None = None, calls: int | None = None
    ) -> None:
        """Sets the ceilings, also below what is spent."""
    def begin(self, start: float, end: float) -> None:
        """Begins the window from `start` up to `end`, in seconds since the epoch; a later one with nothing spent.

        Raises:
            ConfigError: It ends before it starts.
        """
    def charge(self, pico_usd: int = 0, tokens: int = 0, calls: int = 0) -> None:
        """Adds what was taken without a reservation."""
    def forget_reserved(self) -> None:
        """Forgets what is reserved: in a forked child, the calls in flight are the parent's, and in a store stay so."""
    def refresh(self) -> None:
        """Looks how it stands in its store."""
    @property
    def is_shared(self) -> bool:
        """Whether a store keeps it."""
    @property
    def is_remote(self) -> bool:
        """Whether to ask for it may take longer than an event loop should stand still."""
    @property
    def skew(self) -> float:
        """Seconds by which the clock that its windows go by is ahead of this machine's."""
    def state(self) -> dict[str, Any]:
        """``limit``, ``spent`` and ``reserved`` as (pico-USD, tokens, calls), and ``window`` as (start, end) or None.

        Of one in a store, as it was last seen there.
        """

@final
class Hold:
    """What a call holds of its purses. One that is dropped keeps what it reserved."""

    def settle(self, pico_usd: int, tokens: int, calls: int) -> tuple[int, ...] | None:
        """Replaces the reservation by what was taken; the places of the purses that are now past their warning.

        Raises:
            LeaseError: It was settled before.
            StoreError: The store cannot be reached: nothing is settled, and it can be tried again.
        """
    @property
    def reserved(self) -> tuple[int, int, int]: ...
    @property
    def is_remote(self) -> bool:
        """Whether to settle it may take longer than an event loop should stand still."""

def reserve(
    purses: tuple[Purse, ...], pico_usd: int, tokens: int, calls: int, now: float
) -> Hold | tuple[int, Literal["turns", "waits", "exceeded"], str]:
    """Reserves in all purses or in none.

    Args:
        purses: Each once.
        pico_usd: The most money that the call can take. Likewise the others.
        tokens: The most tokens.
        calls: 1 for a call, 0 for a further attempt of one.
        now: Seconds since the epoch.

    Returns:
        The hold; or the place of a purse without room, why (its window is over; calls in flight hold what is missing;
        it is used up), and the measure.

    Raises:
        ConfigError: A purse is there twice, or two are in different stores.
        StoreError: The store cannot be reached; nothing is reserved.
    """

@disjoint_base
class PriceTable:
    """What models cost: the compiled-in prices, or another table, below rows of the users' own.

    `ratekeeper.prices.PriceBook` is what people use; the texts are described in `ratekeeper._price_rows`.
    """

    def __new__(
        cls,
        own: str = "",
        other: str | None = None,
        *,
        deployments: Mapping[str, str] | None = None,
        fallback: str | None = None,
    ) -> Self: ...
    @staticmethod
    def provider_of(provider: str) -> str:
        """How the compiled-in prices call a provider; a name that they do not know stays as it is."""
    def names(self) -> list[str]:
        """The names of all models, with their providers in front."""
    def find(self, model: str, provider: str = "", at: datetime | float | None = None) -> Price | None:
        """The price of a model at that time, or None if nobody knows it.

        Args:
            model: Its name as people write it: with a provider in front, dated, fine-tuned (``ft:``), Bedrock's ids and
                ARNs, Vertex's ``@`` dates, a deployment of the book's.
            provider: Whose it is, where the name does not tell.
            at: A datetime (UTC if it has no zone) or seconds since 1970; now unless given.
        """
    def cost(
        self, usage: Usage, model: str, provider: str = "", *, at: datetime | float | None = None
    ) -> Cost | None:
        """What a usage costs, or None where the model, or a kind of its tokens, has no price.

        Raises:
            ConfigError: Counts that no call can have: below 0, above 10**12, a part larger than its whole.
            TypeError: It is no `Usage`.
        """
    def worst(
        self,
        model: str,
        provider: str = "",
        input_tokens: int = 0,
        output_tokens: int = 0,
        *,
        tier: str | None = None,
        at: datetime | float | None = None,
    ) -> int | None:
        """Pico-USD that no usage of at most so many tokens can pass, or None for a model that nobody knows.

        All input at the dearest it can turn out to be (cache writes, audio, the steps that its size can reach), all output
        likewise, at the dearest hour and at any price that begins within a day.

        Args:
            model: As in `find`.
            provider: As in `find`.
            input_tokens: The most input.
            output_tokens: The most output.
            tier: The only service tier beside the standard one that it can be served in; any tier unless given.
            at: As in `find`.
        """
    def max_output(self, model: str, provider: str = "") -> int | None:
        """The most output tokens that one answer can have, or None where that is not known."""

@final
class Price:
    """What a model costs at one time."""

    @property
    def id(self) -> str:
        """The provider and the model's name there, such as ``openai/gpt-4o-mini``."""
    @property
    def source(self) -> str:
        """Where the price comes from."""
    @property
    def date(self) -> str:
        """The day of that source."""
    @property
    def since(self) -> str | None:
        """The day since which this price holds, where it has changed."""
    @property
    def hours(self) -> str | None:
        """The hours of the day (UTC) in which it holds, where it goes by them."""
    @property
    def is_fallback(self) -> bool:
        """Whether nobody knows the model, and this is what the book charges for those."""
    @property
    def max_output(self) -> int | None:
        """The most output tokens that one answer can have."""
    @property
    def tiers(self) -> list[str]:
        """The service tiers that have rates of their own."""
    @property
    def steps(self) -> list[int]:
        """Sizes of the input, in tokens, above which other rates hold for all of it."""
    def rates(self, tier: str = "", input_tokens: int = 0) -> dict[str, Decimal]:
        """Dollars a million tokens by kind; ``request`` is dollars a call."""

@final
class Cost:
    """What a usage costs."""

    @property
    def pico_usd(self) -> int:
        """Whole pico-USD, 10**-12 of a dollar: exact."""
    @property
    def usd(self) -> Decimal:
        """Dollars: exact."""
    @property
    def price(self) -> Price: ...
    @property
    def lines(self) -> list[tuple[str, int, Decimal, Decimal]]:
        """What it is made of: kind, tokens, dollars a million of them, dollars."""
