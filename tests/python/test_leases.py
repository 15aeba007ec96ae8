"""What can be done with a lease: once, in the right state, and never to the harm of the next call."""

import asyncio
import gc
import pickle
import weakref

import pytest

import ratekeeper as rk


@pytest.fixture
def limiter(clock):
    return rk.RateLimiter(rk.Quota(tpm=600, concurrency=2), clock=clock, lease_ttl=100)


def remaining(limiter):
    return limiter.status()["limits"][0]["remaining"]


def test_settling_for_less_gives_back_and_for_more_charges(limiter):
    with limiter.acquire(tokens=100) as lease:
        lease.settle(tokens=40)
        assert lease.state == "settled"
        assert limiter.status()["in_flight"] == 0
    assert remaining(limiter) == 560
    limiter.acquire(tokens=100).wait().settle(tokens=700)
    assert remaining(limiter) == -140, "what was used is used, and later calls pay for it"


def test_settling_input_and_output_sets_the_total_and_none_keeps_what_was_reserved(clock):
    limiter = rk.RateLimiter(rk.Quota(rpm=60, tpm=600, itpm=600, otpm=600), clock=clock)
    ask = {"requests": 2, "tokens": 100, "input_tokens": 80, "output_tokens": 20}
    left = []
    for usage in ({"input_tokens": 10, "output_tokens": 5}, {"output_tokens": 5}, {"requests": 1}, {}):
        limiter.acquire(**ask).wait().settle(**usage)
        left.append([limit["remaining"] for limit in limiter.status()["limits"]])
        clock.advance(60)
    assert left == [[58, 585, 590, 595], [58, 500, 520, 595], [59, 500, 520, 580], [58, 500, 520, 580]]


def test_time_that_has_given_back_already_is_not_given_back_twice(limiter, clock):
    lease = limiter.try_acquire(tokens=100)
    clock.advance(5)
    limiter.try_acquire(tokens=600 - 50)
    lease.settle(tokens=0)
    assert remaining(limiter) == 50, "of the 100 tokens 50 had come back by time when the rest was taken"
    clock.advance(100)
    assert remaining(limiter) == 600


@pytest.mark.parametrize("end", ["settle", "release"])
@pytest.mark.parametrize("again", ["settle", "release", "renew"])
def test_a_lease_ends_once(limiter, end, again):
    lease = limiter.try_acquire(tokens=100)
    getattr(lease, end)()
    before = limiter.status()
    with pytest.raises(rk.LeaseError, match=f"this lease is over: it was {end}d"):
        getattr(lease, again)()
    lease.close()
    assert limiter.status() == before


@pytest.mark.parametrize("use", ["settle", "release", "renew"])
def test_a_lease_is_of_no_use_before_it_is_held(limiter, stage, use):
    lease = limiter.acquire(tokens=100)
    with pytest.raises(rk.LeaseError, match="not held yet"):
        getattr(lease, use)()
    lease.close()
    assert (lease.state, lease.waited) == ("new", 0)
    assert limiter.status()["in_flight"] == 0
    assert lease.wait() is lease, "closing what was never asked for costs nothing"


@pytest.mark.parametrize("use", ["settle", "release", "renew"])
def test_a_lease_is_of_no_use_while_it_is_waited_for(limiter, stage, threads, use):
    limiter.try_acquire(tokens=600)
    lease = limiter.acquire(tokens=10)
    task = stage.loop.create_task(asyncio.wait_for(lease, None))
    stage.step()
    assert lease.state == "waiting"

    def refuse(wrong):
        with pytest.raises(rk.LeaseError):
            wrong()

    for wrong in (getattr(lease, use), lease.wait, lease.__enter__):
        threads(refuse, wrong).join(5)
    assert lease.state == "waiting"
    stage.advance(1)
    assert task.result().state == "held"


def test_two_tasks_cannot_wait_for_one_lease(limiter, stage):
    limiter.try_acquire(tokens=600)
    lease = limiter.acquire(tokens=10)

    async def wait():
        return await lease

    first, second = stage.loop.create_task(wait()), stage.loop.create_task(wait())
    stage.step()
    assert isinstance(second.exception(), rk.LeaseError)
    stage.advance(1)
    assert first.result().state == "held"


def test_a_lease_that_is_over_is_not_entered_again(limiter):
    lease = limiter.try_acquire()
    lease.settle()
    with pytest.raises(rk.LeaseError), lease:
        pass

    async def enter():
        async with lease:
            pass

    with pytest.raises(rk.LeaseError):
        asyncio.run(enter())


def test_release_gives_everything_back(limiter):
    lease = limiter.try_acquire(tokens=600)
    lease.release()
    assert lease.state == "released"
    assert limiter.status()["limits"][0]["remaining"] == 600
    assert limiter.status()["in_flight"] == 0


def test_leaving_the_block_frees_the_permit_and_keeps_what_was_reserved(limiter):
    with pytest.raises(ZeroDivisionError), limiter.acquire(tokens=100) as lease:
        _ = 1 / 0
    assert lease.state == "closed"
    assert remaining(limiter) == 500
    assert limiter.status()["in_flight"] == 0


def test_an_exception_goes_through_an_async_block(limiter):
    async def main():
        async with limiter.acquire(tokens=100):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        asyncio.run(main())
    assert remaining(limiter) == 500
    assert limiter.status()["in_flight"] == 0


def test_a_silent_holder_loses_its_permit_to_whoever_waits(limiter, stage):
    first, second = limiter.try_acquire(), limiter.try_acquire(tokens=10)
    stage.advance(60)
    second.renew()
    heir = stage.ask(limiter, "heir")
    stage.advance(39.9)
    assert stage.log == []
    stage.advance(0.1)
    assert stage.log == ["heir"], "first held its permit for 100 s, second was renewed at 60"
    for use in (first.settle, first.settle, first.renew, first.release):
        with pytest.raises(rk.LeaseError, match="expired"):
            use()
    assert first.state == "expired"
    second.settle(tokens=5)
    assert limiter.status()["in_flight"] == 1
    assert heir.result().state == "held"


def test_an_expired_lease_says_so_however_often_its_place_was_used_since(clock):
    limiter = rk.RateLimiter(rk.Quota(concurrency=1), clock=clock, lease_ttl=10)
    expired = limiter.try_acquire()
    clock.advance(10)
    for _ in range(3):
        limiter.try_acquire().settle()
    with pytest.raises(rk.LeaseError, match="has expired"):
        expired.settle()
    expired.close()
    assert limiter.status()["in_flight"] == 0


def test_an_expired_lease_leaves_its_block_in_peace(limiter, clock):
    with limiter.acquire() as lease:
        clock.advance(1000)
        others = [limiter.try_acquire(), limiter.try_acquire()]
    assert lease.state == "expired"
    assert all(others)
    assert limiter.status()["in_flight"] == 2


def test_a_holder_that_nobody_misses_may_settle_late(limiter, clock):
    lease = limiter.try_acquire(tokens=600)
    clock.advance(5000)
    lease.settle(tokens=700)
    assert lease.state == "settled"
    assert remaining(limiter) == 500, "the 100 more were charged now"


def test_a_held_lease_that_is_dropped_frees_its_permit(limiter):
    lease = limiter.try_acquire(tokens=100)
    del lease
    assert limiter.status()["in_flight"] == 0
    assert remaining(limiter) == 500


def test_a_held_lease_in_a_cycle_frees_its_permit_when_it_is_collected(limiter):
    holder = []
    holder.append((holder, limiter.try_acquire()))
    del holder
    gc.collect()
    assert limiter.status()["in_flight"] == 0


def test_a_waiting_call_that_is_dropped_gives_up_its_place(limiter, stage):
    limiter.try_acquire(tokens=600)

    async def call():
        await limiter.acquire(tokens=100)

    coroutine = call()
    stage.loop.run_until_complete(start(coroutine))
    stage.ask(limiter, "next", tokens=10)
    assert limiter.status()["waiting"] == 2
    coroutine.close()
    assert limiter.status()["waiting"] == 1
    stage.advance(1)
    assert stage.log == ["next"]


async def start(coroutine):
    coroutine.send(None)


def test_a_call_waiting_in_a_closed_loop_is_passed_over_and_forgotten(limiter):
    held = [limiter.try_acquire(), limiter.try_acquire()]
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda *_: None)  # "Task was destroyed but it is pending!"

    async def call():
        async with limiter.acquire():
            raise AssertionError("this never starts")

    task = loop.create_task(call())
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    traces = [weakref.ref(loop), weakref.ref(task)]
    del loop, task
    del held
    gc.collect()
    assert [trace() for trace in traces] == [None, None]
    assert (limiter.status()["in_flight"], limiter.status()["waiting"]) == (0, 0)


@pytest.mark.parametrize("inside", [False, True])
def test_a_grant_that_reaches_a_loop_about_to_close_is_handed_on(clock, inside):
    limiter = rk.RateLimiter(rk.Quota(concurrency=1), clock=clock)
    held = limiter.try_acquire()
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda *_: None)  # "Task was destroyed but it is pending!"

    async def call():
        async with limiter.acquire():
            raise AssertionError("this never starts")

    loop.create_task(call())
    loop.run_until_complete(asyncio.sleep(0))
    if inside:
        loop.call_soon(loop.stop)
        loop.call_soon(held.close)
        loop.run_forever()
    else:
        held.close()
    loop.close()
    del loop
    gc.collect()
    assert limiter.try_acquire() is not None


def test_leases_and_limiters_do_not_pickle(limiter):
    for thing in (limiter, limiter.acquire(), limiter.try_acquire()):
        with pytest.raises(TypeError, match="pickle"):
            pickle.dumps(thing)


def test_an_error_of_a_lease_pickles(limiter):
    with pytest.raises(rk.LeaseError) as caught:
        limiter.acquire().settle()
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (type(copy), str(copy)) == (rk.LeaseError, str(caught.value))
