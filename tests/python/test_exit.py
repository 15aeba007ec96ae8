"""The interpreter's exit: silent, with code 0, and at once, whoever waits and wherever."""

import sys

import pytest

START = """
import asyncio, atexit, sys, threading, time
import ratekeeper as rk

limiter = rk.RateLimiter(rk.Quota(concurrency=1))
held = limiter.try_acquire()

def started(condition=lambda: limiter.status()["waiting"]):
    while not condition():
        time.sleep(0.001)

class Slow:
    '''Lets threads run in the midst of the interpreter's finalization.'''
    def __del__(self, sleep=time.sleep):
        sleep(0.05)
"""

PARKED = (
    START
    + """
for _ in range(4):
    threading.Thread(target=lambda: limiter.acquire().wait(), daemon=True).start()
started(lambda: limiter.status()["waiting"] == 4)
"""
)

IN_LOOPS = (
    START
    + """
async def wait():
    await asyncio.gather(*(limiter.acquire() for _ in range(5)))

for _ in range(3):
    threading.Thread(target=lambda: asyncio.run(wait()), daemon=True).start()
started(lambda: limiter.status()["waiting"] == 15)
"""
)

BUSY = (
    START
    + """
held.close()
limiter = rk.RateLimiter(rk.Quota(rk.Limit("requests", 200, 1, burst=1), concurrency=2))

def churn():
    while True:
        with limiter.acquire():
            pass

async def churn_async():
    while True:
        async with limiter.acquire():
            await asyncio.sleep(0)

for _ in range(3):
    threading.Thread(target=churn, daemon=True).start()
threading.Thread(target=lambda: asyncio.run(churn_async()), daemon=True).start()
started()
"""
)

PROGRAMS = {
    "daemon threads parked": PARKED,
    "daemon threads woken on the way out": PARKED + "sys.slow = Slow()\nheld.close()\n",
    "daemon threads woken at exit": PARKED + "sys.slow = Slow()\natexit.register(held.close)\n",
    "sys.exit with threads parked": PARKED + "sys.exit(0)\n",
    "a wait refused at exit": PARKED
    + """
@atexit.register
def refused():
    try:
        limiter.acquire(timeout=0.01).wait()
    except rk.QuotaExceededError:
        pass
""",
    "loops with waiters in daemon threads": IN_LOOPS,
    "loops with waiters woken on the way out": IN_LOOPS + "sys.slow = Slow()\nheld.close()\n",
    "threads and loops busy in finalization": BUSY + "sys.slow = Slow()\n",
    "a lease held by the module": START + "sys.keep = (limiter, held, limiter.acquire())\n",
    "a lease in a cycle": START + "cycle = [held]; cycle.append(cycle)\n",
    "a loop left stopped with a waiter": START
    + """
async def wait():
    await limiter.acquire()

loop = asyncio.new_event_loop()
loop.set_exception_handler(lambda *_: None)
task = loop.create_task(wait())
loop.run_until_complete(asyncio.sleep(0))
loop.close()
sys.keep = (loop, task, limiter)
""",
}

ROUNDS = 3


@pytest.mark.parametrize("name", PROGRAMS)
def test_exit_is_clean_with(script, finish, name):
    # Started together, for the race that is looked for is one of moments.
    processes = [script(PROGRAMS[name]) for _ in range(ROUNDS)]
    assert [finish(process) for process in processes] == [(0, "", "")] * ROUNDS


def test_an_exit_code_of_the_programs_own_is_kept(script, finish):
    assert finish(script(PARKED + "sys.exit(3)\n")) == (3, "", "")


def test_an_exception_of_the_programs_own_is_the_only_one_shown(script, finish):
    code, _, errors = finish(script(PARKED + "raise SystemError('mine')\n"))
    assert code == 1
    assert errors.count("Traceback") == 1
    assert errors.endswith("SystemError: mine\n")


@pytest.mark.skipif(sys.platform == "win32", reason="threads end otherwise there")
def test_a_thread_that_is_no_daemon_is_waited_for_as_ever(script, finish):
    source = START + (
        "def work():\n    limiter.acquire().wait()\n    print('done')\n"
        "threading.Thread(target=work).start()\nstarted()\n"
        "threading.Timer(0.05, held.close).start()\n"
    )
    assert finish(script(source)) == (0, "done\n", "")
