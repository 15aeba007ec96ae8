"""The fake provider's own arithmetic of quotas, in virtual time."""

from __future__ import annotations

import math
import random

import pytest

from ratekeeper.testing.book import QuotaBook
from ratekeeper.testing.limits import Limits, QuotaChange, Use
from ratekeeper.testing.meters import FixedWindow, SlidingWindow, TokenBucket, make_meter
from ratekeeper.testing.quotas import Account
from ratekeeper.testing.settings import Settings

ALGORITHMS = ["token_bucket", "fixed_window", "sliding_window"]


def account(limits, algorithm="token_bucket", now=0.0):
    made = Account(limits, limits.algorithm or algorithm)
    made.apply(limits, now)
    return made


def test_a_bucket_starts_full_and_refills_with_its_rate():
    bucket = TokenBucket(60, 60.0, 0.0)
    bucket.charge(60, 0.0)
    assert bucket.wait(3, 0.0) == pytest.approx(3.0)
    assert bucket.remaining(30.0) == pytest.approx(30)
    assert bucket.reset(30.0) == pytest.approx(30.0)
    assert bucket.remaining(1000.0) == 60


def test_a_bucket_with_a_small_burst_spaces_requests_evenly():
    bucket = TokenBucket(60, 60.0, 0.0, burst=1 / 60)
    assert bucket.wait(1, 0.0) == 0
    bucket.charge(1, 0.0)
    assert bucket.wait(1, 0.25) == pytest.approx(0.75)
    assert bucket.remaining(500.0) == pytest.approx(1)


def test_an_amount_above_the_burst_starts_on_a_full_bucket_and_leaves_a_debt():
    bucket = TokenBucket(100, 100.0, 0.0, burst=0.1)
    assert bucket.wait(50, 0.0) == 0
    bucket.charge(50, 0.0)
    assert bucket.remaining(0.0) == -40
    assert bucket.wait(1, 0.0) == pytest.approx(41.0)


def test_a_fixed_window_counts_from_zero_again_at_its_end():
    window = FixedWindow(10, 60.0, 5.0)
    window.charge(10, 6.0)
    assert window.wait(1, 35.0) == pytest.approx(30.0)
    assert window.reset(64.0) == pytest.approx(1.0)
    assert window.wait(10, 65.0) == 0
    window.charge(10, 200.0)
    assert window.wait(1, 200.0) == pytest.approx(45.0)  # windows stand at 5, 65, 125, 185


def test_a_sliding_window_forgets_each_charge_after_its_length():
    window = SlidingWindow(10, 60.0, 0.0)
    window.charge(6, 0.0)
    window.charge(4, 20.0)
    assert window.wait(1, 30.0) == pytest.approx(30.0)
    assert window.wait(7, 30.0) == pytest.approx(50.0)
    assert window.remaining(60.0) == 6
    assert window.reset(60.0) == pytest.approx(20.0)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_more_than_the_limit_never_fits_and_a_limit_of_zero_refuses_everything(algorithm):
    assert make_meter(algorithm, 10, 60.0, 1.0, 0.0).wait(11, 0.0) == math.inf
    assert make_meter(algorithm, 0, 60.0, 1.0, 0.0).wait(1, 0.0) == math.inf


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_after_the_wait_that_was_named_the_amount_fits(algorithm):
    """Whatever was charged before, and not a moment earlier."""
    rng = random.Random(7)
    for _ in range(300):
        meter, now = make_meter(algorithm, 50, 10.0, 1.0, 0.0), 0.0
        for _ in range(30):
            now += rng.uniform(0, 3)
            amount = rng.randint(1, 50)
            wait = meter.wait(amount, now)
            if wait > 1e-6:
                assert meter.wait(amount, now + wait * 0.99) > 0
            assert meter.wait(amount, now + wait + 1e-6) == 0
            now += wait + 1e-6
            meter.charge(amount, now)


@pytest.mark.parametrize(
    ("algorithm", "most"), [("token_bucket", 100), ("fixed_window", 100), ("sliding_window", 50)]
)
def test_no_window_ever_sees_more_than_the_algorithm_allows(algorithm, most):
    """A bucket: burst + rate x window. Fixed windows: twice the limit, across an edge. Sliding: the limit."""
    rng, log, now = random.Random(11), [], 0.0
    own = account(Limits(rpm=50, window=10.0), algorithm)
    for _ in range(5000):
        now += rng.expovariate(20)
        if own.admit({"requests": 1}, now) is None:
            log.append(now)
    counts = [sum(start <= at < start + 10.0 for at in log) for start in log[::50]]
    assert 40 < max(counts) <= most


def test_a_refusal_charges_no_dimension():
    own = account(Limits(rpm=10, tpm=100))
    assert own.admit({"requests": 1, "tokens": 90}, 0.0) is None
    refusal = own.admit({"requests": 1, "tokens": 20}, 0.0)
    assert (refusal.dimension, refusal.requested, refusal.used) == ("tokens", 20, 90)
    assert refusal.retry_after == pytest.approx(6.0)
    assert own.meters["requests"].remaining(0.0) == 9


def test_the_dimension_that_takes_longest_is_the_one_named():
    own = account(Limits(rpm=60, tpm=60))
    own.charge({"requests": 60, "tokens": 60}, 0.0)
    assert own.admit({"requests": 1, "tokens": 30}, 0.0).dimension == "tokens"
    assert own.admit({"requests": 1, "tokens": 61}, 0.0).retry_after is None


def test_charged_refusals_lengthen_the_wait_by_one_window_at_most():
    own = account(Limits(rpm=10, charge_refusals=True))
    for _ in range(100):
        own.admit({"requests": 1}, 0.0)
    assert own.meters["requests"].remaining(0.0) == -10
    assert own.admit({"requests": 1}, 0.0).retry_after == pytest.approx(66.0)


def test_request_slices_refuse_a_burst_that_the_minute_would_hold():
    own = account(Limits(rpm=600, request_slices=60), "fixed_window")
    admitted = [own.admit({"requests": 1}, 0.5) is None for _ in range(11)]
    assert admitted == [True] * 10 + [False]
    assert own.admit({"requests": 1}, 1.0) is None


def test_a_dimension_charged_as_produced_needs_something_left_and_may_go_into_debt():
    own = account(Limits(otpm=60))
    assert own.admit({"requests": 1, "output": 0}, 0.0) is None
    own.charge({"output": 90}, 0.0)
    assert own.admit({"requests": 1, "output": 0}, 0.0).retry_after == pytest.approx(31.0)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_cut_keeps_what_was_used_and_a_raise_gives_nothing_back(algorithm):
    meter = make_meter(algorithm, 100, 60.0, 1.0, 0.0)
    meter.charge(30, 0.0)
    meter.resize(50, 0.0)
    assert meter.remaining(0.0) == (
        50 if algorithm == "token_bucket" else 20
    )  # a bucket held 70, now at most 50
    meter.charge(50, 0.0)
    assert meter.wait(1, 0.0) > 0
    assert meter.remaining(0.0) <= 0


def test_changes_come_into_force_at_their_moment_for_accounts_old_and_new():
    settings = Settings(
        rpm=10, models={"big-*": Limits(rpm=100)}, changes=[QuotaChange(at=5.0, model="big-*", rpm=1)]
    )
    book = QuotaBook(settings, started=1000.0)
    old = book.account("key", "big-one", "token_bucket", 1004.9)
    assert old.limits.rpm == 100
    assert book.account("key", "small", "token_bucket", 1005.0).limits.rpm == 10
    assert old.limits.rpm == 1
    assert book.account("key", "big-two", "token_bucket", 1006.0).limits.rpm == 1


def test_every_key_and_model_has_an_account_of_its_own():
    book = QuotaBook(Settings(rpm=1), started=0.0)
    pairs = [("a", "m"), ("a", "n"), ("b", "m")]
    accounts = [book.account(key, model, "token_bucket", 0.0) for key, model in pairs]
    assert all(own.admit({"requests": 1}, 0.0) is None for own in accounts)
    assert book.account("a", "m", "token_bucket", 0.0).admit({"requests": 1}, 0.0) is not None


def test_a_days_requests_are_counted_beside_a_minutes_over_1440_windows():
    own = account(Limits(rpm=2, rpd=3, burst=0.5))
    day = own.meters["daily-requests"]
    assert (day.limit, day.window, day.remaining(0.0)) == (3, 86_400.0, 3)  # a day's bucket is always whole
    assert [own.admit({"requests": 1}, now) for now in (0.0, 30.0, 60.0)] == [None] * 3
    refusal = own.admit({"requests": 1}, 90.0)
    assert (refusal.dimension, refusal.limit) == ("daily-requests", 3)
    assert refusal.retry_after == pytest.approx(86_400 / 3 - 90)
    assert own.meters["requests"].remaining(90.0) == 1  # the refused request was charged nowhere


def test_a_project_and_its_organisation_must_both_have_room():
    own = account(Limits(tpm=100, project_tpm=60))
    assert own.admit({"requests": 1, "tokens": 50}, 0.0) is None
    refusal = own.admit({"requests": 1, "tokens": 20}, 0.0)
    assert (refusal.dimension, refusal.limit, refusal.used) == ("project-tokens", 60, 50)
    assert own.meters["tokens"].remaining(0.0) == 50
    own.charge({"tokens": -50}, 0.0)
    assert [own.meters[name].remaining(0.0) for name in ("tokens", "project-tokens")] == [100, 60]


def test_charged_refusals_count_against_the_day_too():
    own = account(Limits(rpm=1, rpd=10, charge_refusals=True))
    for _ in range(4):
        own.admit({"requests": 1}, 0.0)
    left = {name: meter.remaining(0.0) for name, meter in own.meters.items()}
    assert left == {"requests": -1, "daily-requests": 6}  # the minute stops counting at one window's debt


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_somebody_else_gets_what_is_left_at_most(algorithm):
    own = account(Limits(rpm=10, tpm=100), algorithm)
    own.take({"requests": 4, "tokens": 500}, 0.0)
    assert own.meters["requests"].remaining(0.0) == 6
    assert own.meters["tokens"].remaining(0.0) == 0
    own.charge({"tokens": 30}, 0.0)
    own.take({"requests": 0, "tokens": 5}, 0.0)
    assert own.meters["tokens"].remaining(0.0) == -30  # never more debt, and none forgiven


def test_what_somebody_else_used_is_missing_from_accounts_old_and_new():
    book = QuotaBook(Settings(rpm=60), started=0.0)
    old = book.account("key", "gpt-4o", "token_bucket", 0.0)
    spared = [
        book.account("key", "claude", "token_bucket", 0.0),
        book.account("no", "gpt-4o", "token_bucket", 0.0),
    ]
    book.use(Use(model="gpt-*", key="key", requests=30), 10.0)
    assert old.meters["requests"].remaining(10.0) == 30
    assert [own.meters["requests"].remaining(10.0) for own in spared] == [60, 60]
    new = book.account("key", "gpt-4o-mini", "token_bucket", 20.0)
    assert new.meters["requests"].remaining(20.0) == 40  # 10 s have refilled 10 since


def test_a_use_after_the_moment_of_a_cut_finds_the_limit_cut():
    book = QuotaBook(Settings(rpm=60, changes=[QuotaChange(at=5.0, rpm=20)]), started=0.0)
    own = book.account("key", "m", "fixed_window", 0.0)
    book.use(Use(requests=50), 6.0)
    assert (own.limits.rpm, own.meters["requests"].remaining(6.0)) == (20, 0)
