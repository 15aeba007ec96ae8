"""Retries seen and steered from outside: hooks, a shared budget, and the mode for tests."""

import logging
import threading
import time

import pytest
from retrying import Provider, ProviderError, note_of

import ratekeeper as rk
from ratekeeper.testing import retry_without_waiting


@pytest.fixture
def waits():
    with retry_without_waiting() as waits:
        yield waits


def test_the_hook_is_told_of_every_retry_before_it_waits(waits):
    events = []
    errors = [ProviderError(503), ProviderError(429)]
    provider = Provider(*errors)

    @rk.retry(on_retry=lambda event: events.append((event, list(waits))))
    def ask():
        return provider()

    ask()
    assert [event.attempt for event, _ in events] == [1, 2]
    assert [event.error for event, _ in events] == errors
    assert [event.wait for event, _ in events] == waits
    assert [len(before) for _, before in events] == [0, 1]
    assert waits[0] <= events[1][0].total < waits[0] + 30
    assert events[0][0].name.endswith(".ask")
    with pytest.raises(AttributeError):
        events[0][0].attempt = 5


def test_a_hook_that_raises_breaks_nothing_and_is_reported_once(waits, caplog):
    provider = Provider(ProviderError(503), times=3)
    with caplog.at_level(logging.ERROR, "ratekeeper"):
        assert rk.retry(on_retry=lambda event: 1 / 0)(provider)() == "answer"
    assert len(caplog.records) == 1


def test_a_shared_budget_bounds_what_an_outage_is_multiplied_by(waits, clock):
    budget = rk.RetryBudget(clock=clock)
    providers = [Provider(ProviderError(503), times=99) for _ in range(50)]
    for provider in providers:
        with pytest.raises(ProviderError) as caught:
            rk.retry(budget=budget, timeout=None)(provider)()
    assert sum(provider.calls for provider in providers) == 50 + 7 + 1, "what it holds, and one that is lent"
    assert not note_of(caught.value) or note_of(caught.value).endswith("the retry budget is empty")
    for _ in range(100):
        rk.retry(budget=budget)(Provider())()
    assert budget.balance == 100


def test_a_success_gives_back_what_its_last_retry_cost(waits, clock):
    budget = rk.RetryBudget(clock=clock)
    rk.retry(budget=budget)(Provider(ProviderError(503), ProviderError(429)))()
    assert budget.balance == 100 - 14


def test_the_test_mode_bounds_attempts_and_ends_with_its_block():
    provider = Provider(ProviderError(503), times=99)
    with retry_without_waiting(attempts=2) as outer:
        with retry_without_waiting(attempts=1) as inner, pytest.raises(ProviderError):
            rk.retry()(provider)()
        assert (provider.calls, inner) == (1, [])
        with pytest.raises(ProviderError):
            rk.retry()(provider)()
    assert (provider.calls, len(outer)) == (3, 1)
    begin = time.monotonic()
    with pytest.raises(ProviderError):
        rk.retry(attempts=2, on=lambda _: 0.05)(provider)()
    assert time.monotonic() - begin >= 0.049
    with pytest.raises(rk.ConfigError, match="attempts"), retry_without_waiting(attempts=0):
        pass


def test_the_test_mode_is_seen_by_threads(threads, waits):
    provider = Provider(ProviderError(503), times=3)
    threads(rk.retry(attempts=4)(provider)).join(30)
    assert (provider.calls, len(waits)) == (4, 3)


def test_many_threads_may_use_one_decorated_function(threads, waits):
    counts, lock = {}, threading.Lock()

    @rk.retry()
    def ask(name):
        with lock:
            counts[name] = counts.get(name, 0) + 1
        if counts[name] < 4:
            raise ProviderError(503)
        return name

    for thread in [threads(ask, number) for number in range(20)]:
        thread.join(30)
    assert counts == dict.fromkeys(range(20), 4)


def test_importing_ratekeeper_loads_nothing_of_it(script, finish):
    code, output, errors = finish(
        script(
            "import sys, ratekeeper, ratekeeper.retry\n"
            "assert callable(ratekeeper.retry), ratekeeper.retry\n"
            "print([name for name in ('asyncio', 'inspect', 'random', 'ratekeeper._core') if name in sys.modules])"
        )
    )
    assert (code, output.strip()) == (0, "[]"), errors
