"""The native policy and budget as values: what they decide, and what they refuse."""

import math
import pickle
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ratekeeper as rk

RETRYABLE = ("rate_limit", "overload", "server_error", "timeout", "connection", "chosen")
HOPELESS = ("exhausted", "too_large", "bad_request", "auth", "unknown")
REASONS = {"kind", "attempts", "timeout", "retry_after", "budget"}


def decide(policy=None, kind="rate_limit", **known):
    return (policy or rk.RetryPolicy()).decide(kind, **{"attempt": 1, "elapsed": 0.0, "random": 0.5, **known})


def test_a_policy_tells_its_settings_and_is_a_value():
    policy = rk.RetryPolicy()
    settings = (policy.attempts, policy.timeout, policy.wait_initial, policy.wait_max, policy.jitter)
    assert settings == (10, 120.0, 1.0, 30.0, "full")
    other = rk.RetryPolicy(None, None, timedelta(seconds=2), 9, "equal")
    assert (other.attempts, other.timeout) == (None, None)
    for one in (policy, other):
        copy = pickle.loads(pickle.dumps(one))
        assert copy == one
        assert hash(copy) == hash(one)
        assert eval(repr(one), {"RetryPolicy": rk.RetryPolicy}) == one
    assert policy != other
    with pytest.raises(AttributeError):
        policy.attempts = 3


@pytest.mark.parametrize("kind", RETRYABLE)
def test_what_passes_is_tried_again(kind):
    assert decide(kind=kind) == 0.5


@pytest.mark.parametrize("kind", HOPELESS)
def test_what_stays_is_not(kind):
    assert decide(kind=kind, retry_after=1.0) == "kind"


def test_there_is_one_word_for_every_reason_to_give_up(clock):
    budget = rk.RetryBudget(14, clock=clock)
    assert [decide(kind="overload", budget=budget) for _ in range(3)] == [0.5, 0.5, "budget"]
    assert decide(attempt=10) == "attempts"
    assert decide(elapsed=120.0) == "timeout"
    assert decide(elapsed=100.0, retry_after=21.0) == "retry_after"


def test_a_wait_of_the_applications_own_is_kept_to_the_second():
    assert decide(wait=7.5, retry_after=60.0) == 7.5
    assert decide(wait=timedelta(minutes=1)) == 60.0
    with pytest.raises(rk.ConfigError, match="wait"):
        decide(wait=-1.0)


def test_a_kind_that_nobody_knows_is_refused():
    with pytest.raises(rk.ConfigError, match="rate_limit, overload") as caught:
        decide(kind="ratelimit")
    assert caught.value.field == "kind"
    for ask in (rk.RetryBudget().try_take, rk.RetryBudget().succeeded):
        with pytest.raises(rk.ConfigError, match="kind"):
            ask("")


numbers = st.one_of(st.floats(), st.floats(0, 200), st.integers(-10, 10**6).map(float))


known = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(RETRYABLE),
        "attempt": st.integers(0, 2**32 - 1),
        "elapsed": numbers,
        "random": numbers,
        "last_wait": numbers,
        "retry_after": st.none() | numbers,
    }
)


@given(known=known)
def test_whatever_it_is_told_it_answers_with_a_wait_that_fits_or_a_reason(known):
    answer = decide(**known)
    if isinstance(answer, str):
        assert answer in REASONS
        return
    assert math.isfinite(answer)
    assert 0 <= answer <= 120 - known["elapsed"] + 1e-6
    if 0 < (known["retry_after"] or 0) <= 31 * 86400:
        assert answer >= known["retry_after"] - 1e-6


@given(
    seconds=st.one_of(st.floats(), st.floats(-1, 10)),
    field=st.sampled_from(["timeout", "wait_initial", "wait_max"]),
)
def test_a_duration_is_kept_or_refused_by_name(seconds, field):
    others = {"wait_initial": 1e-9} if field == "wait_max" else {"wait_max": 31 * 86400.0}
    if 1e-6 <= seconds <= 31 * 86400:
        policy = rk.RetryPolicy(**{**others, field: seconds})
        assert getattr(policy, field) == pytest.approx(seconds, abs=1e-9)
    elif not 0 < seconds < 1e-6:
        with pytest.raises(rk.ConfigError) as caught:
            rk.RetryPolicy(**{**others, field: seconds})
        assert caught.value.field == field


def test_a_budget_tells_what_is_left(clock):
    budget = rk.RetryBudget(clock=clock)
    assert (budget.capacity, budget.balance, repr(budget)) == (100, 100, "<RetryBudget: 100 of 100>")
    assert budget.try_take("timeout")
    assert budget.try_take("rate_limit")
    assert budget.try_take("rate_limit", queued=True)
    assert budget.balance == 100 - 14 - 5
    budget.succeeded("rate_limit")
    budget.succeeded()
    assert budget.balance == 87


def test_an_empty_budget_lends_one_retry_in_ten_seconds(clock):
    budget = rk.RetryBudget(14, clock=clock)
    assert [budget.try_take("overload") for _ in range(3)] == [True, True, False]
    clock.advance(9.9)
    assert not budget.try_take("overload")
    clock.advance(0.2)
    assert [budget.try_take("overload") for _ in range(2)] == [True, False]


@pytest.mark.parametrize("capacity", [13, 0, -1, 2**40])
def test_a_budget_that_could_never_pay_is_refused(capacity):
    with pytest.raises(rk.ConfigError, match="capacity"):
        rk.RetryBudget(capacity)
