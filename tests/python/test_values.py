"""Quotas, limits and numbers from outside: what they mean, and what is said to whoever gets them wrong."""

import math
import pickle
from datetime import timedelta

import pytest

import ratekeeper as rk

MAX_AMOUNT = 1_000_000_000_000


def limits_of(quota):
    return {(limit.dimension, limit.per): (limit.amount, limit.burst) for limit in quota.limits}


def test_each_keyword_of_a_quota_is_a_dimension_and_a_period():
    prefixes = {"r": "requests", "t": "tokens", "it": "input_tokens", "ot": "output_tokens"}
    periods = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
    for prefix, dimension in prefixes.items():
        for letter, period in periods.items():
            assert limits_of(rk.Quota(**{f"{prefix}p{letter}": 7})) == {(dimension, period): (7, 7)}


def test_a_quota_holds_several_windows_of_one_dimension():
    quota = rk.Quota(rk.Limit("tokens", 5, 2.5), rpm=10, rpd=100, concurrency=3)
    assert limits_of(quota) == {
        ("tokens", 2.5): (5, 5),
        ("requests", 60.0): (10, 10),
        ("requests", 86400.0): (100, 100),
    }
    assert quota.concurrency == 3


@pytest.mark.parametrize(
    ("per", "seconds"),
    [("second", 1.0), ("day", 86400.0), (10, 10.0), (0.5, 0.5), (timedelta(minutes=5), 300.0)],
)
def test_a_period_is_a_word_a_number_of_seconds_or_a_timedelta(per, seconds):
    assert rk.Limit("requests", 1, per).per == seconds


def test_a_limit_counts_per_minute_and_bursts_its_whole_amount_unless_told_otherwise():
    limit = rk.Limit("requests", 30)
    assert (limit.per, limit.burst) == (60.0, 30)
    assert rk.Limit("requests", 30, burst=2).burst == 2


def test_headroom_takes_what_those_seconds_of_the_rate_give_off_the_burst():
    quota = rk.Quota(rk.Limit("tokens", 600, 60, burst=100), rk.Limit("requests", 60, burst=1), concurrency=2)
    smaller = quota.with_headroom(0.5)
    assert [limit.burst for limit in smaller.limits] == [95, 1]
    assert [limit.amount for limit in smaller.limits] == [600, 60]
    assert smaller.concurrency == 2


def test_equal_quotas_are_equal_hash_alike_and_survive_pickling():
    quota = rk.Quota(rk.Limit("tokens", 5, timedelta(seconds=2.5), burst=9), rpm=10, concurrency=3)
    copy = pickle.loads(pickle.dumps(quota))
    assert copy == quota
    assert hash(copy) == hash(quota)
    assert copy != rk.Quota(rpm=10, concurrency=3)
    [limit, _] = quota.limits
    assert pickle.loads(pickle.dumps(limit)) == limit


@pytest.mark.parametrize("field", ["rps", "rpm", "tpd", "itpm", "otph", "concurrency"])
@pytest.mark.parametrize("value", [0, -1, 2**33 * 1000, 2**62, 2**70, -(2**70)])
def test_a_quota_of_nothing_or_of_absurdly_much_names_its_field(field, value):
    with pytest.raises(rk.ConfigError, match=field) as caught:
        rk.Quota(**{field: value})
    assert caught.value.field == field
    assert str(value) in str(caught.value)


@pytest.mark.parametrize("field", ["rpm", "concurrency"])
@pytest.mark.parametrize("value", [True, 1.0, math.nan, "5", b"5", [5]])
def test_what_is_not_a_whole_number_is_no_quota(field, value):
    with pytest.raises((TypeError, rk.ConfigError), match=field):
        rk.Quota(**{field: value})


@pytest.mark.parametrize(
    ("arguments", "keywords", "field"),
    [
        (("nonsense", 1), {}, "dimension"),
        (("concurrency", 1), {}, "dimension"),
        (("tokens", 0), {}, "amount"),
        (("tokens", MAX_AMOUNT + 1), {}, "amount"),
        (("tokens", 1, "week"), {}, "per"),
        (("tokens", 1, 0), {}, "per"),
        (("tokens", 1, -1), {}, "per"),
        (("tokens", 1, math.nan), {}, "per"),
        (("tokens", 1, math.inf), {}, "per"),
        (("tokens", 1, 1e-9), {}, "per"),
        (("tokens", 1, timedelta(days=32)), {}, "per"),
        (("tokens", 1), {"burst": 0}, "burst"),
        (("tokens", 1), {"burst": -1}, "burst"),
    ],
)
def test_a_wrong_limit_names_its_field(arguments, keywords, field):
    with pytest.raises(rk.ConfigError) as caught:
        rk.Limit(*arguments, **keywords)
    assert caught.value.field == field


def test_two_limits_of_one_dimension_and_period_are_a_mistake():
    with pytest.raises(rk.ConfigError, match="one limit per dimension and period"):
        rk.Quota(rk.Limit("tokens", 1), tpm=5)
    with pytest.raises(TypeError):
        rk.Quota(5)


@pytest.mark.parametrize("field", ["requests", "tokens", "input_tokens", "output_tokens"])
@pytest.mark.parametrize("value", [-1, MAX_AMOUNT + 1, 2**63 - 1, 2**64, -(2**70)])
def test_an_amount_below_zero_or_absurdly_large_names_its_field(field, value):
    limiter = rk.RateLimiter(rk.Quota(concurrency=2))
    held = limiter.try_acquire()
    before = limiter.status()
    for ask in (limiter.acquire, limiter.try_acquire, held.settle):
        with pytest.raises(rk.ConfigError, match=field) as caught:
            ask(**{field: value})
        assert caught.value.field == field
    assert limiter.status() == before


@pytest.mark.parametrize("field", ["requests", "tokens", "input_tokens", "output_tokens"])
@pytest.mark.parametrize("value", [True, 1.5, math.nan, math.inf, "1", b"1", [1]])
def test_an_amount_that_is_no_whole_number_names_its_field(field, value):
    limiter = rk.RateLimiter(rk.Quota(concurrency=1))
    for ask in (limiter.acquire, limiter.try_acquire):
        with pytest.raises((TypeError, rk.ConfigError), match=field):
            ask(**{field: value})
    assert limiter.status()["in_flight"] == 0


@pytest.mark.parametrize("timeout", [-1, -0.001, math.nan, math.inf, 1e9, 10**400, timedelta(-1)])
def test_a_timeout_out_of_range_names_itself(timeout):
    with pytest.raises(rk.ConfigError, match="timeout") as caught:
        rk.RateLimiter(rk.Quota(rpm=1)).acquire(timeout=timeout)
    assert caught.value.field == "timeout"


@pytest.mark.parametrize("timeout", ["1", True, [1], b""])
def test_a_timeout_that_is_no_duration_names_itself(timeout):
    with pytest.raises((TypeError, rk.ConfigError), match="timeout"):
        rk.RateLimiter(rk.Quota(rpm=1)).acquire(timeout=timeout)


@pytest.mark.parametrize("priority", [11, -11, 2**40, 2**70])
def test_a_priority_out_of_range_is_told_the_range_and_itself(priority):
    with pytest.raises(rk.ConfigError, match=rf"priority: .*-10 to 10.*{priority}"):
        rk.RateLimiter(rk.Quota(rpm=1)).acquire(priority=priority)


def test_what_is_no_text_is_no_tenant():
    limiter = rk.RateLimiter(rk.Quota(rpm=1))
    for tenant in (5, b"acme"):
        with pytest.raises(TypeError, match="tenant"):
            limiter.acquire(tenant=tenant)
    with pytest.raises(ValueError, match="surrogates"):
        limiter.acquire(tenant="\ud800")


@pytest.mark.parametrize("tenant", ["Ünïcødé 客户 🦀", "a\0b", " ", "*", "x" * 10_000_000])
def test_any_text_is_a_tenant(tenant):
    limiter = rk.RateLimiter(rk.Quota(concurrency=1), tenants={"*": rk.Quota(rpm=1)})
    with limiter.acquire(tenant=tenant):
        assert limiter.status()["in_flight"] == 1
    assert limiter.try_acquire(tenant=tenant) is None
    assert limiter.try_acquire(tenant=f"{tenant}2") is not None


@pytest.mark.parametrize(
    ("keywords", "field"),
    [
        ({"weights": {"acme": 0}}, 'weights["acme"]'),
        ({"weights": {"acme": -1}}, 'weights["acme"]'),
        ({"weights": {"acme": math.nan}}, 'weights["acme"]'),
        ({"weights": {"acme": math.inf}}, 'weights["acme"]'),
        ({"lease_ttl": 0}, "lease_ttl"),
        ({"lease_ttl": -5}, "lease_ttl"),
        ({"lease_ttl": math.nan}, "lease_ttl"),
    ],
)
def test_a_wrong_setting_of_a_limiter_names_its_field(keywords, field):
    with pytest.raises(rk.ConfigError) as caught:
        rk.RateLimiter(rk.Quota(rpm=1), **keywords)
    assert caught.value.field == field


def test_a_refused_limiter_leaves_its_name_free():
    outer = rk.RateLimiter(rk.Quota(rpm=1), name="outer")
    with pytest.raises(rk.ConfigError):
        rk.RateLimiter(rk.Quota(rpm=1), name="inner", within=outer, weights={"acme": 0})
    assert rk.RateLimiter(rk.Quota(rpm=1), name="inner", within=outer).name == "outer/inner"
    with pytest.raises(rk.ConfigError, match="name") as caught:
        rk.RateLimiter(rk.Quota(rpm=1), name="inner", within=outer)
    assert caught.value.field == "name"


def test_limiters_nest_eight_deep_and_no_deeper():
    limiter = rk.RateLimiter(rk.Quota(rpm=5), name="0")
    for depth in range(1, 8):
        limiter = rk.RateLimiter(rk.Quota(rpm=5), name=str(depth), within=limiter)
    with limiter.acquire():
        assert limiter.status()["in_flight"] == 1
    with pytest.raises(rk.ConfigError, match="at most 8") as caught:
        rk.RateLimiter(rk.Quota(rpm=5), name="8", within=limiter)
    assert caught.value.field == "within"


@pytest.mark.parametrize("seconds", [-1, math.nan, math.inf])
def test_a_clock_does_not_move_back_or_to_nowhere(clock, seconds):
    with pytest.raises(rk.ConfigError, match="seconds"):
        clock.advance(seconds)
    clock.advance(timedelta(seconds=1.5))
    assert clock.now == 1.5
