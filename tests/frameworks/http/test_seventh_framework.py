"""A framework that no adapter knows, Pydantic AI, by a wrapped HTTP client alone: the same figures as of the others."""

from __future__ import annotations

import asyncio
import time

import httpx
import pytest
from openai import AsyncOpenAI
from pydantic_ai import Agent
from pydantic_ai.exceptions import ModelAPIError, ModelHTTPError
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

import ratekeeper as rk
from ratekeeper import runs
from ratekeeper.testing import Fault, Reply, ToolCall

QUICK = rk.RetryPolicy(attempts=3, wait_initial=0.01, wait_max=0.02)


@pytest.fixture
def agents(books, run):
    """Makes agents on a keeper's HTTP client, as examples/seventh_framework.py does."""
    clients = []

    def make(keeper, **settings):
        http = keeper.wrap(httpx.AsyncClient())
        client = AsyncOpenAI(
            base_url=books.provider.openai_url, api_key="sk-test", http_client=http, max_retries=0
        )
        clients.append(client)
        model = OpenAIChatModel("gpt-4o-mini", provider=OpenAIProvider(openai_client=client))
        return Agent(model, **settings)

    yield make
    for client in clients:
        run(client.close())


async def ask(agent, **settings):
    return (await agent.run("What is a tide?", **settings)).output


async def streamed(agent):
    async with agent.run_stream("What is a tide?") as result:
        return "".join([text async for text in result.stream_text(delta=True)])


def test_runs_and_streams_are_settled_with_what_the_provider_counted(agents, run, books):
    agent = agents(books.keeper())
    assert run(ask(agent))
    assert run(streamed(agent))
    books.agree_in_tokens(2)


def test_eight_at_two_at_once_are_two_at_the_server(agents, run, books):
    books.provider.script(Reply(latency=0.03, times=None))
    keeper = books.keeper(rk.Quota(concurrency=2))

    async def main():
        await asyncio.gather(*(ask(agents(keeper)) for _ in range(8)))

    run(main())
    assert books.agree_in_tokens(8).peak_concurrency == 2


def test_a_permanent_429_is_sent_as_often_as_our_policy_says_and_comes_out_as_the_frameworks(
    agents, run, books
):
    books.provider.set_faults(Fault(kind="rate_limit", retry_after=0.05))
    with pytest.raises(ModelHTTPError) as caught:
        run(ask(agents(books.keeper(retry=QUICK))))
    assert caught.value.status_code == 429
    assert float(caught.value.__cause__.response.headers["retry-after"]) > 0
    assert books.agree(3).statuses == {429: 3}


def test_in_a_run_of_ours_a_frameworks_own_retries_send_nothing_more(agents, run, books):
    books.provider.set_faults(Fault(kind="server_error"))
    agent = agents(books.keeper(retry=QUICK))

    async def main():
        with runs.part_of("job 1"):
            for _ in range(4):
                with pytest.raises(ModelHTTPError):
                    await ask(agent)

    run(main())
    assert books.agree(3).statuses == {500: 3}


def test_after_a_429_nobody_of_that_key_and_model_is_sent_for_as_long_as_it_says(agents, run, books):
    books.provider.set_faults(Fault(kind="rate_limit", retry_after=3.0, times=1))
    books.provider.script(Reply(latency=0.05, times=None))
    keeper = books.keeper(rk.Quota(rpm=60_000, concurrency=2), retry=rk.RetryPolicy(attempts=3))

    async def main():
        await asyncio.gather(*(ask(agents(keeper)) for _ in range(10)))

    run(main())
    arrivals = sorted(books.agree(11).arrivals())
    assert not [at for at in arrivals if arrivals[0] + 0.3 < at < arrivals[0] + 3.0]
    assert arrivals[-1] > arrivals[0] + 3.0


def test_a_queued_run_that_is_cancelled_leaves_its_place_at_once(agents, run, books):
    books.provider.script(Reply(latency=0.5, times=None))
    keeper = books.keeper(rk.Quota(concurrency=1))
    agent = agents(keeper)

    async def main():
        first = asyncio.create_task(ask(agent))
        await asyncio.sleep(0.2)
        second = asyncio.create_task(ask(agent))
        await asyncio.sleep(0.1)
        [scope] = keeper.status()["scopes"].values()
        assert scope["waiting"] == 1
        second.cancel()
        began = time.monotonic()
        with pytest.raises(asyncio.CancelledError):
            await second
        [scope] = keeper.status()["scopes"].values()
        assert (scope["waiting"], scope["in_flight"]) == (0, 1)
        assert time.monotonic() - began < 0.1
        await first

    run(main())
    books.agree_in_tokens(1)


def test_our_errors_stand_behind_those_of_the_framework_and_nothing_is_sent_for_them(agents, run, books):
    """Pydantic AI gives OpenAI's SDK another name in its requests, so our errors are not dressed for it."""
    agent = agents(books.keeper(rk.Quota(rpm=1), timeout=0.05))
    run(ask(agent))
    with pytest.raises(ModelAPIError) as caught:
        run(ask(agent))
    assert isinstance(caught.value.__cause__.__cause__, rk.QuotaExceededError)
    books.agree(1)


def test_with_the_sdks_client_wrapped_they_come_out_as_themselves(run, books):
    client = AsyncOpenAI(base_url=books.provider.openai_url, api_key="sk-test")
    wrapped = books.keeper(rk.Quota(rpm=1), timeout=0.05).wrap(client)
    agent = Agent(OpenAIChatModel("gpt-4o-mini", provider=OpenAIProvider(openai_client=wrapped)))
    run(ask(agent))
    with pytest.raises(rk.QuotaExceededError):
        run(ask(agent))
    run(client.close())
    books.agree(1)


def test_a_tool_that_asks_a_model_does_not_wait_for_itself(agents, run, books):
    keeper = books.keeper(rk.Quota(concurrency=1))
    helper, agent = agents(keeper), agents(keeper)

    @agent.tool_plain
    async def look_up(topic: str) -> str:
        return await ask(helper)

    books.provider.script(Reply(tool_calls=[ToolCall(name="look_up", arguments={"topic": "tides"})]))
    assert run(asyncio.wait_for(ask(agent), 10))
    assert books.agree_in_tokens(3).peak_concurrency == 1


# --- the seam itself --------------------------------------------------------------------------------------------


def test_a_framework_that_takes_a_transport_only_gets_that_of_a_wrapped_client(books):
    """The page's way: a transport that hands every request to a wrapped client."""

    class Through(httpx.BaseTransport):
        def __init__(self, client: httpx.Client) -> None:
            self._client = client

        def handle_request(self, request: httpx.Request) -> httpx.Response:
            return self._client.send(request, stream=True)

    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hi."}]}
    with books.keeper().wrap(httpx.Client()) as inner, httpx.Client(transport=Through(inner)) as outer:
        url = f"{books.provider.openai_url}/chat/completions"
        answer = outer.post(url, json=body, headers={"authorization": "Bearer sk-test"})
        assert answer.json()["choices"]
    books.agree_in_tokens(1)


def test_what_asks_no_model_passes_ungated(books):
    asked = []
    transport = httpx.MockTransport(
        lambda request: asked.append(request.url.path) or httpx.Response(200, json={})
    )
    plain = httpx.Client(transport=transport)
    with books.keeper().wrap(plain) as client:
        for path in ("/v1/files", "/v1/batches", "/v1/messages/count_tokens", "/v1/messages/batches"):
            client.post(f"https://api.anthropic.com{path}", json={"model": "claude-haiku-4-5"})
        client.get("https://api.openai.com/v1/models")
    assert len(asked) == 5
    assert books.events == []
