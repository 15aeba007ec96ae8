"""Threads that wait: in the same queue as tasks, woken in order, and interruptible."""

import signal
import sys
import threading
import time

import pytest

import ratekeeper as rk

needs_signals = pytest.mark.skipif(sys.platform == "win32", reason="signals are sent between processes")


def test_threads_start_in_the_order_in_which_they_came(clock, threads, eventually):
    limiter = rk.RateLimiter(rk.Quota(rpm=60), clock=clock)
    limiter.try_acquire(requests=60)
    log = []

    def call(name):
        limiter.acquire().wait()
        log.append(name)

    for name in range(10):
        threads(call, name)
        eventually(lambda before=name: limiter.status()["waiting"] == before + 1)
    for started in range(10):
        clock.advance(1)
        eventually(lambda: len(log) > started)  # noqa: B023 (asked at once)
    assert log == list(range(10))


def test_a_thread_starts_when_a_permit_is_given_back(clock, threads, eventually):
    limiter = rk.RateLimiter(rk.Quota(concurrency=1), clock=clock)
    held = limiter.try_acquire()
    thread = threads(lambda: limiter.acquire().wait().close())
    eventually(lambda: limiter.status()["waiting"] == 1)
    assert thread.is_alive()
    held.close()
    thread.join(30)
    assert limiter.status()["in_flight"] == 0


def test_a_thread_is_woken_by_time_alone():
    limiter = rk.RateLimiter(rk.Quota(rk.Limit("requests", 20, 1, burst=1)))
    limiter.try_acquire()
    start = time.monotonic()
    lease = limiter.acquire().wait()
    assert 0.045 < lease.waited <= time.monotonic() - start < 5


def test_a_deadline_ends_the_wait_of_a_thread_though_another_keeps_the_time(threads, eventually):
    limiter = rk.RateLimiter(rk.Quota(concurrency=1))
    held = limiter.try_acquire()
    threads(lambda: limiter.acquire().wait().close())
    eventually(lambda: limiter.status()["waiting"] == 1)
    start = time.monotonic()
    with pytest.raises(rk.QuotaExceededError):
        limiter.acquire(timeout=0.05).wait()
    assert 0.05 <= time.monotonic() - start < 10
    held.close()


def test_the_next_thread_keeps_the_time_when_the_one_that_kept_it_has_gone(threads, eventually):
    limiter = rk.RateLimiter(rk.Quota(rk.Limit("requests", 10, 1, burst=1)))
    limiter.try_acquire()
    log = []

    def call(name, **keywords):
        try:
            limiter.acquire(**keywords).wait()
            log.append(name)
        except rk.QuotaExceededError:
            log.append("refused")

    threads(call, "first")
    eventually(lambda: limiter.status()["waiting"] == 1)
    threads(call, "second")
    threads(call, "third")
    eventually(lambda: len(log) == 3)
    assert sorted(log) == ["first", "second", "third"]


def test_many_threads_hold_no_more_than_the_permits(threads):
    limiter = rk.RateLimiter(rk.Quota(concurrency=3))
    guard, inside, most = threading.Lock(), [], []

    def work():
        for _ in range(20):
            with limiter.acquire():
                with guard:
                    inside.append(1)
                    most.append(len(inside))
                time.sleep(0)
                with guard:
                    inside.pop()

    running = [threads(work) for _ in range(25)]
    for thread in running:
        thread.join(30)
    assert len(most) == 500
    assert max(most) <= 3
    assert limiter.status()["in_flight"] == limiter.status()["waiting"] == 0


WAITING = """
import ratekeeper as rk, signal, sys, threading
limiter = rk.RateLimiter(rk.Quota(concurrency=1))
held = limiter.try_acquire()
"""


@needs_signals
def test_an_interrupt_ends_a_wait_and_leaves_nothing(script, finish):
    source = WAITING + (
        "try:\n    print('waiting', flush=True)\n    limiter.acquire().wait()\n"
        "except KeyboardInterrupt:\n    held.close(); s = limiter.status(); print(s['in_flight'], s['waiting'])\n"
    )
    process = script(source)
    assert process.stdout.readline() == "waiting\n"
    time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert finish(process) == (0, "0 0\n", "")


@needs_signals
def test_an_interrupt_ends_a_wait_on_the_clock_too(script, finish):
    source = (
        "import ratekeeper as rk\nlimiter = rk.RateLimiter(rk.Quota(rpd=1))\nlimiter.try_acquire()\n"
        "try:\n    print('waiting', flush=True)\n    limiter.acquire().wait()\n"
        "except KeyboardInterrupt:\n    print(limiter.status()['waiting'])\n"
    )
    process = script(source)
    assert process.stdout.readline() == "waiting\n"
    time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert finish(process) == (0, "0\n", "")


@needs_signals
def test_a_handled_signal_does_not_end_a_wait(script, finish):
    source = WAITING + (
        "signal.signal(signal.SIGUSR1, lambda *_: print('handled', flush=True))\n"
        "signal.signal(signal.SIGUSR2, lambda *_: held.close())\n"
        "print('waiting', flush=True)\n"
        "with limiter.acquire():\n    print('held', flush=True)\n"
    )
    process = script(source)
    assert process.stdout.readline() == "waiting\n"
    for _ in range(3):
        time.sleep(0.05)
        process.send_signal(signal.SIGUSR1)
        assert process.stdout.readline() == "handled\n"
    process.send_signal(signal.SIGUSR2)
    assert finish(process) == (0, "held\n", "")
