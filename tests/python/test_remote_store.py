"""What a store a round trip away must not make worse for who waits or holds, told with a real Redis server."""

import threading
import time

import pytest

import ratekeeper as rk

#: Far less than the half second after which who waits looks again by itself, and much for a busy machine.
SOON = 0.25


@pytest.fixture
def store(standing_server):
    return standing_server.url


@pytest.fixture
def waits(store):
    """Has a call of a limiter wait in a thread until the test is over."""
    threads = []

    def wait(limiter, **asked):
        def work():
            limiter.acquire(timeout=60, **asked).wait().close()

        threads.append(threading.Thread(target=work))
        threads[-1].start()
        while not limiter.status()["waiting"]:
            time.sleep(0.01)

    yield wait
    for thread in threads:
        thread.join()


def best_of(tries, measured):
    """The shortest of some times, since a busy machine makes single ones long."""
    taken = []
    for _ in range(tries):
        started = time.monotonic()
        measured()
        taken.append(time.monotonic() - started)
        time.sleep(0.1)
    return min(taken)


def test_a_permit_that_was_tried_for_stays_with_who_holds_it_however_long(store):
    mine, other = (rk.RateLimiter(rk.Quota(concurrency=1), name="tried", store=store) for _ in range(2))
    lease = mine.try_acquire()
    with pytest.raises(rk.QuotaExceededError):
        other.acquire(timeout=12).wait()
    lease.close()
    other.acquire(timeout=5).wait().close()


def test_a_short_timeout_behind_others_is_over_in_time(store, waits):
    limiter = rk.RateLimiter(rk.Quota(concurrency=1), name="late", store=store)
    with limiter.acquire():
        waits(limiter)

        def refused():
            with pytest.raises(rk.QuotaExceededError):
                limiter.acquire(timeout=0.02).wait()

        assert best_of(4, refused) < SOON


def test_a_tenant_with_room_starts_at_once_beside_one_that_waits_for_its_own_cap(store, waits):
    caps = {"capped": rk.Quota(concurrency=1)}
    limiter = rk.RateLimiter(rk.Quota(concurrency=100), name="tenants", store=store, tenants=caps)
    with limiter.acquire(tenant="capped"):
        waits(limiter, tenant="capped")
        assert best_of(4, lambda: limiter.acquire(tenant="free").wait().close()) < SOON


def test_caps_are_forgotten_only_when_nothing_is_to_be_told_of_them(store):
    limiter = rk.RateLimiter(
        rk.Quota(concurrency=1000), name="caps", store=store, tenants={"*": rk.Quota(concurrency=2)}
    )
    failures = []

    def work(start, name):
        try:
            for number in range(700):
                start(limiter, f"{name}-{number}").close()
        except BaseException as error:  # noqa: BLE001 (a panic too)
            failures.append(error)

    def waited(limiter, tenant):
        return limiter.acquire(tenant=tenant, timeout=30).wait()

    def tried(limiter, tenant):
        return limiter.try_acquire(tenant=tenant)

    starts = [(waited, "a"), (waited, "b"), (waited, "c"), (waited, "d"), (tried, "e")]
    threads = [threading.Thread(target=work, args=start, daemon=True) for start in starts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert failures == []


def test_calls_that_end_while_a_process_says_what_it_holds_give_back_their_own_permits_alone(store):
    mine, other = (rk.RateLimiter(rk.Quota(), name="adapting", store=store, careful=True) for _ in range(2))
    held = [mine.acquire(timeout=5).wait() for _ in range(2)]
    over = threading.Event()

    def work():
        while not over.is_set():
            mine.acquire(timeout=5).wait().settle()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    until, least = time.monotonic() + 9, len(held)
    while time.monotonic() < until:
        least = min(least, other.status()["in_flight"])
    over.set()
    for thread in threads:
        thread.join()
    assert least == len(held)
    for lease in held:
        lease.close()


def test_the_last_word_on_a_quota_counts_in_a_scope_that_adapts_too(store):
    first = rk.RateLimiter(rk.Quota(), name="word", store=store, careful=True)
    first.acquire().wait().settle()
    last = rk.RateLimiter(rk.Quota(tpm=60_000), name="word", store=store)
    last.acquire().wait().settle()
    for _ in range(3):
        first.acquire(timeout=5).wait().settle()
        assert first.status()["in_flight"] == 0
        assert [limit["limit"] for limit in last.status()["limits"]] == [60_000]
