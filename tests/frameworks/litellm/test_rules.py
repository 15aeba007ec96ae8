"""LiteLLM's functions under a keeper: one policy, permits, our errors, and LiteLLM's own retries and fallbacks."""

from __future__ import annotations

import asyncio
import json
import threading
import time

import httpx
import litellm
import openai
import pytest

import ratekeeper as rk
from ratekeeper.testing import Fault, Reply

MESSAGES = [{"role": "user", "content": "Say hello to everybody."}]
QUICK = rk.RetryPolicy(attempts=3, wait_initial=0.01, wait_max=0.02)
ROUTES = ["openai", "anthropic", "compatible"]
FORMS = ["sync", "async", "stream", "astream"]
every_route = pytest.mark.parametrize("name", ROUTES)
every_form = pytest.mark.parametrize("form", FORMS)
#: All the ways to tell LiteLLM to try again.
PERSISTENT = {
    "num_retries": 2,
    "max_retries": 2,
    "retry_policy": litellm.RetryPolicy(RateLimitErrorRetries=2),
}


# --- one policy -------------------------------------------------------------------------------------------------


@every_route
@every_form
def test_a_permanent_429_is_sent_as_often_as_our_policy_says_whatever_litellm_is_told(
    name, form, route, forms, books
):
    litellm.num_retries = 3  # set back by `_globals`
    books.provider.set_faults(Fault(kind="rate_limit", retry_after=0.05))
    llm = books.keeper(retry=QUICK).litellm()
    with pytest.raises(litellm.RateLimitError) as caught:
        forms[form](llm, **route(name), **PERSISTENT)
    assert float(caught.value.litellm_response_headers["retry-after"]) > 0
    assert books.agree(3).statuses == {429: 3}


@pytest.mark.parametrize("name", ["openai", "compatible"])
def test_embeddings_which_litellm_retries_by_default_are_no_exception(name, route, run, books):
    books.provider.set_faults(Fault(kind="server_error"))
    llm = books.keeper(retry=QUICK).litellm()
    asked = route(name)
    asked.pop("max_tokens")
    asked["model"] = asked["model"].replace("gpt-4o-mini", "text-embedding-3-small")
    with pytest.raises(litellm.InternalServerError):
        llm.embedding(input=["one"], **asked, num_retries=2)
    with pytest.raises(litellm.InternalServerError):
        run(llm.aembedding(input=["one"], **asked, max_retries=2))
    assert books.agree(6).statuses == {500: 6}


@every_form
def test_what_passes_is_tried_again_and_gives_one_answer(form, route, forms, books):
    books.provider.set_faults(Fault(kind="server_error", times=2))
    assert forms[form](books.keeper(retry=QUICK).litellm(), **route("anthropic"))
    assert books.agree(3).statuses == {500: 2, 200: 1}


def test_without_a_policy_one_request_is_all(route, forms, books, monkeypatch):
    monkeypatch.setattr(litellm, "num_retries", 3)
    books.provider.set_faults(Fault(kind="overloaded"))
    with pytest.raises(litellm.InternalServerError):
        forms["sync"](books.keeper().litellm(), **route("anthropic"))
    books.agree(1)


def test_after_a_429_nobody_of_that_key_and_model_is_sent_for_as_long_as_it_says(route, run, books):
    books.provider.set_faults(Fault(kind="rate_limit", retry_after=3.0, times=1))
    books.provider.script(Reply(latency=0.05, times=None))
    llm = books.keeper(rk.Quota(rpm=60_000, concurrency=2), retry=rk.RetryPolicy(attempts=3)).litellm()

    async def main():
        await asyncio.gather(*(llm.acompletion(messages=MESSAGES, **route("openai")) for _ in range(10)))

    run(main())
    arrivals = sorted(books.agree(11).arrivals())
    assert not [at for at in arrivals if arrivals[0] + 0.3 < at < arrivals[0] + 3.0]
    assert arrivals[-1] > arrivals[0] + 3.0


# --- fallbacks --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["sync", "async"])
def test_a_fallback_is_another_gated_call_once_the_first_has_been_given_up(form, route, forms, books):
    books.provider.set_faults(Fault(kind="server_error", model="gpt-4o-mini"))
    other = route("anthropic")
    llm = books.keeper(retry=QUICK).litellm()
    assert forms[form](llm, fallbacks=[other], **route("openai"))
    assert books.agree(4).statuses == {500: 3, 200: 1}
    assert len(books.keepers[0].status()["scopes"]) == 2


@pytest.mark.parametrize("form", ["sync", "async"])
def test_if_all_fail_the_last_ones_own_exception_comes_out(form, route, forms, books):
    books.provider.set_faults(
        Fault(kind="server_error", model="gpt-4o-mini"), Fault(kind="insufficient_quota")
    )
    with pytest.raises(litellm.RateLimitError) as caught:
        forms[form](books.keeper().litellm(), fallbacks=[route("anthropic")], **route("openai"))
    assert "claude-haiku-4-5" in caught.value.model
    books.agree(2)


@pytest.mark.parametrize("form", ["sync", "async"])
def test_what_we_refuse_goes_to_no_fallback(form, route, forms, books):
    keeper = books.keeper(rk.Quota(rpm=1), timeout=0.05)
    llm = keeper.litellm()
    forms[form](llm, **route("openai"))
    with pytest.raises(rk.QuotaExceededError):
        forms[form](llm, fallbacks=[route("anthropic")], **route("openai"))
    books.agree(1)


class TooShort(httpx.HTTPTransport):
    """A way to the provider on which one model says that a request is too long for it."""

    def handle_request(self, request):
        if json.loads(request.content)["model"] != "gpt-4o-mini":
            return super().handle_request(request)
        message = "This model's maximum context length is 10 tokens."
        error = {"message": message, "code": "context_length_exceeded", "type": "invalid_request_error"}
        return httpx.Response(400, json={"error": error}, request=request)


def test_what_is_too_long_goes_to_the_longer_model_through_the_gate(route, books):
    asked = route("openai")
    http = httpx.Client(transport=TooShort())
    with openai.OpenAI(base_url=asked["api_base"], api_key="sk-test", http_client=http) as client:
        llm = books.keeper().litellm()
        longer = {asked["model"]: "openai/gpt-4.1"}
        answer = llm.completion(
            messages=MESSAGES, client=client, context_window_fallback_dict=longer, **asked
        )
        assert answer.choices
        assert books.provider.report().requests == len(books.of("settled")) == 1
        with pytest.raises(litellm.ContextWindowExceededError):
            llm.completion(messages=MESSAGES, client=client, **asked)
    assert len(books.of("failed")) == 2
    books.nothing_is_held()


def test_fallbacks_in_litellms_globals_and_lists_of_models_are_refused(route, forms, books, monkeypatch):
    llm = books.keeper().litellm()
    with pytest.raises(rk.ConfigError, match="model_list"):
        forms["sync"](llm, model_list=[{"model_name": "x", "litellm_params": {}}], **route("openai"))
    monkeypatch.setattr(litellm, "model_fallbacks", ["openai/gpt-4.1"])
    with pytest.raises(rk.ConfigError, match="model_fallbacks"):
        forms["sync"](llm, **route("openai"))
    books.agree(0)


# --- our errors -------------------------------------------------------------------------------------------------


@every_form
def test_our_errors_come_out_as_themselves(form, route, forms, books):
    llm = books.keeper(rk.Quota(rpm=1), timeout=0.05).litellm()
    forms[form](llm, **route("openai"))
    with pytest.raises(rk.QuotaExceededError) as caught:
        forms[form](llm, num_retries=3, **route("openai"))
    assert caught.value.dimension == "requests"
    books.agree(1)


def test_a_blocking_call_that_would_stop_an_event_loop_says_so(route, run, books):
    llm = books.keeper(rk.Quota(concurrency=1)).litellm()

    async def main():
        stream = await llm.acompletion(messages=MESSAGES, stream=True, **route("openai"))
        with pytest.raises(rk.EventLoopBlockedError):
            llm.completion(messages=MESSAGES, **route("openai"))
        await stream.aclose()

    run(main())
    books.agree(1)


# --- permits ----------------------------------------------------------------------------------------------------


@every_route
def test_eight_at_two_at_once_are_two_at_the_server(name, route, run, books):
    books.provider.script(Reply(latency=0.03, times=None))
    llm = books.keeper(rk.Quota(concurrency=2)).litellm()

    async def main():
        await asyncio.gather(*(llm.acompletion(messages=MESSAGES, **route(name)) for _ in range(8)))

    run(main())
    assert books.agree_in_tokens(8).peak_concurrency == 2


def test_eight_threads_likewise(route, books):
    books.provider.script(Reply(latency=0.03, times=None))
    llm = books.keeper(rk.Quota(concurrency=2)).litellm()
    call = {"messages": MESSAGES, **route("openai")}
    threads = [threading.Thread(target=llm.completion, kwargs=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert books.agree_in_tokens(8).peak_concurrency == 2


def test_a_queued_call_that_is_cancelled_leaves_its_place_at_once(route, run, books):
    books.provider.script(Reply(latency=0.5, times=None))
    keeper = books.keeper(rk.Quota(concurrency=1))
    llm = keeper.litellm()

    async def main():
        first = asyncio.create_task(llm.acompletion(messages=MESSAGES, **route("openai")))
        await asyncio.sleep(0.1)
        second = asyncio.create_task(llm.acompletion(messages=MESSAGES, **route("openai")))
        await asyncio.sleep(0.05)
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


@every_route
def test_a_stream_that_its_consumer_leaves_gives_its_permit_back(name, route, run, books, eventually):
    keeper = books.keeper(rk.Quota(concurrency=1))
    llm = keeper.litellm()
    stream = llm.completion(messages=MESSAGES, stream=True, **route(name))
    for _ in stream:
        break
    [scope] = keeper.status()["scopes"].values()
    assert scope["in_flight"] == 1
    del stream, _
    eventually(books.keepers[0].status, lambda seen: not next(iter(seen["scopes"].values()))["in_flight"])
    books.nothing_is_held()

    async def main():
        left = await llm.acompletion(messages=MESSAGES, stream=True, **route(name))
        async for _ in left:
            break
        await left.aclose()

    run(main())
    books.agree(2)
    assert books.usages == [None, None]


def test_a_stream_can_be_closed(route, books):
    llm = books.keeper(rk.Quota(concurrency=1)).litellm()
    stream = llm.completion(messages=MESSAGES, stream=True, **route("openai"))
    next(stream)
    stream.close()
    books.agree(1)


@pytest.mark.parametrize("form", ["stream", "astream"])
def test_a_stream_that_breaks_off_is_a_failed_call_and_is_not_sent_again(form, route, forms, books):
    books.provider.set_faults(Fault(kind="broken_stream"))
    with pytest.raises(litellm.exceptions.MidStreamFallbackError):
        forms[form](books.keeper(retry=QUICK).litellm(), **route("openai"))
    books.agree(1)


# --- whose quota ------------------------------------------------------------------------------------------------


@pytest.fixture
def scope_of(books, monkeypatch):
    from ratekeeper.adapters.litellm.identify import read_call

    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "AZURE_API_BASE", "AWS_ACCESS_KEY_ID", "GROQ_API_KEY"):
        monkeypatch.delenv(name, raising=False)

    def scope(**given):
        asked = read_call(given)
        return f"{asked.provider}/{asked.account}/{asked.request.model}"

    return scope


def test_the_scope_is_that_of_the_same_call_by_other_ways(scope_of, monkeypatch):
    key = rk.providers.fingerprint("sk-1")
    assert scope_of(model="gpt-4o", api_key="sk-1") == f"openai/{key}/gpt-4o"
    assert scope_of(model="openai/responses/gpt-4o", api_key="sk-1") == f"openai/{key}/gpt-4o"
    monkeypatch.setenv("OPENAI_API_KEY", "sk-1")
    assert scope_of(model="openai/gpt-4o") == f"openai/{key}/gpt-4o"
    monkeypatch.setenv("GROQ_API_KEY", "sk-1")
    assert scope_of(model="groq/llama-3.3-70b") == f"groq/{key}/llama-3.3-70b"
    local = scope_of(model="hosted_vllm/qwen", api_base="http://gpu:8000/v1", api_key="sk-1")
    assert local == f"openai/{key}@gpu:8000/qwen"
    azure = scope_of(model="azure/mini", api_base="https://ours.openai.azure.com", api_key="sk-1")
    assert azure == "azure/ours.openai.azure.com/mini"
    assert scope_of(model="gemini/gemini-2.5-flash", api_key="sk-1") == f"gemini/{key}/gemini-2.5-flash"
    cloud = scope_of(
        model="bedrock/amazon.nova-lite-v1:0", aws_access_key_id="sk-1", aws_region_name="eu-west-1"
    )
    assert cloud == f"bedrock/{key}@bedrock-runtime.eu-west-1.amazonaws.com/amazon.nova-lite-v1:0"


def test_a_model_that_litellm_does_not_know_is_refused_as_litellm_does(books):
    with pytest.raises(litellm.BadRequestError, match="LLM Provider NOT provided"):
        books.keeper().litellm().completion(model="nobodys-model", messages=MESSAGES)
    books.agree(0)


def test_no_key_is_in_sight(route, books, caplog):
    llm = books.keeper().litellm()
    llm.completion(messages=MESSAGES, **route("openai"))
    assert "sk-test" not in repr(llm) + str(books.keepers[0].status()) + caplog.text
