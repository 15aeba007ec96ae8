"""One quota for real processes on real Redis and Valkey servers: forked, started, cancelled, killed, and woken.

`RATEKEEPER_LONG_TESTS=1` has those that repeat themselves do so a hundred times and more.
"""

import asyncio
import gc
import mmap
import os
import random
import signal
import statistics
import struct
import subprocess
import sys
import threading
import time
from datetime import timedelta

import pytest
from children import PACKAGE, code_of, forked, script
from test_stores import MISSED, churn, remaining

import ratekeeper as rk

IS_LONG = bool(os.environ.get("RATEKEEPER_LONG_TESTS"))

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture
def store(standing_server):
    return standing_server.url


@pytest.fixture
def long_store(standing_server):
    """For what takes its time: both kinds of servers only where there is time."""
    if standing_server.kind != "redis" and not IS_LONG:
        pytest.skip("takes long (RATEKEEPER_LONG_TESTS)")
    return standing_server.url


def in_flight(limiter):
    return limiter.status()["in_flight"]


# --- one quota --------------------------------------------------------------------------------------------


def test_a_limiter_made_before_the_fork_shares_its_quota_with_the_children(store):
    limiter = rk.RateLimiter(rk.Quota(rpd=100, concurrency=2), store=store)
    held = limiter.try_acquire()

    def work():
        assert in_flight(limiter) == 1
        with limiter.acquire(timeout=5):
            assert limiter.try_acquire() is None
        held.settle()  # the parent's: without effect
        assert in_flight(limiter) == 1

    assert code_of(forked(work)) == 0
    assert (remaining(limiter), in_flight(limiter)) == (98, 1)
    held.settle()
    assert in_flight(limiter) == 0


def test_processes_of_their_own_share_what_they_name_and_give_it_back_as_they_exit(store):
    quota = "rk.Quota(rpd=100, concurrency=8)"
    limiter = rk.RateLimiter(rk.Quota(rpd=100, concurrency=8), name="shared", store=store)
    text = f"""
        import sys, ratekeeper as rk
        limiter = rk.RateLimiter({quota}, name="shared", store=sys.argv[1])
        for _ in range(10):
            with limiter.acquire():
                pass
        held = [limiter.acquire().wait() for _ in range(2)]
    """
    children = [script(text, store) for _ in range(4)]
    for child in children:
        _, errors = child.communicate(timeout=60)
        assert (child.returncode, errors) == (0, "")
    assert in_flight(limiter) == 0
    assert remaining(limiter) == 100 - 4 * 12


def test_accounts_and_tenants_are_shared_too(store):
    def limiters():
        account = rk.RateLimiter(rk.Quota(rpd=100), name="account", store=store)
        tenants = {"*": rk.Quota(rpd=2)}
        return account, rk.RateLimiter(rk.Quota(rpd=50), name="model", within=account, tenants=tenants)

    one, other = limiters(), limiters()
    assert one[1].try_acquire(tenant="acme")
    assert other[1].try_acquire(tenant="acme")
    assert one[1].try_acquire(tenant="acme") is None
    assert other[1].try_acquire(tenant="globex")
    assert [remaining(limiter) for limiter in (*one, *other)] == [97, 47, 97, 47]


# --- who waits, and who does not any more -----------------------------------------------------------------


def test_who_waits_is_woken_as_soon_as_another_process_gives_back(store):
    """Two processes pass one permit to and fro; a look without being woken comes only after half a second."""
    limiter = rk.RateLimiter(rk.Quota(concurrency=1), store=store)
    turns, freed, late = 60, mmap.mmap(-1, 16), mmap.mmap(-1, 8 * 60 * 2)

    def play(me):
        for turn in range(turns):
            lease = limiter.acquire(timeout=30).wait()
            now, (when, who) = time.monotonic(), struct.unpack("dq", freed[:])
            if when and who != me:
                struct.pack_into("d", late, 8 * (2 * turn + me), now - when)
            time.sleep(0.005)  # the other one is in line by now
            freed[:] = struct.pack("dq", time.monotonic(), me)
            lease.settle()

    child = forked(lambda: play(1))
    play(0)
    assert code_of(child) == 0
    waits = sorted(wait for wait in struct.unpack(f"{2 * turns}d", late) if wait)
    print(
        f"woken after {statistics.median(waits) * 1e3:.1f} ms, {len(waits)} times, at most {waits[-1] * 1e3:.0f} ms"
    )
    assert len(waits) > turns
    assert statistics.median(waits) < 0.1


def test_a_wait_that_is_cancelled_leaves_nothing_behind(store):
    limiter = rk.RateLimiter(rk.Quota(concurrency=2), store=store)
    dice, count = random.Random(1), 1_000 if IS_LONG else 200

    async def call():
        async with limiter.acquire():
            await asyncio.sleep(dice.random() * 0.004)

    async def run():
        tasks = [asyncio.create_task(call()) for _ in range(count)]
        for task in tasks:
            if dice.random() < 0.3:
                await asyncio.sleep(dice.random() * 0.005)
            if dice.random() < 0.7:
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(run())
    assert in_flight(limiter) == 0
    leases = [limiter.try_acquire() for _ in range(3)]
    assert leases[0]
    assert leases[1]
    assert leases[2] is None


def test_threads_that_give_up_waiting_leave_nothing_behind(store, threads):
    limiter = rk.RateLimiter(rk.Quota(concurrency=2), store=store)
    outcomes = []

    def call(place):
        dice = random.Random(place)
        for _ in range(20):
            try:
                with limiter.acquire(timeout=dice.random() * 0.02):
                    time.sleep(dice.random() * 0.005)
                outcomes.append("went")
            except rk.QuotaExceededError:
                outcomes.append("gave up")

    for thread in [threads(call, place) for place in range(8)]:
        thread.join(60)
    assert outcomes.count("went")
    assert outcomes.count("gave up")
    assert in_flight(limiter) == 0


# --- what it costs ----------------------------------------------------------------------------------------


def test_a_decision_is_one_round_trip_and_under_load_many_share_one(standing_server, threads):
    limiter = rk.RateLimiter(rk.Quota(rpm=10**7, concurrency=1_000), store=standing_server.url)
    limiter.acquire().wait().settle()

    def asked(work):
        time.sleep(0.1)  # what was ended before is told
        before = standing_server.calls("evalsha")
        work()
        time.sleep(0.1)
        return standing_server.calls("evalsha") - before

    leases = []
    taken = asked(lambda: leases.extend(limiter.try_acquire() for _ in range(100)))
    assert 100 <= taken <= 105  # and a sign of life

    def end():
        for lease in leases:
            lease.settle()

    assert asked(end) <= 100

    async def load(calls=3_000, at_once=200):
        left = iter(range(calls))

        async def work():
            for _ in left:
                async with limiter.acquire():
                    await asyncio.sleep(0)

        await asyncio.gather(*(work() for _ in range(at_once)))

    shared = asked(lambda: asyncio.run(load()))
    print(f"{shared / 3_000:.3f} script calls a call")
    assert shared < 0.2 * 3_000


def test_nothing_grows_with_limiters_that_are_made_and_dropped(long_store):
    def make(count):
        for number in range(count):
            limiter = rk.RateLimiter(rk.Quota(rpm=1_000), name=f"short {number % 50}", store=long_store)
            limiter.acquire().wait().settle()
        del limiter
        gc.collect()

    def memory():
        with open("/proc/self/statm") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    make(100)
    before, threads = memory(), native_threads(20)
    make(1_000 if IS_LONG else 100)
    assert native_threads(threads) <= threads
    grown = memory() - before
    print(f"{grown / 1e6:.1f} MB more")
    assert grown < 6e6


def native_threads(until):
    """How many threads the process has, once they are as few as that or it is clear that they will not be."""
    end = time.monotonic() + 10
    while (count := len(os.listdir("/proc/self/task"))) > until and time.monotonic() < end:
        time.sleep(0.05)
    return count


# --- processes that are killed, and forks -----------------------------------------------------------------


def test_processes_killed_at_any_moment_leave_nothing_behind(long_store):
    """Each is killed at a random moment; then all permits come back, and every grant was booked."""
    most, permits, kills = 100_000, 60, 100 if IS_LONG else 30
    quota = rk.Quota(rk.Limit("requests", most, timedelta(days=31)), concurrency=permits)
    limiter = rk.RateLimiter(quota, store=long_store)
    counts, dice, running, held = mmap.mmap(-1, kills * 8), random.Random(1), [], 0
    for place in range(kills):
        running.append(forked(lambda place=place: churn(limiter, counts, place)))
        while len(running) > (2 if place < kills - 1 else 0):
            time.sleep(dice.random() * 0.04)
            pid = running.pop(dice.randrange(len(running)))
            os.kill(pid, signal.SIGKILL)
            assert os.WTERMSIG(code_of(pid)) == signal.SIGKILL
            held = max(held, in_flight(limiter))
    died = time.monotonic()
    assert 0 < held <= permits
    while in_flight(limiter) > 0:
        assert time.monotonic() - died < MISSED
        time.sleep(0.1)
    print(f"{held} were held by the dead, and back after {time.monotonic() - died:.1f} s")
    counted, booked = sum(struct.unpack(f"{kills}q", counts)), most - remaining(limiter)
    assert counted > kills
    # A kill between the grant and the counting of it hides one; what flows back in a month's quota is no more.
    assert counted - 2 <= booked <= counted + kills


def test_many_forks_under_load_all_work_and_the_parent_goes_on(store, threads):
    limiter = rk.RateLimiter(rk.Quota(rpm=10_000_000, concurrency=3), store=store)
    end = []

    def load():
        while not end:
            with limiter.acquire(timeout=30):
                time.sleep(0)

    def look():
        while not end:
            limiter.status()
            if lease := limiter.try_acquire():
                lease.settle()

    running = [threads(act) for act in (load, load, look, look)]

    def work():
        for _ in range(3):
            with limiter.acquire(timeout=30):
                pass
        limiter.status()

    try:
        for _ in range(200 if IS_LONG else 40):
            assert code_of(forked(work)) == 0
    finally:
        end.append(True)
    for thread in running:
        thread.join(30)
    # The children were gone without a word (`os._exit`), and held nothing.
    assert in_flight(limiter) == 0


_FAMILY = """
import multiprocessing, sys
import ratekeeper as rk

limiter = rk.RateLimiter(rk.Quota(rpd=100, concurrency=2), name="shared", store=sys.argv[1])

def run(method, work):
    child = multiprocessing.get_context(method).Process(target=work)
    child.start()
    child.join()
    assert child.exitcode == 0

def grandchild():
    limiter.acquire(timeout=10).wait()  # held, and given back as it exits

def child():
    limiter.acquire(timeout=10).wait().settle()
    run("fork", grandchild)

if __name__ == "__main__":
    for method in ("fork", "spawn", "forkserver"):
        run(method, child)
"""


def test_children_of_multiprocessing_of_each_kind_and_theirs_share(store, tmp_path):
    limiter = rk.RateLimiter(rk.Quota(rpd=100, concurrency=2), name="shared", store=store)
    program = tmp_path / "family.py"
    program.write_text(_FAMILY)
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE)}
    command = [sys.executable, str(program), store]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert (in_flight(limiter), remaining(limiter)) == (0, 94)


# --- nobody stands still for long -------------------------------------------------------------------------


def test_looking_and_trying_let_other_threads_run_and_end_soon_when_nothing_answers(servers, threads):
    server = servers.server()
    limiter = rk.RateLimiter(rk.Quota(rpd=1_000, concurrency=100), store=server.url)
    limiter.acquire().wait().settle()
    late, took, end = [], [], threading.Event()

    def tick():
        while not end.is_set():
            before = time.monotonic()
            time.sleep(0.01)
            late.append(time.monotonic() - before)

    ticking = threads(tick)
    server.suspend()
    try:
        for turn in range(40):
            before = time.monotonic()
            if turn % 2:
                limiter.status()
            else:
                assert limiter.try_acquire()
            took.append(time.monotonic() - before)
    finally:
        server.resume()
        end.set()
    ticking.join(30)
    print(
        f"others late by {max(late) * 1e3:.0f} ms; a step took {max(took):.2f} s at most, {sum(took):.2f} s all"
    )
    assert max(late) < 0.4
    assert max(took) < 1.5
