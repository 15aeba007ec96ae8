"""What all framework tests share: no network, one fake provider, and books that agree with its record."""

from __future__ import annotations

import asyncio
import gc
import itertools
import os
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

import pytest

from ratekeeper import Hook, Keeper, Quota
from ratekeeper.testing import FakeProvider, Report

from .offline import guard

T = TypeVar("T")

_numbers = itertools.count()
_left_out: list[str] = []
_GREEN = (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)
_scratch = tempfile.TemporaryDirectory(prefix="ratekeeper-tests-")


def _prepare() -> None:
    """Before any framework is imported: no network, no tracing, no keys, no addresses from the machine.

    What frameworks keep on disk goes into a new folder: not into the user's, and a vocabulary that once was
    fetched to this machine is not found there.
    """
    guard.install()
    guard.clean_environment()
    # Frameworks ask for the main thread's event loop, are given a new one at the first time, and never close it.
    asyncio.set_event_loop(None)
    for name in ("CREWAI_STORAGE_DIR", "TIKTOKEN_CACHE_DIR", "HF_HOME"):
        os.environ[name] = os.path.join(_scratch.name, name.lower())


# The conftest.py of each folder, which may import its framework, comes after this one, and before any hook.
_prepare()


def pytest_unconfigure() -> None:
    """Leaves nothing behind."""
    _scratch.cleanup()


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """A module that is left out is not tested in silence."""
    _note(report)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """A test that is left out here belongs into a folder that this environment does not run."""
    _note(report)


def _note(report: pytest.CollectReport | pytest.TestReport) -> None:
    if report.skipped and not hasattr(report, "wasxfail"):
        _left_out.append(report.nodeid)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says why a session without a failed test is red."""
    for nodeid in _left_out:
        terminalreporter.write_line(f"left out: {nodeid}", red=True)
    for host in guard.refused:
        terminalreporter.write_line(f"outside of any test, somebody tried to reach {host}", red=True)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """No test may be left out, and nothing may be fetched by an import or after the last test."""
    if (_left_out or guard.refused) and session.exitstatus in _GREEN:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(autouse=True)
def _offline() -> Iterator[None]:
    """A test that tried to reach another host fails, also if a library swallowed the refusal."""
    before = len(guard.refused)
    yield
    reached = guard.refused[before:]
    del guard.refused[before:]
    assert not reached, f"tried to reach {', '.join(reached)}"


@pytest.fixture(scope="session")
def _server() -> Iterator[FakeProvider]:
    with FakeProvider(output_tokens=12) as provider:
        yield provider


@pytest.fixture
def provider(_server: FakeProvider) -> FakeProvider:
    """The fake provider, with an empty record and no faults."""
    _server.reset()
    return _server


@pytest.fixture(scope="session")
def _loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.run_until_complete(_close_http_clients())
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()


async def _close_http_clients() -> None:
    """Caches of http clients cannot be asked for them, and open connections warn at exit."""
    libraries = [sys.modules[name] for name in ("httpx", "httpx2") if name in sys.modules]
    for thing in gc.get_objects():
        if any(isinstance(thing, library.AsyncClient) for library in libraries):
            await thing.aclose()
        elif any(isinstance(thing, library.Client) for library in libraries):
            thing.close()


@pytest.fixture
def run(_loop: asyncio.AbstractEventLoop) -> Callable[[Coroutine[Any, Any, T]], T]:
    """Runs a coroutine on the session's loop: models share http clients, which live on one loop."""
    return _loop.run_until_complete


class Books(Hook):
    """What the keepers of one test reserved and settled, to be held against what the provider saw."""

    def __init__(self, provider: FakeProvider) -> None:
        self.provider = provider
        self.keepers: list[Keeper] = []
        self.events: list[tuple[str, Any]] = []

    def keeper(self, quota: Quota | None = None, **settings: Any) -> Keeper:
        """A keeper of its own name whose events are entered here; a call is sent once unless `retry` says otherwise."""
        settings.setdefault("retry", None)
        keeper = Keeper(quota or Quota(concurrency=8), name=f"test-{next(_numbers)}", hooks=self, **settings)
        self.keepers.append(keeper)
        return keeper

    def started(self, event: Any) -> None:
        self.events.append(("started", event))

    def settled(self, event: Any) -> None:
        self.events.append(("settled", event))

    def failed(self, event: Any) -> None:
        self.events.append(("failed", event))

    def refused(self, event: Any) -> None:
        self.events.append(("refused", event))

    def of(self, name: str) -> list[Any]:
        """The events of one kind, in order."""
        return [event for kind, event in self.events if kind == name]

    @property
    def usages(self) -> list[Any]:
        """What settled calls used; None for each whose usage is unknown."""
        return [event.usage for event in self.of("settled")]

    def agree(self, requests: int) -> Report:
        """So many requests were seen, each had one lease, each lease has ended once, and nothing is held."""
        report = eventually(
            self.provider.report, lambda seen: seen.requests == requests and not seen.in_flight
        )
        assert report.requests == requests
        assert len(self.of("started")) == requests
        assert len(self.of("settled")) + len(self.of("failed")) == requests
        self.nothing_is_held()
        return report

    def agree_in_tokens(self, requests: int) -> Report:
        """All of `agree`, and every call was settled with exactly the tokens that the provider counted."""
        report = self.agree(requests)
        assert None not in self.usages
        assert sum(usage.input_tokens for usage in self.usages) == report.input_tokens
        assert sum(usage.output_tokens for usage in self.usages) == report.output_tokens
        assert sum(usage.cache_read_tokens for usage in self.usages) == sum(s.cached for s in report.scopes)
        assert sum(usage.reasoning_tokens for usage in self.usages) == sum(s.reasoning for s in report.scopes)
        return report

    def nothing_is_held(self) -> None:
        """No permit is out and nobody waits, in any scope of any keeper."""
        for keeper in self.keepers:
            for name, scope in keeper.status()["scopes"].items():
                assert (name, scope["in_flight"], scope["waiting"]) == (name, 0, 0)


@pytest.fixture
def books(provider: FakeProvider) -> Books:
    """The books of this test."""
    return Books(provider)


def eventually(look: Callable[[], T], good: Callable[[T], bool], *, within: float = 10.0) -> T:
    """What `look` gives, as soon as it is good; else what it gave last."""
    deadline = time.monotonic() + within
    while not good(seen := look()) and time.monotonic() < deadline:
        time.sleep(0.005)
    return seen


@pytest.fixture(name="eventually")
def _eventually() -> Callable[..., Any]:
    return eventually


@pytest.fixture(scope="session")
def kept(_loop: asyncio.AbstractEventLoop) -> list[Any]:
    """Models of the whole session: one that goes leaves its connections open, and open connections warn."""
    return []


@pytest.fixture
def make(provider: FakeProvider, kept: list[Any]) -> Callable[..., Any]:
    """Makes a real chat model that calls the fake provider.

    Its kind is `chat`, `responses`, `azure`, `azure-responses` or `anthropic`.
    """

    def model(kind: str, **fields: Any) -> Any:
        kept.append(build(kind, fields))
        return kept[-1]

    def build(kind: str, fields: dict[str, Any]) -> Any:
        from langchain_anthropic import ChatAnthropic
        from langchain_openai import AzureChatOpenAI, ChatOpenAI

        if kind == "anthropic":
            named = {"model": "claude-haiku-4-5", "base_url": provider.anthropic_url, "max_tokens": 256}
            return ChatAnthropic(**{"api_key": "sk-test", **named, **fields})
        if kind.endswith("responses"):
            fields = {"use_responses_api": True, **fields}
        if kind.startswith("azure"):
            named = {
                "azure_endpoint": provider.azure_url,
                "azure_deployment": "mini",
                "api_version": "2025-03-01-preview",
            }
            return AzureChatOpenAI(**{"api_key": "sk-test", **named, **fields})
        named = {"model": "gpt-4o-mini", "base_url": provider.openai_url}
        return ChatOpenAI(**{"api_key": "sk-test", **named, **fields})

    return model
