"""Permits in arrival order, for threads and event loops alike, that come back when a holder falls silent."""

import asyncio
import threading

import pytest

import ratekeeper as rk


def counts(semaphore):
    return (semaphore.permits, semaphore.in_use, semaphore.waiting)


def test_permits_are_taken_and_given_back(clock):
    semaphore = rk.Semaphore(2, clock=clock)
    with semaphore.acquire(), semaphore.acquire():
        assert counts(semaphore) == (2, 2, 0)
        assert semaphore.try_acquire() is None
    with semaphore.try_acquire():
        assert counts(semaphore) == (2, 1, 0)
    assert counts(semaphore) == (2, 0, 0)


def test_permits_go_to_tasks_in_the_order_in_which_they_came(run, clock):
    semaphore = rk.Semaphore(2, clock=clock)
    log = []

    async def work(name):
        async with semaphore.acquire():
            log.append(name)
            assert semaphore.in_use <= 2
            await asyncio.sleep(0)

    async def main():
        await asyncio.gather(*(work(name) for name in range(50)))

    run(main())
    assert log == list(range(50))
    assert counts(semaphore) == (2, 0, 0)


def test_threads_and_tasks_stand_in_one_line(clock, threads, eventually):
    semaphore = rk.Semaphore(1, clock=clock)
    held = semaphore.try_acquire()
    log = []

    def thread(name):
        with semaphore.acquire():
            log.append(name)

    def loop(name):
        async def main():
            async with semaphore.acquire():
                log.append(name)

        asyncio.run(main())

    running = []
    for name, kind in enumerate([thread, loop] * 4):
        running.append(threads(kind, name))
        eventually(lambda before=name: semaphore.waiting == before + 1)
    held.close()
    for each in running:
        each.join(30)
    assert log == list(range(8))
    assert counts(semaphore) == (1, 0, 0)


def test_more_permits_start_more_and_fewer_take_none_away(stage):
    semaphore = rk.Semaphore(1, clock=stage.clock)
    held = semaphore.try_acquire()
    tasks = [stage.ask(semaphore, name) for name in range(3)]
    semaphore.resize(3)
    stage.step()
    assert stage.log == [0, 1]
    assert counts(semaphore) == (3, 3, 1)
    semaphore.resize(1)
    held.close()
    tasks[0].result().close()
    stage.step()
    assert stage.log == [0, 1]
    tasks[1].result().close()
    stage.step()
    assert stage.log == [0, 1, 2]


def test_a_permit_of_a_silent_holder_is_given_away(stage):
    semaphore = rk.Semaphore(1, lease_ttl=60, clock=stage.clock)
    silent = semaphore.try_acquire()
    heir = stage.ask(semaphore, "heir")
    stage.advance(59)
    assert not heir.done()
    stage.advance(1)
    assert heir.result().state == "held"
    with pytest.raises(rk.LeaseError, match="expired"):
        silent.renew()


def test_a_deadline_for_a_permit(stage):
    semaphore = rk.Semaphore(1, name="kickoffs", clock=stage.clock)
    held = semaphore.try_acquire()
    waiting = stage.ask(semaphore, timeout=5)
    stage.advance(5)
    error = waiting.exception()
    assert (error.scope, error.dimension, error.retry_after) == ("kickoffs", "concurrency", None)
    assert counts(semaphore) == (1, 1, 0)
    held.close()


def test_tenants_take_turns_and_priorities_go_first(stage):
    semaphore = rk.Semaphore(1, clock=stage.clock)
    held = semaphore.try_acquire()
    for name, keywords in [
        ("a1", {"tenant": "a"}),
        ("a2", {"tenant": "a"}),
        ("a0", {"tenant": "a", "priority": 1}),
        ("b1", {"tenant": "b"}),
    ]:
        stage.ask(semaphore, name, **keywords)
    # Each lease is dropped as soon as its task is done, and its permit goes on.
    held.close()
    for _ in range(8):
        stage.step()
    assert stage.log.index("b1") <= 1
    assert [name for name in stage.log if name.startswith("a")] == ["a0", "a1", "a2"]


def test_two_at_a_time_hold_for_many_threads(threads):
    semaphore = rk.Semaphore(2)
    guard, inside, most = threading.Lock(), [], []

    def work():
        for _ in range(25):
            with semaphore.acquire():
                with guard:
                    inside.append(1)
                    most.append(len(inside))
                with guard:
                    inside.pop()

    for thread in [threads(work) for _ in range(10)]:
        thread.join(30)
    assert len(most) == 250
    assert max(most) <= 2


@pytest.mark.parametrize("permits", [0, -1, 2**32, 2**70])
def test_a_semaphore_of_no_or_absurdly_many_permits_is_refused(permits):
    semaphore = rk.Semaphore(3)
    for make in (rk.Semaphore, semaphore.resize):
        with pytest.raises(rk.ConfigError, match="permits") as caught:
            make(permits)
        assert caught.value.field == "permits"
    assert semaphore.permits == 3


@pytest.mark.parametrize("permits", [True, 1.0, "1", None])
def test_what_is_no_whole_number_is_no_number_of_permits(permits):
    with pytest.raises((TypeError, rk.ConfigError), match="permits"):
        rk.Semaphore(permits)
