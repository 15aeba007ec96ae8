"""What holds whatever is asked, settled, cancelled or expired: a limiter against a plain model, in virtual time.

The model knows only what became of each call at last, and replays it: a limiter that settles right cannot be told from
one that had known the real usage from the start.
"""

import asyncio
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

import ratekeeper as rk

LIMITS = [
    rk.Limit("requests", 10, 10, burst=4),
    rk.Limit("tokens", 60, 6, burst=30),
    rk.Limit("tokens", 200, 60),
    rk.Limit("output_tokens", 50, 10, burst=20),
]
CONCURRENCY = 3
TTL = 30.0
MS = Fraction(1, 1000)

amounts = st.fixed_dictionaries(
    {"requests": st.integers(0, 3), "tokens": st.integers(0, 60), "output_tokens": st.integers(0, 50)}
)


def replay(limit, charges, until):
    """The backlog of a bucket at a time, in units of the dimension, if these charges were all there was.

    Charges at `until` itself do not count: that is what a call starting there meets.
    """
    rate = Fraction(limit.amount) / Fraction(limit.per)
    backlog, last = Fraction(0), Fraction(0)
    for at, used in sorted(charges):
        if at >= until:
            break
        backlog = max(Fraction(0), backlog - rate * (at - last)) + used
        last = at
    return max(Fraction(0), backlog - rate * (until - last))


class Keeping(RuleBasedStateMachine):
    """Any order of calls, ends and pauses on one limiter, first come first served."""

    make_stage = None

    def __init__(self):
        super().__init__()
        self.stage = type(self).make_stage()
        quota = rk.Quota(*LIMITS, concurrency=CONCURRENCY)
        self.limiter = rk.RateLimiter(quota, clock=self.stage.clock, lease_ttl=TTL)
        self.now = Fraction(0)
        self.waiting = []  # (task, amounts), first come first
        self.held = []  # [lease, amounts, since when]
        self.charges = {limit: [] for limit in LIMITS}  # (when, how much), as settled
        self.reported = []

    def book(self, at, used):
        for limit in LIMITS:
            if used[limit.dimension]:
                self.charges[limit].append((at, used[limit.dimension]))

    def collect(self):
        """Notes who has started or been refused, which is in the order of arrival."""
        self.stage.step()
        for number, (task, asked) in enumerate(list(self.waiting)):
            if not task.done():
                assert not any(
                    later.done() and later.exception() is None for later, _ in self.waiting[number + 1 :]
                ), "somebody was passed"
                continue
            if task.exception() is None:
                self.begin(task.result(), asked)
            else:
                assert isinstance(task.exception(), rk.QuotaExceededError)
        self.waiting = [(task, asked) for task, asked in self.waiting if not task.done()]

    def begin(self, lease, asked):
        # Since when it is held: the lease knows how long it has waited, the machine that time has moved in whole steps.
        self.held.append([lease, asked, self.now])
        for limit in LIMITS:
            asked_here = asked[limit.dimension]
            if asked_here:
                already = [(at, used) for at, used in self.charges[limit] if at <= self.now]
                met = replay(limit, already, self.now) + sum(used for at, used in already if at == self.now)
                assert met + min(asked_here, limit.burst) <= limit.burst, "more than burst + rate x time"
        self.book(self.now, asked)

    def unbook(self, at, asked):
        for limit in LIMITS:
            if asked[limit.dimension]:
                self.charges[limit].remove((at, asked[limit.dimension]))

    @rule(asked=amounts, timeout=st.sampled_from([None, None, None, 0, 1.5, 10]))
    def acquire(self, asked, timeout):
        before = self.limiter.status()
        task = self.stage.ask(self.limiter, **asked, timeout=timeout)
        if task.done() and task.exception() is not None:
            assert isinstance(task.exception(), rk.QuotaExceededError)
            after = self.limiter.status()
            assert (after["limits"], after["waiting"]) == (before["limits"], before["waiting"])
        else:
            self.waiting.append((task, asked))
        self.collect()

    @rule(asked=amounts)
    def try_acquire(self, asked):
        before = self.limiter.status()
        lease = self.limiter.try_acquire(**asked)
        if lease is None:
            after = self.limiter.status()
            assert (after["limits"], after["waiting"]) == (before["limits"], before["waiting"])
        else:
            assert not self.waiting, "it passed those who wait"
            self.begin(lease, asked)

    @precondition(lambda self: self.held)
    @rule(data=st.data(), used=amounts, how=st.sampled_from(["settle", "settle", "close", "release"]))
    def end(self, data, used, how):
        lease, asked, since = self.held.pop(data.draw(st.integers(0, len(self.held) - 1)))
        real = {"settle": used, "close": asked, "release": dict.fromkeys(asked, 0)}[how]
        try:
            getattr(lease, how)(**(used if how == "settle" else {}))
        except rk.LeaseError:
            assert self.now - since >= TTL
            return
        if lease.state != "expired":
            self.unbook(since, asked)
            self.book(since, {name: min(asked[name], real[name]) for name in asked})
            self.book(self.now, {name: max(0, real[name] - asked[name]) for name in asked})
        self.collect()

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def cancel(self, data):
        task, _ = self.waiting.pop(data.draw(st.integers(0, len(self.waiting) - 1)))
        self.stage.cancel(task)
        assert task.cancelled()
        self.collect()

    @rule(milliseconds=st.sampled_from([1, 10, 100, 250, 999, 1000, 3000, 31_000]))
    def advance(self, milliseconds):
        # By small steps, so that the machine knows when each call started.
        while milliseconds:
            step = min(milliseconds, 250)
            milliseconds -= step
            self.now += step * MS
            self.stage.advance(step / 1000)
            self.collect()

    @invariant()
    def nothing_that_was_given_back_has_become_more(self):
        for limit, status in zip(LIMITS, self.limiter.status()["limits"], strict=True):
            past = self.charges[limit]
            backlog = replay(limit, past, self.now) + sum(used for at, used in past if at == self.now)
            assert Fraction(status["remaining"]) <= limit.burst - backlog

    @invariant()
    def the_head_waits_for_something(self):
        if not self.waiting:
            assert self.limiter.status()["head"] is None
            return
        _, asked = self.waiting[0]
        status = self.limiter.status()
        lacks = [
            limit.dimension
            for limit, state in zip(LIMITS, status["limits"], strict=True)
            if asked[limit.dimension] and state["remaining"] < min(asked[limit.dimension], limit.burst)
        ]
        if status["in_flight"] >= CONCURRENCY:
            lacks.append("concurrency")
        assert status["head"]["dimension"] in lacks, "it is idle though the head fits"

    @invariant()
    def permits_are_counted(self):
        status = self.limiter.status()
        assert status["in_flight"] <= CONCURRENCY
        assert status["waiting"] == len(self.waiting)

    def teardown(self):
        """In the end everybody is served, and time brings everything back."""
        for _ in range(2000):
            for lease, _, _ in self.held:
                lease.close()
            self.held.clear()
            self.collect()
            if not self.waiting and not self.held:
                break
            self.advance(1000)
        assert not self.waiting
        self.stage.advance(3600)
        status = self.limiter.status()
        assert [limit["remaining"] for limit in status["limits"]] == [limit.burst for limit in LIMITS]
        assert (status["in_flight"], status["waiting"], status["head"]) == (0, 0, None)
        self.stage.strike()


def test_a_limiter_keeps_its_quota_whatever_happens(make_stage):
    class Machine(Keeping):
        pass

    Machine.make_stage = staticmethod(make_stage)
    case = Machine.TestCase
    case.settings = settings(
        max_examples=60, stateful_step_count=30, deadline=None, derandomize=True, database=None
    )
    case().runTest()


calls = st.lists(
    st.tuples(st.integers(0, 500), st.integers(1, 40), st.integers(0, 60), st.sampled_from(["", "a", "b"])),
    min_size=1,
    max_size=40,
)


def play(stage, script):
    """Runs (pause, tokens, really used, tenant) calls; gives who started when, and what is left."""
    limiter = rk.RateLimiter(rk.Quota(rk.Limit("tokens", 40, 2), concurrency=2), clock=stage.clock)
    history = []

    async def call(number, tokens, used, tenant):
        async with limiter.acquire(tokens=tokens, tenant=tenant) as lease:
            history.append((number, stage.clock.now, lease.waited))
            await asyncio.sleep(0)
            lease.settle(tokens=used)

    for number, (pause, *rest) in enumerate(script):
        stage.loop.create_task(call(number, *rest))
        stage.advance(pause / 1000)
    for _ in range(1000):
        if len(history) == len(script):
            break
        stage.advance(0.5)
    stage.step()
    end = (history, limiter.status())
    stage.strike()
    return end


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(script=calls)
def test_everybody_is_served_and_the_same_script_runs_the_same_way_twice(script, make_stage):
    history, status = play(make_stage(), script)
    assert sorted(number for number, _, _ in history) == list(range(len(script)))
    assert (status["in_flight"], status["waiting"]) == (0, 0)
    assert play(make_stage(), script) == (history, status)


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(
    steps=st.lists(
        st.tuples(st.integers(0, 3000), st.integers(0, 30), st.integers(0, 60)), min_size=1, max_size=7
    )
)
def test_refunds_are_exact_when_leases_are_few(steps):
    """After all is settled a bucket stands as if the real usage had been charged from the start."""
    clock = rk.ManualClock()
    limit = rk.Limit("tokens", 10, 1, burst=1000)
    limiter = rk.RateLimiter(rk.Quota(limit), clock=clock)
    now, charges, leases = Fraction(0), [], []
    for pause, tokens, used in steps:
        leases.append((now, limiter.try_acquire(tokens=tokens), tokens, used))
        clock.advance(pause / 1000)
        now += pause * MS
    for at, lease, tokens, used in leases:
        lease.settle(tokens=min(used, tokens))
        charges.append((at, min(used, tokens)))
    left = limit.burst - replay(limit, charges, now) - sum(used for at, used in charges if at == now)
    assert limiter.status()["limits"][0]["remaining"] == left.__floor__()


@pytest.mark.parametrize("depth", [2, 3])
def test_no_scope_of_a_tree_is_ever_charged_without_all_others(clock, depth):
    limiter, scopes = None, []
    for level in range(depth):
        within = {"within": limiter} if limiter else {"clock": clock}
        limiter = rk.RateLimiter(
            rk.Quota(tpm=100 + 50 * ((level * 7) % 3), concurrency=4), name=str(level), **within
        )
        scopes.append(limiter)
    leases = [limiter.try_acquire(tokens=30) for _ in range(6)]
    granted = [lease for lease in leases if lease]
    for scope in scopes:
        [limit] = scope.status()["limits"]
        assert limit["remaining"] == limit["limit"] - 30 * len(granted)
        assert scope.status()["in_flight"] == len(granted)
    for lease in granted:
        lease.release()
    assert all(scope.status()["limits"][0]["reset"] == 0 for scope in scopes)
