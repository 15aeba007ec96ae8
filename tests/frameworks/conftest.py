"""What all framework tests share: no network, one fake provider, and books that agree with its record."""

from __future__ import annotations

import asyncio
import gc
import itertools
import os
import socket
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

import pytest

from ratekeeper import Hook, Keeper, Quota
from ratekeeper.testing import FakeProvider, Report

T = TypeVar("T")

_LOOPBACK = {"127.0.0.1", "::1", "localhost"}
_numbers = itertools.count()


def pytest_configure() -> None:
    """Before any framework is imported: no tracing, no keys, no addresses from the machine."""
    for name in list(os.environ):
        if name.startswith(("OPENAI_", "AZURE_OPENAI_", "ANTHROPIC_", "LANGSMITH_", "LANGCHAIN_")):
            del os.environ[name]
    os.environ["LANGSMITH_TRACING"] = "false"


@pytest.fixture(scope="session", autouse=True)
def _offline() -> Iterator[None]:
    """Any connection that would leave the machine is an error."""
    connect = socket.socket.connect

    def loopback_only(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in _LOOPBACK:
            raise AssertionError(f"a test tried to reach {address[0]}")
        connect(self, address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", loopback_only)
        yield


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
    """LangChain's caches of http clients cannot be asked for them, and open connections warn at exit."""
    import httpx2

    for thing in gc.get_objects():
        if isinstance(thing, httpx2.AsyncClient):
            await thing.aclose()
        elif isinstance(thing, httpx2.Client):
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
def _kept(_loop: asyncio.AbstractEventLoop) -> list[Any]:
    """Models of the whole session: one that goes leaves its connections open, and open connections warn."""
    return []


@pytest.fixture
def make(provider: FakeProvider, _kept: list[Any]) -> Callable[..., Any]:
    """Makes a real chat model that calls the fake provider.

    Its kind is `chat`, `responses`, `azure`, `azure-responses` or `anthropic`.
    """

    def model(kind: str, **fields: Any) -> Any:
        _kept.append(build(kind, fields))
        return _kept[-1]

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
