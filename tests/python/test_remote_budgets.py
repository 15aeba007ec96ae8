"""Budgets in a real Redis server: no event loop stands still, nothing is lost by cancelling, and an outage is survived."""

import asyncio
import os
import signal
import struct
import time

import pytest
import servers as real
from children import code_of, forked

import ratekeeper as rk
from ratekeeper._core import Hold
from ratekeeper.budgets import claim
from ratekeeper.budgets.claim import Outlay

CALL = Outlay(0, 0, 1)


@pytest.fixture
def server(servers):
    return servers.server()


def budget_in(server, **settings):
    budget = rk.Budget(**settings)
    budget.keep_in(server.url)
    return budget, (budget.purse({}, time.time()),)


def is_back(budget):
    """Whether what was spent can be read."""
    try:
        budget.spent()
    except rk.StoreError:
        return False
    return True


def state(budget, purses):
    return budget.current(purses[0]).state()


def test_processes_share_a_budget_and_what_a_cancelled_call_was_given_comes_back(server):
    budget, purses = budget_in(server, calls=2)
    other, its = budget_in(server, calls=2)

    async def run():
        first = await claim.aclaim(purses, CALL, None)
        second = await claim.aclaim(its, CALL, None)
        waiting = asyncio.create_task(claim.aclaim(purses, CALL, 30.0))
        await asyncio.sleep(0.3)
        assert not waiting.done()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        next_one = asyncio.create_task(claim.aclaim(purses, CALL, 30.0))
        claim.settle(first, purses, 0, 0, 0)
        third = await asyncio.wait_for(next_one, 5)
        claim.settle(second, its, 0, 0, 1)
        claim.settle(third, purses, 0, 0, 1)
        for _ in range(200):  # settlements are told by clerks
            if other.spent()["calls"] == 2:
                return
            await asyncio.sleep(0.02)

    asyncio.run(run())
    assert (budget.spent()["calls"], other.spent()["calls"]) == (2, 2)
    assert state(budget, purses)["reserved"] == (0, 0, 0)
    with pytest.raises(rk.BudgetExceededError):
        claim.claim(purses, CALL, None)


def test_calls_cancelled_at_any_moment_leave_nothing_reserved(server):
    budget, purses = budget_in(server, calls=1000)

    async def run():
        tasks = [asyncio.create_task(claim.aclaim(purses, CALL, None)) for _ in range(100)]
        for turn, task in enumerate(tasks):
            if turn % 3 == 0:
                await asyncio.sleep(0.001)
            task.cancel()
        for found in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(found, Hold):
                claim.settle(found, purses, 0, 0, 0)

    asyncio.run(run())
    deadline = time.monotonic() + 10
    while state(budget, purses)["reserved"][2] and time.monotonic() < deadline:
        time.sleep(0.05)
    assert state(budget, purses)["reserved"] == (0, 0, 0)
    assert budget.spent()["calls"] == 0


def test_no_event_loop_stands_still_while_the_server_does(server):
    _, purses = budget_in(server, calls=1000)
    held = claim.claim(purses, CALL, None)
    late = []

    async def tick():
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.01)
            late.append(time.monotonic() - before)

    async def run():
        ticking = asyncio.create_task(tick())
        server.suspend()
        going = [asyncio.create_task(claim.aclaim(purses, CALL, None)) for _ in range(3)]
        claim.settle(held, purses, 0, 0, 1)
        await asyncio.sleep(0.4)
        server.resume()
        await asyncio.gather(*going)
        ticking.cancel()

    asyncio.run(run())
    assert max(late) < 0.25


def test_calls_go_on_with_a_share_while_the_server_is_away_and_it_is_made_up(server):
    budget, purses = budget_in(server, calls=10)
    claim.claim(purses, CALL, None).settle(0, 0, 1)
    server.suspend()
    for _ in range(3):
        claim.claim(purses, CALL, None).settle(0, 0, 1)
    server.resume()
    began = time.monotonic()
    claim.claim(purses, CALL, None).settle(0, 0, 1)
    assert time.monotonic() - began < 10
    real.until(lambda: is_back(budget), "the server is there again")
    # What the server did not answer in time it may have heard all the same; that is counted, never given twice.
    began = time.monotonic()
    while not 5 <= budget.spent()["calls"] <= 6:
        assert time.monotonic() - began < 12, state(budget, purses)
        time.sleep(0.05)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_child_of_a_fork_is_a_process_of_its_own_and_what_it_held_counts_when_it_is_killed(server):
    budget, purses = budget_in(server, calls=3)
    held = claim.claim(purses, CALL, None)
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            mine = claim.claim(purses, CALL, None)
            held.settle(0, 0, 0)  # the parent's: without effect
            os.write(writing, b"held")
            time.sleep(60)
            mine.settle(0, 0, 1)
        finally:
            os._exit(1)
    assert os.read(reading, 4) == b"held"
    assert state(budget, purses)["reserved"][2] == 2
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    deadline = time.monotonic() + 14
    while state(budget, purses)["reserved"][2] == 2 and time.monotonic() < deadline:
        time.sleep(0.2)
    assert (state(budget, purses)["reserved"][2], budget.spent()["calls"]) == (1, 1)
    held.settle(0, 0, 1)
    assert budget.spent()["calls"] == 2


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_six_processes_never_spend_more_than_the_ceiling_together(server):
    budget, purses = budget_in(server, calls=100)
    reading, writing = os.pipe()

    def work():
        taken = 0
        while True:
            try:
                held = claim.claim(purses, CALL, None)
            except rk.BudgetExceededError:
                os.write(writing, struct.pack("q", taken))
                return
            taken += 1
            held.settle(0, 0, 1)

    children = [forked(work) for _ in range(6)]
    assert [code_of(child) for child in children] == [0] * 6
    taken = struct.unpack("6q", os.read(reading, 48))
    assert sum(taken) == 100
    assert budget.spent()["calls"] == 100
    assert state(budget, purses)["reserved"] == (0, 0, 0)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_six_processes_try_again_together_as_often_as_one_may(server):
    budget = rk.RetryBudget(store=server.url, scope="openai/acct/m")
    reading, writing = os.pipe()

    def work():
        for _ in range(10):
            os.write(writing, b"y" if budget.try_take("connection") else b"n")

    children = [forked(work) for _ in range(6)]
    assert [code_of(child) for child in children] == [0] * 6
    said = os.read(reading, 1_000)
    assert len(said) == 60
    assert 7 <= said.count(b"y") <= 9  # 14 of 100 each, and one that is lent in ten seconds
    assert budget.balance < 14
    budget.succeeded("connection")
    other = rk.RetryBudget(store=f"{server.url}?prefix=other", scope="openai/acct/m")
    assert (budget.balance >= 14, other.balance) == (True, 100)
