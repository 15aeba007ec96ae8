"""What attempts do to those who wait: one pause for all, the head of the queue, and nothing left behind."""

import asyncio
import os
import pickle
import threading

import pytest
from attempting import QUICK, asend, idle, refused, send, turns
from gates import HELLO, Recorder, keepers
from retrying import Provider, ProviderError

import ratekeeper as rk
from ratekeeper.gate import Options
from ratekeeper.providers import Usage
from ratekeeper.testing import retry_without_waiting

SCOPE = "openai/acct/m"


@pytest.fixture
def recorder():
    return Recorder()


@pytest.fixture
def keeper_of(clock, recorder):
    return keepers(clock, recorder)


#: The bucket of what ran out is drained until after the pause, and of two reasons to wait the later one is told.
def status_of(keeper):
    return keeper.status()["scopes"][SCOPE]


class Order:
    """A provider that notes who is sent, and fails the first request of whom it is told."""

    def __init__(self, clock, errors):
        self.clock = clock
        self.errors = errors
        self.sent = []

    def of(self, name):
        def answer():
            self.sent.append((name, round(self.clock.now, 6)))
            error = self.errors.pop(name, None)
            if error is not None:
                raise error
            return name

        return answer


# --- one pause for all ------------------------------------------------------------------------------------


def test_a_refused_call_waits_out_the_pause_and_is_the_first_after_it(keeper_of, clock):
    keeper = keeper_of(rk.Quota(rpm=100, concurrency=1))
    gate = keeper.gate("openai", "acct")
    order = Order(clock, {"first": refused(retry_after=10)})

    async def main():
        tasks = []
        for name in ("first", "second", "third"):
            tasks.append(asyncio.create_task(asend(gate, order.of(name))))
            clock.advance(0.001)
            await turns(1)
        await turns()
        assert [name for name, _ in order.sent] == ["first"]
        assert status_of(keeper)["waiting"] == 3
        clock.advance(9.9)
        await turns()
        assert len(order.sent) == 1
        for _ in range(20):
            clock.advance(0.5)
            await turns()
        return await asyncio.wait_for(asyncio.gather(*tasks), 10)

    assert asyncio.run(main()) == ["first", "second", "third"]
    assert [name for name, _ in order.sent] == ["first", "first", "second", "third"]
    assert all(at >= 10 for _, at in order.sent[1:])
    assert idle(keeper)


def test_nobody_starts_inside_the_gap_and_requests_are_calls_plus_refusals(keeper_of, clock):
    keeper = keeper_of(rk.Quota(rpm=1000, concurrency=5))
    gate = keeper.gate("openai", "acct")
    told = {"x_ratelimit_limit_requests": "1000", "x_ratelimit_remaining_requests": "0"}
    sent = []

    async def call(number, all_are_sent):
        async for attempt in gate.attempts(HELLO):
            async with attempt:
                sent.append((number, clock.now))
                if len(sent) <= 5:
                    await all_are_sent.wait()
                    raise refused(retry_after=10, **told)
                attempt.settle(Usage(10, 5))
        return number

    async def main():
        all_are_sent = asyncio.Event()
        tasks = []
        for number in range(20):
            tasks.append(asyncio.create_task(call(number, all_are_sent)))
            await turns(2)
            clock.advance(0.001)
        await turns()
        assert len(sent) == 5
        all_are_sent.set()
        for _ in range(100):
            clock.advance(0.5)
            await turns(30)
        return await asyncio.wait_for(asyncio.gather(*tasks), 10)

    assert asyncio.run(main()) == list(range(20))
    assert len(sent) == 25
    assert all(at >= 10 for _, at in sent[5:])
    # Those that were refused come before those that had not been sent.
    assert sorted(number for number, _ in sent[5:10]) == sorted(number for number, _ in sent[:5])


def test_a_call_that_would_wait_beyond_its_deadline_is_told_of_the_pause_at_once(keeper_of, clock):
    keeper = keeper_of(rk.Quota(rpm=100))
    patient, hasty = keeper.gate("openai", "acct"), keeper.gate("openai", "acct", Options(timeout=5))

    async def main():
        waiting = asyncio.create_task(asend(patient, Provider(refused(retry_after=10))))
        await turns()
        with pytest.raises(rk.PausedError) as caught:
            await asend(hasty, Provider())
        clock.advance(12)
        assert await asyncio.wait_for(waiting, 3) == "answer"
        return caught.value

    error = asyncio.run(main())
    assert isinstance(error, rk.QuotaExceededError)
    assert (error.scope, error.dimension) == (SCOPE, "requests")
    assert 10 <= error.retry_after <= 12
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), again.retry_after, str(again)) == (rk.PausedError, error.retry_after, str(error))
    assert idle(keeper)


def test_a_pause_of_an_hour_refuses_the_others_at_once_and_those_that_wait_already(keeper_of, clock):
    keeper = keeper_of(rk.Quota(rpm=100, concurrency=1))
    gate = keeper.gate("openai", "acct")

    async def main():
        first = asyncio.create_task(asend(gate, Provider(refused(retry_after=3000), times=9)))
        waiting = asyncio.create_task(asend(gate, Provider()))
        await turns()
        with pytest.raises(ProviderError):
            await asyncio.wait_for(first, 10)
        with pytest.raises(rk.PausedError):
            await asyncio.wait_for(waiting, 3)
        with pytest.raises(rk.PausedError) as caught:
            await asyncio.wait_for(asend(gate, Provider()), 10)
        return caught.value

    assert asyncio.run(main()).retry_after == pytest.approx(3000, abs=1)
    assert status_of(keeper)["paused_for"] == pytest.approx(3000, abs=1)
    assert idle(keeper)


def test_after_a_minute_of_a_long_pause_one_call_looks_whether_it_was_meant(keeper_of, clock):
    keeper = keeper_of(rk.Quota(rpm=100))
    gate, provider = keeper.gate("openai", "acct"), Provider(refused(retry_after=3000))

    async def main():
        with pytest.raises(ProviderError):
            await asend(gate, provider)
        clock.advance(61)
        return await asyncio.wait_for(asend(gate, provider), 3)

    assert asyncio.run(main()) == "answer"
    assert provider.calls == 2
    assert status_of(keeper)["paused_for"] is None


# --- broken off -------------------------------------------------------------------------------------------


def test_a_call_cancelled_in_its_backoff_leaves_nothing(keeper_of, clock, recorder):
    keeper = keeper_of(
        rk.Quota(rpm=100, concurrency=1), retry=rk.RetryPolicy(wait_initial=30, jitter="equal")
    )
    provider = Provider(ProviderError(500), times=9)

    async def main():
        task = asyncio.create_task(asend(keeper.gate("openai", "acct"), provider))
        await turns()
        assert provider.calls == 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert recorder.names == ["started", "failed"]
    assert idle(keeper)
    assert send(keeper.gate("openai", "acct"), Provider()) == "answer"


def test_a_call_cancelled_while_its_second_attempt_waits_leaves_its_place_to_the_next(
    keeper_of, clock, recorder
):
    keeper = keeper_of(rk.Quota(rpm=100, concurrency=1))
    gate = keeper.gate("openai", "acct")

    async def main():
        refused_one = asyncio.create_task(asend(gate, Provider(refused(retry_after=10))))
        other = asyncio.create_task(asend(gate, Provider()))
        await turns()
        assert status_of(keeper)["waiting"] == 2
        refused_one.cancel()
        with pytest.raises(asyncio.CancelledError):
            await refused_one
        assert status_of(keeper)["waiting"] == 1
        clock.advance(13)
        assert await asyncio.wait_for(other, 10) == "answer"

    asyncio.run(main())
    assert recorder.names.count("refused") == 1
    assert idle(keeper)


def test_an_interrupt_in_the_backoff_of_a_thread_leaves_nothing(keeper_of, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("ratekeeper._retrying.Course.sleep", interrupt)
    keeper = keeper_of(rk.Quota(concurrency=1))
    with pytest.raises(KeyboardInterrupt):
        send(keeper.gate("openai", "acct"), Provider(ProviderError(500)))
    assert idle(keeper)
    assert send(keeper.gate("openai", "acct"), Provider()) == "answer"


def test_a_sync_call_on_the_thread_of_a_running_loop_is_not_tried_again(keeper_of, recorder):
    """It would stop the loop. Who retries outside, and need not, still may."""
    keeper = keeper_of(rk.Quota(concurrency=1))
    gate, provider = keeper.gate("openai", "acct"), Provider(ProviderError(500))

    async def main():
        with pytest.raises(ProviderError):
            send(gate, provider)
        provider.calls = 0

        @rk.retry(wait_initial=0.001)
        async def outside():
            return send(gate, provider)

        return await outside()

    assert asyncio.run(main()) == "answer"
    assert provider.calls == 2
    assert recorder.names == ["started", "failed"] * 2 + ["started", "settled"]
    assert idle(keeper)


# --- threads, tasks and processes -------------------------------------------------------------------------


def test_threads_and_tasks_that_fail_share_the_quota_and_all_are_served(recorder, threads):
    keeper = rk.Keeper(rk.Quota(concurrency=3), hooks=recorder, retry=QUICK, headroom=0)
    gate = keeper.gate("openai", "acct")
    sent, lock = [], threading.Lock()

    def flaky():
        provider = Provider(ProviderError(408))

        def answer():
            with lock:
                sent.append(1)
            return provider()

        return answer

    def in_a_thread():
        for _ in range(2):
            assert send(gate, flaky()) == "answer"

    def in_tasks():
        async def all_of_them():
            return await asyncio.gather(*(asend(gate, flaky()) for _ in range(2)))

        assert asyncio.run(all_of_them()) == ["answer"] * 2

    keeper.limiter(SCOPE)
    for function in (in_a_thread, in_tasks) * 2:
        started = threads(function)
        started.join(30)
    running = [threads(function) for function in (in_a_thread, in_tasks) * 3]
    for thread in running:
        thread.join(30)
    assert len(sent) == len([name for name in recorder.names if name == "started"])
    assert recorder.names.count("started") == recorder.names.count("settled") + recorder.names.count("failed")
    assert recorder.names.count("settled") == 20
    assert idle(keeper)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning")
def test_a_fork_between_two_attempts_leaves_parent_and_child_whole(recorder):
    keeper = rk.Keeper(rk.Quota(concurrency=1), hooks=recorder, retry=QUICK, headroom=0)
    gate = keeper.gate("openai", "acct")
    child, first = None, True

    def forks_and_fails():
        nonlocal child, first
        if first:
            first = False
            child = os.fork()
            raise ProviderError(500)
        return "answer"

    is_right = False
    try:
        is_right = send(gate, forks_and_fails) == "answer" and idle(keeper)
        is_right = is_right and send(gate, Provider(ProviderError(500))) == "answer"
    finally:
        if child == 0:
            os._exit(0 if is_right else 1)
    assert is_right
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_rehearsal_counts_waits_that_are_skipped_for_the_time_allowed(keeper_of):
    policy = rk.RetryPolicy(attempts=None, timeout=30, wait_initial=10, wait_max=10, jitter="equal")
    provider = Provider(ProviderError(500), times=99)
    with retry_without_waiting() as waits, pytest.raises(ProviderError):
        send(keeper_of(retry=policy).gate("openai", "acct"), provider)
    assert 20 < sum(waits) <= 30
    assert provider.calls == len(waits) + 1
