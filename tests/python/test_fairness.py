"""Who is next: tenants by weighted tokens, arrival inside a tenant, priority as a head start."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ratekeeper as rk


def crowd(stage, limiter, calls):
    """Lets calls of (name, amounts) line up behind a full limiter."""
    return [stage.ask(limiter, name, **amounts) for name, amounts in calls]


@pytest.fixture
def line(stage):
    """A limiter of one token a second, empty at first."""
    limiter = rk.RateLimiter(rk.Quota(rk.Limit("tokens", 1, 1)), clock=stage.clock)
    limiter.try_acquire(tokens=1)
    return limiter


def test_a_tenant_that_floods_shares_with_one_that_does_not(stage, line):
    crowd(stage, line, [("flood", {"tokens": 1, "tenant": "flood"})] * 20)
    crowd(stage, line, [("quiet", {"tokens": 1, "tenant": "quiet"})] * 5)
    for _ in range(10):
        stage.advance(1)
    assert Counter(stage.log) == {"flood": 5, "quiet": 5}


def test_calls_without_a_tenant_are_one_party_among_the_tenants(stage, line):
    crowd(stage, line, [("", {"tokens": 1})] * 20)
    crowd(stage, line, [("acme", {"tokens": 1, "tenant": "acme"})] * 5)
    for _ in range(10):
        stage.advance(1)
    assert Counter(stage.log) == {"": 5, "acme": 5}


@pytest.mark.parametrize("later", [False, True])
def test_a_weight_is_a_share(stage, later):
    weights = {"gold": 3.0, "half": 0.5}
    limiter = rk.RateLimiter(
        rk.Quota(rk.Limit("tokens", 1, 1)), weights=None if later else weights, clock=stage.clock
    )
    limiter.try_acquire(tokens=1)
    if later:
        for tenant, weight in weights.items():
            limiter.set_weight(tenant, weight)
    for tenant in ("half", "plain", "gold"):
        crowd(stage, limiter, [(tenant, {"tokens": 1, "tenant": tenant})] * 40)
    for _ in range(45):
        stage.advance(1)
    shares = Counter(stage.log)
    assert shares["gold"] == pytest.approx(30, abs=1)
    assert shares["plain"] == pytest.approx(10, abs=1)
    assert shares["half"] == pytest.approx(5, abs=1)


def test_tenants_share_tokens_and_not_calls(stage):
    limiter = rk.RateLimiter(rk.Quota(rk.Limit("tokens", 10, 1)), clock=stage.clock)
    limiter.try_acquire(tokens=10)
    crowd(stage, limiter, [("large", {"tokens": 10, "tenant": "large"})] * 10)
    crowd(stage, limiter, [("small", {"tokens": 1, "tenant": "small"})] * 100)
    for _ in range(10):
        stage.advance(1)
    started = Counter(stage.log)
    assert started["large"] * 10 == pytest.approx(started["small"], abs=10)


def test_what_was_really_used_counts_for_the_share(stage):
    limiter = rk.RateLimiter(rk.Quota(concurrency=1), clock=stage.clock)
    held = limiter.try_acquire()
    calls = {
        name: crowd(stage, limiter, [(name, {"tokens": 100, "tenant": name})] * 40)
        for name in ("thrifty", "greedy")
    }
    held.close()
    for _ in range(40):
        stage.step()
        name = stage.log[-1]
        task = calls[name][stage.log.count(name) - 1]
        task.result().settle(tokens=10 if name == "thrifty" else 90)
    shares = Counter(stage.log)
    assert shares["thrifty"] == pytest.approx(9 * shares["greedy"], rel=0.4)


def test_idling_earns_no_credit(stage, line):
    crowd(stage, line, [("busy", {"tokens": 1, "tenant": "busy"})] * 40)
    for _ in range(20):
        stage.advance(1)
    stage.log.clear()
    crowd(stage, line, [("back", {"tokens": 1, "tenant": "back"})] * 20)
    for _ in range(10):
        stage.advance(1)
    assert Counter(stage.log) == {"busy": 5, "back": 5}


def test_a_step_of_priority_is_a_head_start_of_ten_seconds(stage):
    limiter = rk.RateLimiter(rk.Quota(concurrency=1), clock=stage.clock)
    held = limiter.try_acquire()
    stage.ask(limiter, "long ago")
    stage.advance(9.9)
    stage.ask(limiter, "in time", priority=1)
    stage.advance(0.2)
    stage.ask(limiter, "too late", priority=1)
    stage.ask(limiter, "meek", priority=-1)
    stage.ask(limiter, "plain")
    held.close()  # each lease is dropped with its task, and the permit goes on
    for _ in range(10):
        stage.step()
    assert stage.log == ["in time", "long ago", "too late", "plain", "meek"]


def test_a_priority_is_no_way_past_other_tenants(stage, line):
    crowd(stage, line, [("meek", {"tokens": 1, "tenant": "meek"})] * 10)
    crowd(stage, line, [("pushy", {"tokens": 1, "tenant": "pushy", "priority": 10})] * 10)
    for _ in range(10):
        stage.advance(1)
    assert Counter(stage.log) == {"meek": 5, "pushy": 5}


def test_whoever_waits_is_served_however_urgent_the_others(stage, line):
    stage.ask(line, "old", tokens=1)
    for second in range(102):
        stage.ask(line, "urgent", tokens=1, priority=10)
        stage.advance(1)
        if second < 99:
            assert "old" not in stage.log
    assert "old" in stage.log


def test_a_new_head_that_fits_starts_at_once(stage):
    limiter = rk.RateLimiter(rk.Quota(tpm=60), clock=stage.clock)
    limiter.try_acquire(tokens=30)
    stage.ask(limiter, "large", tokens=60)
    stage.ask(limiter, "small", tokens=5, priority=1)
    assert stage.log == ["small"]


tenants = st.sampled_from(["", "a", "b", "c"])


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(
    calls=st.lists(st.tuples(tenants, st.integers(1, 20)), min_size=10, max_size=60),
    weights=st.fixed_dictionaries({name: st.sampled_from([0.5, 1.0, 2.0]) for name in ("a", "b", "c")}),
)
def test_backlogged_tenants_never_drift_apart_by_more_than_two_calls(calls, weights, make_stage):
    stage = make_stage()
    limiter = rk.RateLimiter(rk.Quota(rk.Limit("tokens", 20, 1)), weights=weights, clock=stage.clock)
    limiter.try_acquire(tokens=20)
    backlog, served = Counter(), Counter()
    for tenant, tokens in calls:
        backlog[tenant] += 1
        stage.ask(limiter, (tenant, tokens), tokens=tokens, tenant=tenant)
    while sum(backlog.values()):
        before = len(stage.log)
        stage.advance(1)
        assert len(stage.log) > before, "a second is enough for any of these calls"
        for tenant, tokens in stage.log[before:]:
            backlog[tenant] -= 1
            served[tenant] += tokens / weights.get(tenant, 1.0)
            waiting = [served[name] for name, count in backlog.items() if count > 0]
            assert not waiting or max(waiting) - min(waiting) <= 2 * 20 / min(weights.values())
    stage.strike()
