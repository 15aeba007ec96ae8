"""The native throttle: a rate for each key, turns in order, and no memory of idle keys."""

import asyncio
import gc
import threading
import time

import pytest

from ratekeeper import ConfigError, EventLoopBlockedError, QuotaExceededError
from ratekeeper._core import Throttle


@pytest.mark.parametrize(
    ("rate", "period"),
    [
        ("4/s", 1),
        ("4/second", 1),
        ("4/m", 60),
        ("4/ min", 60),
        ("4 / hour", 3600),
        ("4/d", 86400),
        ("4/2.5s", 2.5),
    ],
)
def test_a_rate_is_an_amount_per_period(clock, rate, period):
    throttle = Throttle(rate, clock=clock)
    assert [throttle.try_acquire() for _ in range(5)] == [True] * 4 + [False]
    clock.advance(period / 4 * 0.999)
    assert not throttle.try_acquire()
    clock.advance(period / 4 * 0.002)
    assert throttle.try_acquire()
    assert not throttle.try_acquire()


def test_a_burst_is_what_may_go_at_once(clock):
    throttle = Throttle("4/s", burst=1, clock=clock)
    assert [throttle.try_acquire(), throttle.try_acquire()] == [True, False]
    clock.advance(60)
    assert [throttle.try_acquire(), throttle.try_acquire()] == [True, False]


def test_each_key_has_the_rate_for_itself(clock):
    throttle = Throttle("1/s", clock=clock)
    assert [throttle.try_acquire(key) for key in ("a", "b", "", "ключ 🔑", "a")] == [True] * 4 + [False]
    assert len(throttle) == 4


def test_turns_come_in_order_and_at_their_time(stage):
    throttle = Throttle("2/s", clock=stage.clock)

    class ByKey:
        acquire = staticmethod(lambda key: throttle.acquire(key))

    for name in range(5):
        stage.ask(ByKey, ("a", name), key="a")
        stage.ask(ByKey, ("b", name), key="b")
    assert len(stage.log) == 4
    assert not throttle.try_acquire("a"), "nobody passes those who wait"
    for turns in range(1, 4):
        stage.advance(0.5)
        assert len(stage.log) == 4 + 2 * turns
    for key in "ab":
        assert [name for who, name in stage.log if who == key] == [0, 1, 2, 3, 4]


def test_a_turn_that_would_come_too_late_is_refused_at_once(stage):
    throttle = Throttle("1/s", clock=stage.clock)
    assert throttle.try_acquire()
    with pytest.raises(QuotaExceededError, match="throttle") as caught:
        throttle.acquire(timeout=0.9).wait()
    assert caught.value.retry_after == pytest.approx(1)
    first = stage.ask(throttle, "first", timeout=1)
    second = stage.ask(throttle, "second", timeout=1.9)
    assert isinstance(second.exception(), QuotaExceededError), "who waits before it counts"
    stage.advance(1)
    assert first.result().state == "held"


def test_a_cancelled_call_gives_its_turn_to_the_next(stage):
    throttle = Throttle("1/s", clock=stage.clock)
    throttle.try_acquire()
    gone = stage.ask(throttle, "gone")
    stage.ask(throttle, "next")
    stage.clock.advance(1)  # grants the first, whose task has not run since
    stage.cancel(gone)
    assert stage.log == ["next"]
    assert not throttle.try_acquire()
    stage.advance(1)
    assert throttle.try_acquire()


def test_threads_and_tasks_wait_for_turns_on_the_real_clock(run, threads):
    throttle = Throttle("50/s", burst=1)
    done = []

    def thread():
        throttle.acquire("key").wait()
        done.append(time.monotonic())

    async def main():
        await asyncio.gather(*(throttle.acquire("key") for _ in range(3)))
        done.append(time.monotonic())

    start = time.monotonic()
    running = [threads(thread) for _ in range(3)]
    run(main())
    for each in running:
        each.join(30)
    assert len(done) == 4
    assert max(done) - start > 5 * 0.02 * 0.95, "six turns, of which the first was free"


def test_a_turn_that_comes_earlier_than_the_one_waited_for_is_not_late(threads, eventually):
    throttle = Throttle("1/2s", burst=1)
    throttle.try_acquire("early")
    time.sleep(1.5)
    throttle.try_acquire("late")
    give_up = threading.Event()
    waits = threading.Event()

    async def wait_long():
        task = asyncio.ensure_future(throttle.acquire("late"))
        await asyncio.sleep(0)
        waits.set()
        while not give_up.is_set():
            await asyncio.sleep(0.01)
        task.cancel()

    threads(lambda: asyncio.run(wait_long()))
    assert waits.wait(10)
    lease = throttle.acquire("early").wait()
    give_up.set()
    assert lease.waited < 1.5, "it was woken at the time of the other key"


def test_a_blocking_wait_on_the_thread_of_a_loop_is_refused(clock):
    throttle = Throttle("1/s", clock=clock)
    throttle.try_acquire()

    async def main():
        with pytest.raises(EventLoopBlockedError):
            throttle.acquire().wait()

    asyncio.run(main())
    clock.advance(1)
    assert throttle.try_acquire(), "it has left nothing behind"


def test_a_turn_may_be_settled_like_any_lease(clock):
    with Throttle("1/s", clock=clock).acquire() as lease:
        assert lease.amounts["requests"] == 1
        lease.settle()
    assert lease.state == "settled"


def test_idle_keys_are_forgotten(clock):
    throttle = Throttle("10/s", clock=clock)
    most = 0
    for number in range(20_000):
        throttle.try_acquire(f"key {number}")
        clock.advance(0.001)
        if number % 1000 == 0:
            most = max(most, len(throttle))
    assert most <= 1100, "only keys of the last second or so have a memory"
    clock.advance(2)
    assert len(throttle) == 0


@pytest.mark.parametrize(
    "rate",
    [
        "",
        "x",
        "10",
        "/s",
        "10/",
        "10/week",
        "0/s",
        "-1/s",
        "1.5/s",
        "nan/s",
        "10/0s",
        "10/-1s",
        "10/1.2.3s",
        "10/999d",
    ]
    + ["99999999999/s", "4000000000/s", "10/s/s", "10/1e3s", "1" * 10_000 + "/s"],
)
def test_a_rate_that_cannot_be_read_or_kept_is_refused(rate):
    with pytest.raises(ConfigError, match="rate") as caught:
        Throttle(rate)
    assert caught.value.field == "rate"


@pytest.mark.parametrize("burst", [0, -1, 2**32, 2**70])
def test_a_burst_of_nothing_or_absurdly_much_is_refused(burst):
    with pytest.raises(ConfigError, match="burst"):
        Throttle("1/s", burst=burst)


def test_what_is_no_text_is_no_key(clock):
    throttle = Throttle("1/s", clock=clock)
    for ask in (throttle.acquire, throttle.try_acquire):
        with pytest.raises(TypeError):
            ask(5)
    gc.collect()
    assert len(throttle) == 0
