"""Processes that end: by exit or SIGTERM they give back at once what they hold, and SIGTERM means what it meant."""

import signal

import pytest
from server_fixtures import STORES, store_in

import ratekeeper as rk

START = """
import asyncio, os, signal, sys, threading, time
import ratekeeper as rk

def is_caught():
    caught = next(line for line in open("/proc/self/status") if line.startswith("SigCgt"))
    return bool(int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1)

def hold():
    limiter = rk.RateLimiter(rk.Quota(concurrency=3), name="shared", store=os.environ["STORE"])
    return limiter, [limiter.try_acquire() for _ in range(3)]
"""
HOLD = START + "limiter, held = hold()\n"
READY = "print('ready', flush=True)\n"

WAYS_TO_WAIT = {
    "asleep": "time.sleep(60)",
    "waiting for a permit": "limiter.acquire().wait()",
    "in an event loop": "asyncio.run(asyncio.sleep(60))",
    "waiting for a permit in an event loop": """
async def wait():
    await limiter.acquire()
asyncio.run(wait())""",
    "waiting for a thread": """
thread = threading.Thread(target=time.sleep, args=(60,), daemon=True)
thread.start()
thread.join()""",
    "computing": "while True: sum(range(1000))",
}


@pytest.fixture(params=STORES)
def store(request, tmp_path, monkeypatch):
    """A store, whose address a program finds in its environment."""
    with store_in(tmp_path, request.param) as url:
        monkeypatch.setenv("STORE", url)
        yield url


@pytest.fixture
def limiter(store):
    return rk.RateLimiter(rk.Quota(concurrency=3), name="shared", store=store)


@pytest.fixture
def terminated(script, finish, store):
    """Starts a program and sends it SIGTERM when it says that it is ready: (exit code, output, errors)."""

    def run(source, before=lambda: None):
        process = script(source)
        assert process.stdout.readline() == "ready\n", process.communicate()
        before()
        process.terminate()
        return finish(process)

    return run


@pytest.mark.parametrize("way", WAYS_TO_WAIT)
def test_sigterm_ends_a_program_as_ever_and_gives_back_at_once(terminated, limiter, way):
    def holds():
        assert limiter.status()["in_flight"] == 3

    assert terminated(HOLD + READY + WAYS_TO_WAIT[way], holds) == (-signal.SIGTERM, "", "")
    assert limiter.status()["in_flight"] == 0


def test_sigterm_gives_back_what_busy_threads_hold(terminated, limiter):
    busy = """
limiter, held = hold()
for lease in held:
    lease.settle()

def churn():
    while True:
        with limiter.acquire():
            time.sleep(0.001)

for _ in range(6):
    threading.Thread(target=churn, daemon=True).start()
time.sleep(0.1)
"""
    for _ in range(5):
        assert terminated(START + busy + READY + "time.sleep(60)")[0] == -signal.SIGTERM
        assert limiter.status()["in_flight"] == 0


def test_a_child_of_a_fork_gives_back_its_own_and_leaves_the_parents(terminated, limiter):
    source = """
limiter, held = hold()
held.pop().settle()
child = os.fork()
if child == 0:
    mine = limiter.try_acquire()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(60)
assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGTERM
assert limiter.status()["in_flight"] == 2
"""
    assert terminated(START + source + READY + "time.sleep(60)") == (-signal.SIGTERM, "", "")
    assert limiter.status()["in_flight"] == 0


HANDLERS = {
    "before the keeper": "signal.signal(signal.SIGTERM, mine)\nlimiter, held = hold()\n",
    "after the keeper": "limiter, held = hold()\nsignal.signal(signal.SIGTERM, mine)\n",
}


@pytest.mark.parametrize("when", HANDLERS)
def test_an_application_with_a_handler_of_its_own_keeps_it(terminated, limiter, when):
    source = "def mine(number, frame):\n    print('mine', flush=True)\n    sys.exit(5)\n" + HANDLERS[when]
    assert terminated(START + source + READY + "time.sleep(60)") == (5, "mine\n", "")
    assert limiter.status()["in_flight"] == 0


def test_what_ends_between_sigterm_and_a_sudden_end_is_given_back(terminated, limiter):
    source = """
ended = []
signal.signal(signal.SIGTERM, lambda *_: ended.append(True))
limiter, held = hold()
"""
    end = """
while not ended:
    time.sleep(0.01)
for lease in held:
    lease.settle()
# As uvicorn does.
signal.signal(signal.SIGTERM, signal.SIG_DFL)
signal.raise_signal(signal.SIGTERM)
"""
    assert terminated(START + source + READY + end) == (-signal.SIGTERM, "", "")
    assert limiter.status()["in_flight"] == 0


def test_who_ignores_sigterm_goes_on(script, finish, store):
    source = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nlimiter, held = hold()\n"
    source += "os.kill(os.getpid(), signal.SIGTERM)\nprint(limiter.status()['in_flight'])\n"
    assert finish(script(START + source)) == (0, "3\n", "")


def test_python_and_other_libraries_still_see_the_default(script, finish, store):
    source = (
        "limiter, held = hold()\nprint(is_caught(), signal.getsignal(signal.SIGTERM) is signal.SIG_DFL)\n"
    )
    assert finish(script(START + source)) == (0, "True True\n", "")


def test_threads_of_ours_leave_signals_to_those_of_the_application(
    script, finish, store, tmp_path, monkeypatch
):
    monkeypatch.setenv("LEDGER", str(tmp_path / "costs.db"))
    source = """
limiter, held = hold()
keeper = rk.Keeper(costs="sqlite:///" + os.environ["LEDGER"])
others = set(os.listdir("/proc/self/task")) - {str(os.getpid())}
for thread in others:
    status = dict(line.split(":", 1) for line in open(f"/proc/self/task/{thread}/status"))
    assert int(status["SigBlk"], 16) >> (signal.SIGTERM - 1) & 1, status["Name"]
# Where they start from signals are taken as before.
print(bool(others), signal.pthread_sigmask(signal.SIG_BLOCK, ()))
"""
    assert finish(script(START + source)) == (0, "True set()\n", "")


def test_a_store_that_a_thread_opened_is_left_too(terminated, limiter):
    source = """
thread = threading.Thread(target=lambda: held.append(hold()))
held = []
thread.start()
thread.join()
"""
    assert terminated(START + source + READY + "time.sleep(60)") == (-signal.SIGTERM, "", "")
    assert limiter.status()["in_flight"] == 0


def test_a_program_that_exits_can_still_be_ended(terminated, limiter):
    source = """
import atexit
atexit.register(lambda: (print("ready", flush=True), time.sleep(60)))  # called after what was registered later
limiter, held = hold()
"""
    assert terminated(START + source) == (-signal.SIGTERM, "", "")
    assert limiter.status()["in_flight"] == 0


def test_a_pool_of_processes_can_always_be_terminated(script, finish, store, limiter):
    """`Pool` terminates its workers, at whatever they are, and waits for their end."""
    source = """
import multiprocessing

def work(number):
    limiter = rk.RateLimiter(rk.Quota(concurrency=3), name="shared", store=os.environ["STORE"])
    with limiter.acquire():
        time.sleep(0.005)

for _ in range(25):
    with multiprocessing.get_context("fork").Pool(5) as pool:
        pool.map(work, range(5), chunksize=1)
"""
    assert finish(script(START + source)) == (0, "", "")
    assert limiter.status()["in_flight"] == 0


def test_the_first_process_of_a_container_goes_on_as_ever(script, finish, store):
    source = "os.getpid = lambda: 1\nlimiter, held = hold()\nprint(is_caught())"
    assert finish(script(START + source)) == (0, "False\n", "")


def test_without_a_store_no_handler_is_changed(script, finish):
    source = "limiter = rk.RateLimiter(rk.Quota(concurrency=3))\nlimiter.try_acquire()\n"
    source += "print(is_caught())\n"
    assert finish(script(START + source)) == (0, "False\n", "")


def test_it_can_be_switched_off(script, finish, store, monkeypatch):
    source = "limiter, held = hold()\nprint(is_caught())\n"
    monkeypatch.setenv("RATEKEEPER_SIGTERM", "default")
    assert finish(script(START + source)) == (0, "False\n", "")
    monkeypatch.setenv("RATEKEEPER_SIGTERM", "yes")
    code, _, errors = finish(script(START + source))
    assert code == 1
    assert "RATEKEEPER_SIGTERM must be one of give-back, default, not 'yes'" in errors


def test_a_program_that_was_killed_gives_back_nothing_yet(script, finish, store, limiter):
    process = script(HOLD + READY + "time.sleep(60)")
    assert process.stdout.readline() == "ready\n"
    process.kill()
    assert finish(process)[0] == -signal.SIGKILL
    assert limiter.status()["in_flight"] == 3
