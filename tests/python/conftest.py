"""What the tests of the core share: a virtual clock, a stage for calls that wait, and scripts run by themselves.

Owns no rule of its own: what is right is said in the tests.
"""

import asyncio
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from server_fixtures import _standing_server, servers, standing_server  # noqa: F401

import ratekeeper as rk

PACKAGE = Path(rk.__file__).parents[1]
#: Longer than anything takes on a busy machine; reached only by what hangs.
PATIENCE = 30.0


class Stage:
    """An event loop that is stepped by hand, so that a test in plain code can look between two steps."""

    def __init__(self, clock):
        self.clock = clock
        self.loop = asyncio.new_event_loop()
        self.log = []

    def ask(self, limiter, name=None, **amounts):
        """A task that waits for a lease and gives it; its name goes to the log when it starts."""
        lease = limiter.acquire(**amounts)

        async def call():
            await lease
            self.log.append(name)
            return lease

        task = self.loop.create_task(call())
        self.step()
        return task

    def step(self):
        """Lets the loop do all that is due."""

        async def breathe():
            for _ in range(4):
                await asyncio.sleep(0)

        self.loop.run_until_complete(breathe())

    def advance(self, seconds):
        self.clock.advance(seconds)
        self.step()

    def cancel(self, task):
        task.cancel()
        self.step()

    def strike(self):
        """Cancels what still waits, and closes the loop."""
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        self.step()
        self.loop.close()


@pytest.fixture
def clock():
    return rk.ManualClock()


@pytest.fixture
def stage(clock):
    stage = Stage(clock)
    yield stage
    stage.strike()


@pytest.fixture(scope="session")
def make_stage():
    """Stages for tests that need one for each example."""
    return lambda: Stage(rk.ManualClock())


@pytest.fixture
def eventually():
    """Waits until a condition holds, for what other threads have to do first."""

    def wait(condition):
        end = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < end, "this should have come true long ago"
            time.sleep(0.001)

    return wait


@pytest.fixture
def threads():
    """Starts threads, joins them all at the end, and lets what failed in one fail the test."""
    started, failures = [], []

    def start(function, *args):
        def run():
            try:
                function(*args)
            except BaseException as failure:  # noqa: BLE001 (raised again below)
                failures.append(failure)

        thread = threading.Thread(target=run, daemon=True)
        started.append(thread)
        thread.start()
        return thread

    yield start
    for thread in started:
        thread.join(PATIENCE)
    assert not any(thread.is_alive() for thread in started), "a thread hangs"
    if failures:
        raise failures[0]


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request):
    """Runs a coroutine to its end on a new event loop of either kind."""
    if request.param == "asyncio":
        return asyncio.run
    uvloop = pytest.importorskip("uvloop")

    def run_on_uvloop(main):
        loop = uvloop.new_event_loop()
        try:
            return loop.run_until_complete(asyncio.wait_for(main, PATIENCE))
        finally:
            loop.close()

    return run_on_uvloop


#: A process that was started in the background of a shell without job control ignores interrupts, and so do its children.
HEEDS_INTERRUPTS = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"


@pytest.fixture
def script():
    """Starts a Python program in a process of its own, with the package under test."""
    started = []

    def start(source):
        path = os.pathsep.join(filter(None, [str(PACKAGE), os.environ.get("PYTHONPATH")]))
        process = subprocess.Popen(
            [sys.executable, "-c", HEEDS_INTERRUPTS + source],
            env={**os.environ, "PYTHONPATH": path},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def finish():
    """Waits for a script to end, and gives (exit code, standard output, standard error)."""

    def wait(process):
        output, errors = process.communicate(timeout=PATIENCE)
        return process.returncode, output, errors

    return wait
