"""Programs of several processes, the stores that they share, and the provider that counts their key."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from pages import environment_of
from server_fixtures import STORES, store_in

from ratekeeper.testing import FakeProvider

HERE = Path(__file__).parent
sys.path.append(str(HERE))

from plan import AT_ONCE, PER_SECOND, SCOPE, keeper  # noqa: E402


@pytest.fixture(scope="module", params=STORES)
def store(request, tmp_path_factory):
    """The address of a store that is empty when the module begins."""
    with store_in(tmp_path_factory.mktemp(request.param), request.param) as url:
        yield url


@pytest.fixture(scope="session")
def _counting_provider():
    quota = {"rpm": PER_SECOND, "window": 1.0, "concurrency": AT_ONCE}
    # A window of a second that turns in a second looks like a minute's that has just begun, so it is not told.
    with FakeProvider.spawn(**quota, headers=False, latency=0.1, output_tokens=4) as provider:
        yield provider


@pytest.fixture
def provider(_counting_provider):
    """A provider in a process of its own, which enforces the quota on the key, whoever calls."""
    _counting_provider.reset()
    return _counting_provider


@pytest.fixture(scope="module")
def scope(store):
    """The limiter of the scope that all processes share, as this process sees it."""
    return keeper(store).limiter(SCOPE)


class Program:
    """A command and all the processes that it starts."""

    def __init__(self, process, log):
        self.process, self._log = process, log

    @property
    def said(self):
        """What all of its processes wrote so far."""
        return self._log.read_text()

    @property
    def children(self):
        """The ids of the processes that it has started and that are there."""
        found = set()
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                state, parent = stat.read_text().rpartition(")")[2].split()[:2]
            except (FileNotFoundError, ProcessLookupError):  # gone meanwhile
                continue
            if int(parent) == self.process.pid and state != "Z":
                found.add(int(stat.parent.name))
        return found

    def signal(self, number):
        self.process.send_signal(number)


@pytest.fixture(scope="module")
def started(_counting_provider, store, tmp_path_factory):
    """Starts programs that call the provider and share the store; their groups are killed at the end."""
    folder, running = tmp_path_factory.mktemp("logs"), []

    def start(*command, **more):
        log = folder / f"log{len(running)}"
        environment = environment_of(_counting_provider) | {"STORE": store, **more}
        environment["PYTHONPATH"] += f"{os.pathsep}{HERE}"
        with log.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, "-W", "ignore", *map(str, command)],
                env=environment,
                cwd=folder,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        running.append(Program(process, log))
        return running[-1]

    yield start
    for program in running:
        with suppress(ProcessLookupError):  # all are gone
            os.killpg(program.process.pid, signal.SIGKILL)
        program.process.wait(30)


@pytest.fixture
def within_one_quota(provider):
    """Asserts that so many calls were answered, with hardly a refusal; returns the provider's report."""

    def check(calls, refused=2):
        report = provider.report()
        assert report.answered == calls
        assert report.refused <= refused
        assert report.peak_concurrency <= AT_ONCE
        return report

    return check
