"""One attempt of a call from its estimate to its settlement.

Owns the order: estimate, wait, send, learn, settle, report. May not import a framework, an SDK, gate or
keeper.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import cache
from random import random
from time import monotonic, time
from types import TracebackType
from typing import TYPE_CHECKING

from .budgets.booking import Booking
from .errors import ConfigError, LeaseError
from .providers.base import Amounts, Sizes
from .providers.characters import measure
from .tags import current

if TYPE_CHECKING:
    from .attempts import Attempts
    from .desk import Desk, Lane
    from .gate import Options
    from .hooks import EventName
    from .providers import Provider, Request, Usage
    from .providers.failure import Failure, Reached

_NOTHING = Amounts(0, 0, 0, 0)
#: What a failed call keeps of its reservation, by how far it came; of an unknown one, all.
_KEPT: dict[Reached, Amounts] = {"unsent": _NOTHING, "rejected": Amounts(1, 0, 0, 0)}
#: Seconds of the periods that failures name.
_SECONDS = {"second": 1.0, "minute": 60.0, "hour": 3600.0, "day": 86_400.0}
#: Seconds below which a wait is what a turn in the queue takes, and no news.
_NOTABLE_WAIT = 0.001


@cache
def _turnstile() -> Callable[[], Awaitable[None]]:
    """Not before there is a loop: asyncio takes longer to import than all of this package."""
    from .turnstile import enter  # noqa: PLC0415

    return enter


class Call:
    """The claim of one attempt: `with` or `async with`; entering waits for the lease.

    Leaving without `settle` keeps what was reserved, since the real usage is unknown. Leaving on an exception
    gives everything back if nothing was sent, and the tokens if the provider rejected the request before the
    model ran (see `providers.failure`); otherwise it keeps the reservation. What was refused for its quota is no
    reservation any more: the quota itself is then known to be empty. The permit is free afterwards in every case.

    Attributes:
        reserved: The amounts the call waits for or holds.
        tenant: Whose call it is.
        model: The model (or Azure deployment).
    """

    __slots__ = (
        "_attempts", "_booking", "_caller", "_counted", "_desk", "_is_passed_on", "_lane", "_lease", "_lost", "_open",
        "_patience", "_provider", "_request", "_sizes", "_tags", "model", "reserved", "tenant",
    )  # fmt: skip

    def __init__(
        self, desk: Desk, lane: Lane, provider: Provider, request: Request, options: Options
    ) -> None:
        tags = current()
        self._desk = desk
        self._lane = lane
        self._provider = provider
        self._request = request
        self._tags: Mapping[str, str] = tags
        self._open = self._lost = self._is_passed_on = False
        self._attempts: Attempts | None = None
        self._caller = request.caller or options.agent or tags.get("agent", "")
        self.model = request.model
        self.tenant = tags.get("tenant", "") if options.tenant is None else options.tenant
        self._sizes = self._estimate()
        self.reserved = amounts = provider.reserve(request, self._sizes)
        self._booking = Booking(
            desk.till, request, self._sizes, provider=provider.name, scope=lane.scope, tags=self._all_tags()
        )
        self._patience = self._booking.patience(options.timeout)
        self._lease = lane.limiter.acquire(
            input_tokens=amounts.input_tokens,
            output_tokens=amounts.output_tokens,
            tokens=amounts.tokens,
            tenant=self.tenant,
            priority=options.priority,
            timeout=self._patience,
        )

    @property
    def waited(self) -> float:
        """Seconds the call waited for its lease."""
        return self._lease.waited

    def __enter__(self) -> Call:
        self._arrived()
        try:
            self._booking.claim(self._patience)
            self._lease.wait()
            self._started()
            return self
        except BaseException as error:
            answer = self._not_started(error)
            if answer is None:
                raise
        # Outside of the handler, so that it keeps the context it came with.
        raise answer

    def belong_to(self, attempts: Attempts) -> None:
        """Makes this the claim of each of these attempts in turn."""
        self._attempts = attempts

    async def __aenter__(self) -> Call:
        self._arrived()
        try:
            await self._booking.aclaim(self._patience)
            await _turnstile()()
            await self._lease
            self._started()
            return self
        except BaseException as error:
            answer = self._not_started(error)
            if answer is None:
                raise
        raise answer

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        return self._open and self._end(error)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        return self._open and self._end(error)

    def settle(self, usage: Usage | None) -> None:
        """Replaces the reservation by what the provider counted, and lets the estimates learn from it.

        None (the provider gave no usage) keeps the reservation. A lease that has expired meanwhile is logged,
        not raised: the answer is there and belongs to the caller.

        Raises:
            LeaseError: The call was settled or left before.
        """
        self._finish()
        if self._attempts is not None:
            self._attempts.answered()
        usage = self._booking.answered(usage, self._lease.waited)
        if usage is None:
            self._settle_lease(self.reserved)
            self._tell("settled", self.reserved, self._lease.waited, None)
            return
        amounts = self._provider.settle(self._request, self._sizes, usage)
        self._settle_lease(amounts)
        self._desk.estimator.observe(
            model=self.model,
            caller=self._caller,
            counted=self._counted,
            input_tokens=self._provider.counted_input(usage),
            output_tokens=usage.output_tokens,
        )
        self._tell("settled", amounts, self._lease.waited, usage)

    def release(self) -> None:
        """Gives everything back, for an adapter that knows that nothing was or will be sent.

        Raises:
            LeaseError: The call was settled or left before.
        """
        self._finish()
        self._booking.freed()
        try:
            self._lease.release()
        except LeaseError:
            if self._lease.state != "expired":
                raise
            self._expired()
        self._tell("settled", _NOTHING, self._lease.waited, None)

    def keep_alive(self) -> None:
        """Sets the lease's expiry anew; for every chunk of a stream. Logs once if it came too late.

        What was passed on cannot be taken back, so no other attempt follows.
        """
        self._is_passed_on = True
        if self._lost or not self._open:
            return
        try:
            self._lease.renew()
        except LeaseError:
            self._expired()

    def learn(self, headers: object) -> None:
        """Reconciles the quota with what an answer's headers say; as soon as they are there, once an attempt.

        An error's headers are read from the error itself.

        Args:
            headers: A mapping of any kind, or pairs of name and value.
        """
        self._take_over(headers)

    def _take_over(self, headers: object) -> None:
        limits = self._provider.limits(headers, time())
        if not limits or not self._open:
            return
        try:
            has_changed = self._lease.learn(limits)
        except LeaseError:
            self._expired()
        else:
            if has_changed:
                self._desk.notices.limits_changed(self._lane)

    def _estimate(self) -> Sizes:
        """The request's sizes; our guess at the output is cut down to what the quota could ever hold."""
        request, estimator = self._request, self._desk.estimator
        counted = self._count()
        self._counted = counted
        if self._desk.count is None:
            sent = estimator.input_reservation(counted, model=request.model, caller=self._caller)
        else:
            sent = counted
        answer = estimator.output_tokens(
            model=request.model, caller=self._caller, max_tokens=request.output_ceiling
        )
        return Sizes(sent, self._fitting(sent, answer), measure(request.content, request.tools, estimator))

    def _count(self) -> int:
        """Uncorrected input tokens: by the user's own function if there is one."""
        count = self._desk.count
        if count is None:
            return self._desk.estimator.count(self._request.content, self._request.tools)
        tokens = count(self._request)
        if not isinstance(tokens, int) or isinstance(tokens, bool) or tokens < 0:
            raise ConfigError(
                f"count: expected a whole number of tokens from 0, the function returned {tokens!r}",
                field="count",
            )
        return tokens

    def _fitting(self, sent: int, answer: int) -> int:
        """`answer`, but not above any limit: a call must not be called impossible by our pessimism alone."""
        for quota in self._lane.quotas(self.tenant):
            for limit in quota.limits:
                largest = max(limit.amount, limit.burst)
                if limit.dimension == "output_tokens":
                    answer = min(answer, largest)
                elif limit.dimension == "tokens":
                    answer = min(answer, max(largest - sent, 0))
        return answer

    def _arrived(self) -> None:
        """Speaks up if nothing has started here for long: the queue that this call joins may be stuck."""
        lane, now = self._lane, monotonic()
        if lane.pending_since is None:
            lane.pending_since = now
        elif now - lane.pending_since > self._desk.notices.slow_wait:
            self._desk.notices.stuck(lane, now)

    def _all_tags(self) -> Mapping[str, str]:
        """The tags in force, with the caller and the tenant that the object was wrapped for."""
        known = {"agent": self._caller, "tenant": self.tenant}
        more = {name: value for name, value in known.items() if value and self._tags.get(name) != value}
        return {**self._tags, **more} if more else self._tags

    def _started(self) -> None:
        self._open = True
        self._booking.started()
        if self._attempts is not None:
            self._attempts.started()
        desk, lane, waited = self._desk, self._lane, self._lease.waited
        lane.pending_since = None
        if waited > _NOTABLE_WAIT:
            if waited >= desk.notices.slow_wait:
                desk.notices.waited(lane, waited, self.model, self.tenant)
            self._tell("waited", self.reserved, waited)
        self._tell("started", self.reserved, waited)

    def _not_started(self, error: BaseException) -> Exception | None:
        """Nothing stays behind of a call that was refused, gave up waiting, or was interrupted.

        Returns what the provider said of the attempt before, if that is the answer.
        """
        self._open = False
        self._booking.freed()
        if self._lease.state == "held":
            self._lease.release()
        self._tell("refused", self.reserved, error)
        return None if self._attempts is None else self._attempts.give_up(error)

    def _end(self, error: BaseException | None) -> bool:
        """Leaves without a settlement; whether the error stays inside, since another attempt follows.

        A stream broken off by its consumer (GeneratorExit) is no failure.
        """
        if isinstance(error, Exception):
            lease = self._lease
            try:
                return self._fail(error)
            finally:
                # An exception that cannot even be looked at leaves nothing behind either; one that was has ended it.
                lease.close()
        self._open = False
        self._booking.abandoned(self._lease.waited)
        self._lease.close()
        if error is None or isinstance(error, GeneratorExit):
            self._tell("settled", self.reserved, self._lease.waited, None)
        else:
            self._tell("failed", self.reserved, self._lease.waited, error, None)
        return False

    def _fail(self, error: Exception) -> bool:
        from .providers.failure import classify, headers_of  # noqa: PLC0415 (not before a call fails)

        self._take_over(headers_of(error))
        self._open = False
        self._lane.last_error = error, monotonic()
        failure = classify(error)
        is_refusal = failure.kind == "rate_limit"
        amounts = _NOTHING if is_refusal else _KEPT.get(failure.reached, self.reserved)
        self._fail_lease(failure, amounts)
        waited = self._lease.waited
        goes_on = self._tries_again(error, failure)
        took_nothing = failure.reached in _KEPT
        self._booking.failed(waited, is_refusal=is_refusal, took_nothing=took_nothing, ends=not goes_on)
        self._tell("failed", amounts, waited, error, failure)
        if is_refusal:
            self._desk.notices.paused(self._lane, failure.reason)
        return goes_on

    def _tries_again(self, error: Exception, failure: Failure) -> bool:
        attempts = self._attempts
        if attempts is None or self._is_passed_on or not attempts.goes_on(error, failure):
            return False
        self._lease = self._lease.again(within=attempts.left)
        self._lost = False
        return True

    def _fail_lease(self, failure: Failure, kept: Amounts) -> None:
        try:
            self._lease.fail(
                failure.kind,
                dimension=failure.dimension,
                per=_SECONDS.get(failure.per or ""),
                retry_after=failure.retry_after,
                patience=self._attempts.patience if self._attempts is not None else 0.0,
                random=random(),
                requests=kept.requests,
                tokens=kept.tokens,
                input_tokens=kept.input_tokens,
                output_tokens=kept.output_tokens,
            )
        except LeaseError:
            self._expired()

    def _finish(self) -> None:
        if not self._open:
            raise LeaseError(
                "this call is over: it was settled or left before; settle once, inside its `with`"
            )
        self._open = False

    def _settle_lease(self, amounts: Amounts) -> None:
        try:
            self._lease.settle(
                requests=amounts.requests,
                tokens=amounts.tokens,
                input_tokens=amounts.input_tokens,
                output_tokens=amounts.output_tokens,
            )
        except LeaseError:
            if self._lease.state != "expired":
                raise
            self._expired()

    def _expired(self) -> None:
        if not self._lost:
            self._lost = True
            self._desk.notices.expired(self._lane.scope, self.model)

    def _tell(self, name: EventName, amounts: Amounts, *more: object) -> None:
        """Tells the hooks; `more` are the fields that this kind of event has beyond the common ones."""
        hooks = self._desk.hooks
        if getattr(hooks, name):
            from .events import KINDS  # noqa: PLC0415 (only where there are hooks)

            who = self._lane.scope, self.tenant, self.model, self._caller, self._tags
            hooks.emit(name, KINDS[name](*who, amounts, *more))
