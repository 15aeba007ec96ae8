"""What a wrapped SDK client promises beside counting: one policy, errors as they are, the user's own settings."""

import asyncio
import gc
import pickle
import sys
import threading
import time

import pytest

import ratekeeper as rk
from ratekeeper.testing import Fault, Reply

QUICK = rk.RetryPolicy(attempts=3, wait_initial=0.01, wait_max=0.02)
FAMILIES = ["openai", "azure", "anthropic"]


def http_package(client):
    """httpx or httpx2, whichever this version of the SDK is built on."""
    names = [kind.__module__.partition(".")[0] for kind in type(client._client).__mro__]
    return sys.modules[next(name for name in names if name in ("httpx", "httpx2"))]


# --- what it is -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_a_wrapped_client_is_of_its_class_and_the_original_is_as_it_was(sdk, books, family):
    with sdk(family) as client:
        before = dict(vars(client))
        wrapped = books.keeper().wrap(client)
        assert isinstance(wrapped, type(client))
        assert type(wrapped).__name__ == type(client).__name__
        assert vars(client) == before
        assert (client.max_retries, wrapped.max_retries) == (2, 0)


def test_wrapping_twice_counts_once_and_two_keepers_are_refused(sdk, books, ask):
    with sdk() as client:
        keeper = books.keeper()
        ask(keeper.wrap(keeper.wrap(client), agent="second"))
        books.agree_in_tokens(1)
        assert books.of("settled")[0].caller == "second"
        with pytest.raises(rk.ConfigError, match="already wrapped by another Keeper"):
            books.keeper().wrap(keeper.wrap(client))


def test_options_made_of_a_wrapped_client_stay_under_its_keeper_and_try_once(sdk, books, ask, provider):
    provider.set_faults(Fault(kind="server_error"))
    with sdk() as client:
        other = http_package(client).Client()
        wrapped = books.keeper().wrap(client)
        for again in (wrapped.with_options(max_retries=5, timeout=9), wrapped.copy(http_client=other)):
            assert again.max_retries == 0
            with pytest.raises(Exception, match="500"):
                ask(again)
        other.close()
    books.agree(2)


SESSIONS = {
    "realtime": lambda client: client.realtime,
    "beta.realtime": lambda client: client.beta.realtime,
    "responses.connect": lambda client: client.responses.connect(),
    "of a copy": lambda client: client.with_options(timeout=9).responses.connect(),
}


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("way", SESSIONS)
def test_sessions_over_a_websocket_are_refused_rather_than_left_ungated(way, is_async, sdk, books, run):
    client = sdk(is_async=is_async)
    with pytest.raises(rk.ConfigError, match="websocket"):
        SESSIONS[way](books.keeper().wrap(client))
    run(client.close()) if is_async else client.close()


def test_resources_are_of_their_classes_and_made_once(sdk, books):
    with sdk() as client:
        wrapped = books.keeper().wrap(client)
        assert isinstance(wrapped.responses, type(client.responses))
        assert isinstance(wrapped.beta, type(client.beta))
        assert wrapped.responses is wrapped.responses


def test_a_client_that_its_sdk_could_not_copy_is_refused(sdk, books):
    import openai

    class Tenants(openai.OpenAI):
        def __init__(self, tenant):
            super().__init__(api_key="sk-test")
            self.tenant = tenant

    with Tenants("acme") as client, pytest.raises(rk.ConfigError, match="Tenants cannot be copied"):
        books.keeper().wrap(client)


def test_a_client_without_the_seams_is_refused(books):
    from openai._base_client import SyncAPIClient

    with pytest.raises(rk.ConfigError, match="expected a client of openai 2 or 3"):
        books.keeper().wrap(SyncAPIClient.__new__(SyncAPIClient))


def test_an_audit_says_whether_a_client_is_wrapped(sdk, books):
    keeper = books.keeper()
    with sdk() as client:
        assert [row.wrapped for row in (*keeper.audit(client), *keeper.audit(keeper.wrap(client)))] == [
            False,
            True,
        ]


# --- the user's own ---------------------------------------------------------------------------------------------


def test_the_users_http_client_headers_hooks_and_timeouts_are_kept(sdk, books, ask, provider):
    with sdk() as plain:
        http = http_package(plain)
    seen = []
    mine = http.Client(
        headers={"x-team": "tides"},
        event_hooks={"request": [lambda request: seen.append(request.headers["x-team"])]},
    )
    provider.script(Reply(latency=1.0))
    with sdk(http_client=mine, timeout=0.2) as client, pytest.raises(Exception, match="timed out"):
        ask(books.keeper().wrap(client))
    assert seen == ["tides"]
    books.nothing_is_held()


def test_closing_either_closes_the_connections_of_both(sdk, books):
    client = sdk()
    wrapped = books.keeper().wrap(client)
    client.close()
    assert wrapped.is_closed()
    del wrapped


def test_a_dropped_wrap_leaves_the_connections_of_the_original_open(sdk, books, ask):
    with sdk() as client:
        ask(books.keeper().wrap(client))
        assert not client.is_closed()
        ask(client)


# --- one policy -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_a_permanent_failure_is_sent_as_often_as_the_policy_says(sdk, books, ask, provider, family):
    provider.set_faults(Fault(kind="server_error"))
    with sdk(family) as client, pytest.raises(Exception, match="500") as caught:
        ask(books.keeper(retry=QUICK).wrap(client), family)
    assert type(caught.value).__name__ == "InternalServerError"
    assert books.agree(3).statuses == {500: 3}


def test_retries_that_a_request_asks_for_are_not_made(sdk, books, provider):
    provider.set_faults(Fault(kind="server_error"))
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hi"}]}
    with sdk() as client:
        wrapped = books.keeper(retry=QUICK).wrap(client)
        with pytest.raises(Exception, match="500"):
            wrapped.post("/chat/completions", cast_to=dict, body=body, options={"max_retries": 4})
    books.agree(3)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_permanent_429_likewise_and_comes_out_as_the_sdks_with_its_headers(
    sdk, books, ask, provider, family
):
    provider.set_faults(Fault(kind="rate_limit", retry_after=0.05))
    keeper = books.keeper(retry=QUICK)
    with sdk(family) as client, pytest.raises(Exception, match="429") as caught:
        ask(keeper.wrap(client), family)
    assert type(caught.value).__name__ == "RateLimitError"
    assert float(caught.value.response.headers["retry-after"]) > 0
    assert keeper.last_error() is caught.value
    assert books.agree(3).statuses == {429: 3}


def test_what_no_wait_cures_is_sent_once(sdk, books, ask, provider):
    provider.set_faults(Fault(kind="insufficient_quota"))
    with sdk() as client, pytest.raises(Exception, match="quota"):
        ask(books.keeper(retry=QUICK).wrap(client))
    books.agree(1)


def test_a_retry_around_it_does_not_multiply(sdk, books, ask, provider):
    provider.set_faults(Fault(kind="server_error"))
    keeper = books.keeper(retry=QUICK)
    with sdk() as client:
        wrapped = keeper.wrap(client)
        with pytest.raises(Exception, match="500"):
            keeper.retry(attempts=4, wait_initial=0.01)(ask)(wrapped)
    books.agree(3)


def test_after_a_429_nobody_of_that_key_and_model_starts_before_the_time(sdk, books, provider, run, ask):
    provider.script(Reply(latency=0.1, times=None))
    keeper = books.keeper(rk.Quota(rpm=60_000), retry=rk.RetryPolicy(attempts=3))
    provider.set_faults(Fault(kind="rate_limit", retry_after=1.0, times=1))

    async def main():
        clients = [sdk(is_async=True) for _ in range(10)]
        await asyncio.gather(*(ask(keeper.wrap(client)) for client in clients))
        for client in clients:
            await client.close()

    run(main())
    arrivals = sorted(books.agree(11).arrivals())
    assert not [at for at in arrivals if arrivals[0] + 0.5 < at < arrivals[0] + 1.0]


# --- our errors -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_our_errors_come_out_as_themselves_and_pickle(sdk, books, ask, family):
    keeper = books.keeper(rk.Quota(rpm=1), timeout=0.05)
    with sdk(family) as client:
        wrapped = keeper.wrap(client)
        ask(wrapped, family)
        with pytest.raises(rk.QuotaExceededError) as caught:
            ask(wrapped, family)
    again = pickle.loads(pickle.dumps(caught.value))
    assert (type(again), again.dimension) == (rk.QuotaExceededError, "requests")
    assert books.agree(1).statuses == {200: 1}


@pytest.mark.parametrize("family", FAMILIES)
def test_so_they_do_in_a_task(sdk, books, ask, run, family):
    async def main():
        async with sdk(family, is_async=True) as client:
            wrapped = books.keeper(rk.Quota(rpm=1), timeout=0.05).wrap(client)
            await ask(wrapped, family)
            with pytest.raises(rk.QuotaExceededError):
                await ask(wrapped, family)

    if family != "azure":
        run(main())
        books.agree(1)


def test_a_job_with_no_calls_left_sends_nothing(sdk, books, ask):
    keeper = books.keeper()
    with sdk() as client:
        wrapped = keeper.wrap(client)

        @keeper.guard(calls=2)
        def job():
            for _ in range(9):
                ask(wrapped)

        with pytest.raises(rk.BudgetExceededError):
            job()
    books.agree(2)


# --- permits ----------------------------------------------------------------------------------------------------


def test_eight_threads_at_two_at_once_are_two_at_the_server(sdk, books, ask, provider):
    provider.script(Reply(latency=0.03, times=None))
    keeper = books.keeper(rk.Quota(concurrency=2))
    clients = [sdk() for _ in range(8)]
    threads = [threading.Thread(target=ask, args=(keeper.wrap(client),)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert books.agree(8).peak_concurrency == 2
    for client in clients:
        client.close()


def test_a_queued_call_that_is_cancelled_leaves_its_place_at_once(sdk, books, ask, provider, run):
    provider.script(Reply(latency=0.5, times=None))
    keeper = books.keeper(rk.Quota(concurrency=1))

    async def main():
        async with sdk(is_async=True) as client:
            wrapped = keeper.wrap(client)
            first = asyncio.create_task(ask(wrapped))
            await asyncio.sleep(0.1)
            second = asyncio.create_task(ask(wrapped))
            await asyncio.sleep(0.05)
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


def test_a_stream_that_its_consumer_leaves_gives_its_permit_back(sdk, books, ask, provider):
    provider.script(Reply(tokens=400, times=None))
    with sdk() as client:
        wrapped = books.keeper(rk.Quota(concurrency=1), timeout=5).wrap(client)
        for _ in range(3):
            stream = ask(wrapped, stream=True)
            next(iter(stream))
            stream.close()
    books.nothing_is_held()
    assert len(books.of("started")) == len(books.of("settled")) + len(books.of("failed")) == 3


def test_a_stream_that_breaks_in_the_middle_is_not_sent_again(sdk, books, ask, provider):
    provider.set_faults(Fault(kind="broken_stream", after_events=2))
    with sdk() as client:
        stream = ask(books.keeper(retry=QUICK).wrap(client), stream=True)
        with pytest.raises(Exception, match=r"peer closed|incomplete|disconnected|Connection error"):
            list(stream)
    books.agree(1)


def test_a_call_inside_the_loop_over_a_stream_is_counted_by_itself(sdk, books, ask):
    with sdk() as client:
        wrapped = books.keeper(rk.Quota(concurrency=2), timeout=5).wrap(client)
        for chunk in ask(wrapped, stream=True):
            if chunk.choices[0].finish_reason:
                ask(wrapped)
    books.agree_in_tokens(2)


def test_a_body_that_cannot_be_estimated_is_the_providers_to_judge(sdk, books, ask):
    with sdk() as client:
        ask(books.keeper().wrap(client), messages=[{"role": 5, "content": True}])
    books.agree(1)


def reading(is_async):
    """An event hook that reads the answer, as many do to log it."""

    async def aread(response):
        await response.aread()

    return aread if is_async else (lambda response: response.read())


@pytest.mark.parametrize("is_async", [False, True])
def test_a_stream_that_an_event_hook_has_read_is_settled_and_shown_as_ever(is_async, sdk, books, ask, run):
    package = http_package(client := sdk(is_async=is_async))
    http_client = (package.AsyncClient if is_async else package.Client)(
        event_hooks={"response": [reading(is_async)]}
    )
    wrapped = books.keeper(rk.Quota(concurrency=1)).wrap(client.copy(http_client=http_client))

    async def aread():
        chunks = [chunk async for chunk in await ask(wrapped, stream=True)]
        await wrapped.close()
        await client.close()
        return chunks

    chunks = run(aread()) if is_async else list(ask(wrapped, stream=True))
    assert all(chunk.choices for chunk in chunks)
    if not is_async:
        wrapped.close()
        client.close()
    books.agree_in_tokens(1)


@pytest.mark.parametrize("is_async", [False, True])
def test_a_stream_that_is_dropped_unread_gives_its_permit_back(is_async, sdk, books, ask, run):
    client = sdk(is_async=is_async)
    wrapped = books.keeper(rk.Quota(concurrency=1)).wrap(client)

    async def drop():
        await ask(wrapped, stream=True)
        gc.collect()
        books.nothing_is_held()
        await client.close()

    if is_async:
        run(drop())
    else:
        ask(wrapped, stream=True)
        gc.collect()
        client.close()
    books.agree(1)
