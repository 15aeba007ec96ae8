"""One limiter in virtual time: when a call starts, when it is refused, and what `status()` tells meanwhile."""

import asyncio
import pickle
import types

import pytest

import ratekeeper as rk


def remaining(limiter):
    return [limit["remaining"] for limit in limiter.status()["limits"]]


def test_a_call_takes_from_every_dimension_at_once(clock):
    quota = rk.Quota(rpm=10, tpm=100, itpm=80, otpm=50, rpd=20, concurrency=2)
    limiter = rk.RateLimiter(quota, clock=clock)
    with limiter.acquire(requests=2, input_tokens=30, output_tokens=5) as lease:
        assert lease.amounts == {"requests": 2, "tokens": 35, "input_tokens": 30, "output_tokens": 5}
        left = {
            (limit["dimension"], limit["per"]): limit["remaining"] for limit in limiter.status()["limits"]
        }
        assert limiter.status()["in_flight"] == 1
    assert left == {
        ("requests", 60.0): 8,
        ("requests", 86400.0): 18,
        ("tokens", 60.0): 65,
        ("input_tokens", 60.0): 50,
        ("output_tokens", 60.0): 45,
    }
    assert limiter.status()["in_flight"] == 0


def test_tokens_given_outright_need_not_be_input_and_output_together(clock):
    limiter = rk.RateLimiter(rk.Quota(tpm=100), clock=clock)
    assert limiter.acquire(tokens=7, input_tokens=30, output_tokens=5).amounts["tokens"] == 7


def test_a_dimension_without_room_keeps_all_others_untouched(clock):
    limiter = rk.RateLimiter(rk.Quota(rpm=10, tpm=100), clock=clock)
    limiter.try_acquire(tokens=95)
    assert limiter.try_acquire(tokens=6) is None
    assert remaining(limiter) == [9, 5]


def test_the_same_lease_is_entered_in_four_ways(clock):
    limiter = rk.RateLimiter(rk.Quota(concurrency=1), clock=clock)
    states = []
    with limiter.acquire() as lease:
        states.append(lease.state)
    with limiter.acquire().wait() as lease:
        states.append(lease.state)
    with limiter.try_acquire() as lease:
        states.append(lease.state)

    async def main():
        async with limiter.acquire() as lease:
            states.append(lease.state)
        async with await limiter.acquire() as lease:
            states.append(lease.state)
        async with limiter.try_acquire() as lease:
            states.append(lease.state)
        return lease

    last = asyncio.run(main())
    assert states == ["held"] * 6
    assert last.state == "closed"
    assert limiter.status()["in_flight"] == 0


def test_waiting_calls_start_in_order_as_the_bucket_fills(stage):
    limiter = rk.RateLimiter(rk.Quota(rpm=60), clock=stage.clock)
    limiter.try_acquire(requests=60)
    tasks = [stage.ask(limiter, name) for name in range(5)]
    for started in range(5):
        assert stage.log == list(range(started))
        stage.advance(0.999999999)
        assert stage.log == list(range(started)), "not a nanosecond early"
        stage.advance(1e-9)
    assert [task.result().waited for task in tasks] == pytest.approx([1, 2, 3, 4, 5])


def test_a_small_call_does_not_pass_a_large_one_at_the_head(stage):
    limiter = rk.RateLimiter(rk.Quota(tpm=60), clock=stage.clock)
    limiter.try_acquire(tokens=55)
    stage.ask(limiter, "large", tokens=50)
    stage.ask(limiter, "small", tokens=1)
    assert limiter.try_acquire(tokens=1) is None
    stage.advance(44.9)
    assert stage.log == []
    stage.advance(0.1)
    assert stage.log == ["large"]
    stage.advance(1)
    assert stage.log == ["large", "small"]


def test_the_longest_of_several_windows_decides(stage):
    limiter = rk.RateLimiter(rk.Quota(rpm=60, rph=70), clock=stage.clock)
    limiter.try_acquire(requests=60)
    stage.advance(60)
    assert limiter.try_acquire(requests=11) is not None, "60 of 70 are used, 70/60 have come back"
    stage.ask(limiter, "next", requests=2)
    head = limiter.status()["head"]
    assert (head["dimension"], head["scope"]) == ("requests", "default")
    stage.advance(head["ready_in"] - 0.001)
    assert stage.log == []
    stage.advance(0.001)
    assert stage.log == ["next"]


def test_a_call_larger_than_the_burst_starts_on_a_full_bucket_and_leaves_a_debt(stage):
    limiter = rk.RateLimiter(rk.Quota(rk.Limit("tokens", 60, burst=10)), clock=stage.clock)
    limiter.try_acquire(tokens=1)
    large = stage.ask(limiter, "large", tokens=40)
    stage.ask(limiter, "next", tokens=1)
    assert not large.done()
    stage.advance(1)
    assert stage.log == ["large"]
    assert remaining(limiter) == [-30]
    stage.advance(30.9)
    assert stage.log == ["large"]
    stage.advance(0.1)
    assert stage.log == ["large", "next"]


def test_a_call_that_can_never_fit_is_told_at_once_whoever_waits(stage):
    limiter = rk.RateLimiter(rk.Quota(rk.Limit("tokens", 60, burst=10)), name="gpt", clock=stage.clock)
    for _ in range(2):
        before = limiter.status()
        for ask in (limiter.acquire(tokens=61).wait, lambda: limiter.try_acquire(tokens=61)):
            with pytest.raises(rk.NeverFitsError, match="61 tokens can never fit: gpt") as caught:
                ask()
            error = pickle.loads(pickle.dumps(caught.value))
            assert (error.scope, error.dimension, error.amount, error.limit) == ("gpt", "tokens", 61, 60)
            assert str(error) == str(caught.value)
        assert limiter.status() == before
        limiter.try_acquire(tokens=10)
        stage.ask(limiter, tokens=1)


def test_a_call_that_would_start_too_late_is_refused_at_once(clock):
    limiter = rk.RateLimiter(rk.Quota(rpm=60), name="gpt", clock=clock)
    limiter.try_acquire(requests=60)
    before = limiter.status()
    with pytest.raises(rk.QuotaExceededError, match="no room for requests in gpt") as caught:
        limiter.acquire(requests=5, timeout=4.999).wait()
    error = pickle.loads(pickle.dumps(caught.value))
    assert (error.scope, error.dimension) == ("gpt", "requests")
    assert error.retry_after == pytest.approx(5)
    assert limiter.status() == before


def test_those_who_wait_before_count_for_the_deadline(stage):
    limiter = rk.RateLimiter(rk.Quota(rpm=60), clock=stage.clock)
    limiter.try_acquire(requests=60)
    stage.ask(limiter, "first", requests=3)
    too_late = stage.ask(limiter, requests=2, timeout=4.999)
    in_time = stage.ask(limiter, "second", requests=2, timeout=5)
    assert isinstance(too_late.exception(), rk.QuotaExceededError)
    assert not in_time.done()
    stage.advance(5)
    assert stage.log == ["first", "second"]


def test_those_who_wait_behind_do_not_count_for_the_deadline(stage):
    limiter = rk.RateLimiter(rk.Quota(tpm=60), clock=stage.clock)
    limiter.try_acquire(tokens=60)
    stage.ask(limiter, "patient", tokens=50, priority=-10)
    stage.ask(limiter, "urgent", tokens=1, timeout=1)
    stage.advance(1)
    assert stage.log == ["urgent"]


def test_a_deadline_behind_a_permit_ends_the_wait_when_it_comes(stage):
    limiter = rk.RateLimiter(rk.Quota(concurrency=1), clock=stage.clock)
    held = limiter.try_acquire()
    stage.ask(limiter, "patient")
    hasty = stage.ask(limiter, "hasty", timeout=5)
    stage.advance(4.9)
    assert not hasty.done()
    stage.advance(0.2)
    assert hasty.exception().dimension == "concurrency"
    assert hasty.exception().retry_after is None
    held.close()
    stage.step()
    assert stage.log == ["patient"]


@pytest.mark.parametrize("quota", [rk.Quota(concurrency=1), rk.Quota(rpm=1)])
@pytest.mark.parametrize("others", [0, 2])
def test_a_timeout_of_zero_never_waits(stage, quota, others):
    limiter = rk.RateLimiter(quota, clock=stage.clock)
    held = limiter.acquire(timeout=0).wait()
    for _ in range(others):
        stage.ask(limiter)
    refused = stage.ask(limiter, timeout=0)
    assert isinstance(refused.exception(), rk.QuotaExceededError)
    assert limiter.status()["waiting"] == others
    held.close()


def test_inner_and_outer_scopes_are_taken_together_or_not_at_all(stage):
    account = rk.RateLimiter(rk.Quota(rpm=3), name="account", clock=stage.clock)
    mini = rk.RateLimiter(rk.Quota(rpm=2), name="mini", within=account)
    large = rk.RateLimiter(rk.Quota(tpm=100), name="large", within=account)
    assert [mini.try_acquire() is not None for _ in range(3)] == [True, True, False]
    assert remaining(account) == [1], "what the inner scope refused costs the outer one nothing"
    assert large.try_acquire(tokens=10) is not None
    assert large.try_acquire(tokens=10) is None
    assert remaining(large) == [90], "and the other way round"
    stage.ask(large, "large")
    head = large.status()["head"]
    assert (large.name, head["scope"], head["dimension"]) == ("account/large", "account", "requests")
    assert head["ready_in"] == pytest.approx(20)
    assert large.status()["within"]["name"] == "account"
    stage.advance(20)
    assert stage.log == ["large"]


def test_those_held_up_by_their_own_scope_do_not_hold_up_others(stage):
    account = rk.RateLimiter(rk.Quota(concurrency=2), name="account", clock=stage.clock)
    slow = rk.RateLimiter(rk.Quota(rpm=1), name="slow", within=account)
    fast = rk.RateLimiter(rk.Quota(rpm=100), name="fast", within=account)
    slow.try_acquire()
    stage.ask(slow, "slow")
    stage.ask(fast, "fast")
    assert stage.log == ["fast"]


def test_a_tenant_cap_binds_that_tenant_inside_the_rest(stage):
    limiter = rk.RateLimiter(
        rk.Quota(rpm=100),
        tenants=types.MappingProxyType({"acme": rk.Quota(rpm=2), "*": rk.Quota(rpm=1)}),
        clock=stage.clock,
    )
    granted = {
        tenant: sum(limiter.try_acquire(tenant=tenant) is not None for _ in range(4))
        for tenant in ("acme", "other", "third", "")
    }
    assert granted == {"acme": 2, "other": 1, "third": 1, "": 4}
    assert remaining(limiter) == [92]
    stage.ask(limiter, "acme", tenant="acme")
    stage.ask(limiter, "fresh", tenant="fresh")
    assert stage.log == ["fresh"], "a tenant at its cap holds up nobody else"
    assert limiter.status()["waiting_by_tenant"] == {"acme": 1}
    stage.advance(30)
    assert stage.log == ["fresh", "acme"]


def test_a_larger_quota_starts_those_who_wait(stage):
    limiter = rk.RateLimiter(rk.Quota(rpm=60, concurrency=1), clock=stage.clock)
    held = limiter.try_acquire(requests=60)
    tasks = [stage.ask(limiter, "first"), stage.ask(limiter, "second")]
    limiter.set_quota(rk.Quota(rpm=61, concurrency=2))
    stage.step()
    assert stage.log == ["first"]
    assert limiter.quota == rk.Quota(rpm=61, concurrency=2)
    limiter.set_quota(rk.Quota())
    stage.step()
    assert stage.log == ["first", "second"]
    held.settle()
    assert limiter.status()["in_flight"] == len(tasks)


def test_a_smaller_quota_keeps_what_is_used_and_tells_whom_it_no_longer_fits(stage):
    limiter = rk.RateLimiter(rk.Quota(tpm=100, concurrency=3), clock=stage.clock)
    leases = [limiter.try_acquire(tokens=30) for _ in range(3)]
    too_large = stage.ask(limiter, tokens=60)
    fits = stage.ask(limiter, "fits", tokens=10)
    limiter.set_quota(rk.Quota(tpm=50, concurrency=1))
    stage.step()
    assert isinstance(too_large.exception(), rk.NeverFitsError)
    assert remaining(limiter) == [-40]
    assert limiter.status()["in_flight"] == 3
    for lease in leases:
        lease.settle()
    stage.advance(59.9)
    assert not fits.done()
    stage.advance(0.1)
    assert stage.log == ["fits"]


def test_a_limit_that_comes_later_owes_nothing_to_earlier_calls(clock):
    limiter = rk.RateLimiter(rk.Quota(rpm=10), clock=clock)
    early = limiter.try_acquire(tokens=100)
    limiter.set_quota(rk.Quota(rpm=10, tpm=100))
    limiter.try_acquire(tokens=50)
    early.settle(tokens=0)
    assert remaining(limiter)[1] == 50, "a refund gives back what was charged here, and nothing was"


def test_status_tells_what_is_left_who_waits_and_why(stage):
    quota = rk.Quota(rk.Limit("tokens", 60, 60, burst=30), concurrency=2)
    limiter = rk.RateLimiter(quota, name="gpt", clock=stage.clock)
    held = limiter.try_acquire(tokens=30)
    stage.ask(limiter, tokens=15, tenant="acme")
    stage.ask(limiter, tokens=5, tenant="acme")
    stage.ask(limiter, tokens=5)
    status = limiter.status()
    [limit] = status.pop("limits")
    assert limit.pop("reset") == pytest.approx(30)
    assert limit == {
        "dimension": "tokens",
        "per": 60.0,
        "limit": 60,
        "burst": 30,
        "remaining": 0,
        "source": "configured",
        "configured": 60,
        "age": None,
    }
    head = status.pop("head")
    assert head.pop("ready_in") == pytest.approx(15)
    assert head == {"tenant": "acme", "scope": "gpt", "dimension": "tokens"}
    assert status == {
        "name": "gpt",
        "concurrency": 2,
        "adapted_concurrency": None,
        "paused_for": None,
        "in_flight": 1,
        "waiting": 3,
        "waiting_by_tenant": {"acme": 2, "": 1},
        "store": None,
        "within": None,
    }
    held.close()
    stage.advance(100)
    assert limiter.status()["head"] is None


def test_status_of_a_head_that_waits_for_a_permit_knows_no_time(stage):
    limiter = rk.RateLimiter(rk.Quota(rpm=100, concurrency=1), clock=stage.clock)
    held = limiter.try_acquire()
    stage.ask(limiter)
    assert limiter.status()["head"] == {
        "tenant": "",
        "scope": "default",
        "dimension": "concurrency",
        "ready_in": None,
    }
    held.close()


def test_a_limiter_without_limits_only_counts():
    limiter = rk.RateLimiter(rk.Quota())
    leases = [limiter.try_acquire(tokens=10**9) for _ in range(100)]
    assert limiter.status()["in_flight"] == 100
    del leases
    assert limiter.status()["in_flight"] == 0
