"""LiteLLM's Router under a keeper: every deployment gated, nothing sent twice, fallbacks between quotas left alone."""

from __future__ import annotations

import asyncio
import json
import threading
import time

import litellm
import pytest

import ratekeeper as rk
from ratekeeper.adapters.litellm.router import _asking_methods
from ratekeeper.testing import Fault, Reply

MESSAGES = [{"role": "user", "content": "Say hello to everybody."}]
QUICK = rk.RetryPolicy(attempts=3, wait_initial=0.01, wait_max=0.02)
FORMS = ["sync", "async", "stream", "astream"]
every_form = pytest.mark.parametrize("form", FORMS)
#: All the ways to tell a Router to try again.
PERSISTENT = {
    "num_retries": 3,
    "retry_policy": litellm.RetryPolicy(RateLimitErrorRetries=2, InternalServerErrorRetries=2),
    "model_group_retry_policy": {"a": litellm.RetryPolicy(RateLimitErrorRetries=2)},
}


@pytest.fixture
def router(deployment):
    """Makes Routers, by default of two groups with a deployment each; they leave no callbacks behind."""
    made = []

    def make(*deployments, **settings):
        found = list(deployments) or [deployment("a"), deployment("b", "anthropic")]
        made.append(litellm.Router(model_list=found, **settings))
        return made[-1]

    yield make
    for one in made:
        one.discard()


@every_form
def test_each_form_has_one_lease_and_is_settled_with_what_the_provider_counted(form, router, forms, books):
    llm = books.keeper().wrap(router())
    for group in ("a", "b"):
        assert forms[form](llm, model=group)
    books.agree_in_tokens(2)
    assert len(books.keepers[0].status()["scopes"]) == 2


def test_embeddings_texts_responses_free_and_chat_completions_are_gated(router, deployment, run, books):
    vectors = deployment("v", model="openai/text-embedding-3-small")
    vectors["litellm_params"].pop("max_tokens")
    llm = books.keeper().wrap(router(deployment("a"), vectors))
    assert llm.embedding(model="v", input=["one"]).data
    assert run(llm.aembedding(model="v", input=["one"])).data
    assert run(llm.atext_completion(model="a", prompt="Say hello.")).choices
    assert llm.chat.completions.create(model="a", messages=MESSAGES).choices
    books.agree_in_tokens(4)


def test_a_wrapped_router_is_of_its_class_and_the_original_is_as_it_was(router, books):
    original = router(num_retries=3)
    before = dict(original.__dict__)
    keeper = books.keeper()
    wrapped = keeper.wrap(original)
    assert isinstance(wrapped, litellm.Router)
    assert type(wrapped).__name__ == "Router"
    assert original.__dict__ == before
    assert original.num_retries == 3
    assert original.completion(model="a", messages=MESSAGES).choices
    assert (books.provider.report().requests, books.events) == (1, [])


def test_wrapping_twice_with_one_keeper_is_once_and_with_another_an_error(router, books):
    keeper = books.keeper()
    wrapped = keeper.wrap(keeper.wrap(router()), agent="again")
    wrapped.completion(model="a", messages=MESSAGES)
    books.agree_in_tokens(1)
    with pytest.raises(rk.ConfigError, match="already wrapped by another Keeper"):
        books.keeper().wrap(wrapped)


def test_an_audit_names_each_deployment(router, books):
    keeper = books.keeper()
    plain = router()
    rows = keeper.audit(plain)
    assert [(row.where, row.model, row.wrapped) for row in rows] == [
        ("model_list[0]", "openai/gpt-4o-mini", False),
        ("model_list[1]", "anthropic/claude-haiku-4-5", False),
    ]
    assert all(row.wrapped for row in keeper.audit(keeper.wrap(plain)))


# --- one policy -------------------------------------------------------------------------------------------------


@every_form
def test_a_permanent_429_is_sent_as_often_as_our_policy_says_to_each_deployment_that_is_tried(
    form, router, deployment, forms, books
):
    books.provider.set_faults(Fault(kind="rate_limit", retry_after=0.05))
    made = router(
        deployment("a", num_retries=2), deployment("b", "anthropic"), fallbacks=[{"a": ["b"]}], **PERSISTENT
    )
    with pytest.raises(litellm.RateLimitError):
        forms[form](books.keeper(retry=QUICK).wrap(made), model="a", num_retries=2)
    report = books.agree(6)
    assert len(report.arrivals("gpt-4o-mini")) == len(report.arrivals("claude-haiku-4-5")) == 3


@every_form
def test_a_fallback_to_another_quota_works_once_the_first_has_been_given_up(form, router, forms, books):
    books.provider.set_faults(Fault(kind="server_error", model="gpt-4o-mini"))
    llm = books.keeper(retry=QUICK).wrap(router(fallbacks=[{"a": ["b"]}]))
    assert forms[form](llm, model="a")
    assert books.agree(4).statuses == {500: 3, 200: 1}


@every_form
def test_what_we_refuse_is_neither_cooled_down_nor_failed_over(form, router, forms, run, books):
    keeper = books.keeper(rk.Quota(rpm=1), timeout=0.05, retry=QUICK)
    made = router(fallbacks=[{"a": ["b"]}], num_retries=2)
    llm = keeper.wrap(made)
    forms[form](llm, model="a")
    with pytest.raises(rk.QuotaExceededError):
        forms[form](llm, model="a")
    books.agree(1)
    ids = made.get_model_ids()
    assert run(made.cooldown_cache.async_get_active_cooldowns(model_ids=ids, parent_otel_span=None)) == []


@pytest.mark.parametrize("form", ["sync", "async"])
def test_what_we_refuse_of_a_fallback_ends_the_walk(form, router, deployment, forms, books):
    """The provider fails the first group, we refuse the second, the third would bill."""
    books.provider.set_faults(Fault(kind="server_error", model="gpt-4o-mini"))
    third = deployment("c", model="openai/gpt-4.1")
    made = router(deployment("a"), deployment("b", "anthropic"), third, fallbacks=[{"a": ["b", "c"]}])
    llm = books.keeper(quotas={"anthropic/*": rk.Quota(rpm=1)}, timeout=0.05).wrap(made)
    forms[form](llm, model="b")
    with pytest.raises(rk.QuotaExceededError):
        forms[form](llm, model="a")
    assert books.agree(2).arrivals("gpt-4.1") == []


# --- permits ----------------------------------------------------------------------------------------------------


def test_eight_at_two_at_once_are_two_at_the_server(router, run, books):
    books.provider.script(Reply(latency=0.03, times=None))
    llm = books.keeper(rk.Quota(concurrency=2)).wrap(router())

    async def main():
        await asyncio.gather(*(llm.acompletion(model="a", messages=MESSAGES) for _ in range(8)))

    run(main())
    assert books.agree_in_tokens(8).peak_concurrency == 2


def test_eight_threads_likewise_though_a_router_runs_them_on_event_loops(router, books):
    books.provider.script(Reply(latency=0.03, times=None))
    llm = books.keeper(rk.Quota(concurrency=2)).wrap(router())
    call = {"model": "a", "messages": MESSAGES}
    threads = [threading.Thread(target=llm.completion, kwargs=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert books.agree_in_tokens(8).peak_concurrency == 2


def test_after_a_429_nobody_of_that_deployment_is_sent_for_as_long_as_it_says(router, run, books):
    books.provider.set_faults(Fault(kind="rate_limit", retry_after=3.0, times=1))
    keeper = books.keeper(rk.Quota(rpm=60_000, concurrency=1), retry=rk.RetryPolicy(attempts=3))
    llm = keeper.wrap(router())

    async def main():
        await asyncio.gather(*(llm.acompletion(model="a", messages=MESSAGES) for _ in range(10)))

    run(main())
    refused, *others = books.agree(11).arrivals()
    assert min(others) - refused >= 3


def test_a_queued_call_that_is_cancelled_leaves_its_place_at_once(router, run, books):
    books.provider.script(Reply(latency=1.0, times=None))
    keeper = books.keeper(rk.Quota(concurrency=1))
    llm = keeper.wrap(router())

    async def until(name, number):
        for _ in range(5000):
            if sum(scope[name] for scope in keeper.status()["scopes"].values()) == number:
                return
            await asyncio.sleep(0.001)

    async def main():
        first = asyncio.create_task(llm.acompletion(model="a", messages=MESSAGES))
        await until("in_flight", 1)
        second = asyncio.create_task(llm.acompletion(model="a", messages=MESSAGES))
        await until("waiting", 1)
        began = time.monotonic()
        second.cancel()
        await until("waiting", 0)
        freed = time.monotonic() - began
        await asyncio.gather(second, return_exceptions=True)
        assert second.cancelled()
        await first
        return freed

    assert run(main()) < 0.1
    books.agree_in_tokens(1)


def test_a_blocking_call_that_would_stop_an_event_loop_says_so(router, run, books):
    llm = books.keeper(rk.Quota(concurrency=1)).wrap(router())

    async def main():
        stream = await llm.acompletion(model="a", messages=MESSAGES, stream=True)
        await anext(stream)
        with pytest.raises(rk.EventLoopBlockedError):
            llm.completion(model="a", messages=MESSAGES)
        await stream.aclose()

    run(main())
    books.agree(1)


@pytest.mark.parametrize("form", ["sync", "async"])
def test_the_tags_of_the_caller_are_those_of_the_call(form, router, forms, books):
    llm = books.keeper().wrap(router())
    with rk.tags(agent="writer"):
        forms[form](llm, model="a")
    assert [event.caller for event in books.of("settled")] == ["writer"]


def test_a_stream_that_its_consumer_leaves_gives_its_permit_back(router, run, books, eventually):
    keeper = books.keeper(rk.Quota(concurrency=1))
    llm = keeper.wrap(router())
    stream = llm.completion(model="a", messages=MESSAGES, stream=True)
    next(stream)
    del stream
    eventually(keeper.status, lambda seen: not next(iter(seen["scopes"].values()))["in_flight"])
    books.nothing_is_held()

    async def main():
        left = await llm.acompletion(model="a", messages=MESSAGES, stream=True)
        async for _ in left:
            break
        await left.aclose()

    run(main())
    books.agree(2)


# --- the seams --------------------------------------------------------------------------------------------------


def test_the_methods_that_ask_a_model_are_found_and_what_cannot_be_gated_is_refused(router, run, books):
    assert {"_completion", "_acompletion", "_embedding", "_aembedding", "_atext_completion"} < set(
        _asking_methods(litellm.Router)
    )
    llm = books.keeper().wrap(router())
    with pytest.raises(rk.ConfigError, match="anthropic_messages"):
        run(llm.aanthropic_messages(model="b", messages=MESSAGES, max_tokens=9))
    books.agree(0)


def test_a_router_that_asks_in_another_way_is_refused(router, books, monkeypatch):
    async def _acompletion(self, model, messages, **kwargs):
        """Asks nobody that could be gated."""

    made = router()
    kind = type("Router", (litellm.Router,), {"_acompletion": _acompletion})
    made.__class__ = kind
    with pytest.raises(rk.ConfigError, match="no _acompletion to gate: expected the Router of litellm"):
        books.keeper().wrap(made)


def test_deployments_that_choose_a_model_are_refused(router, books):
    made = router()
    made.complexity_routers = {"a": [object()]}
    with pytest.raises(rk.ConfigError, match="complexity_routers"):
        books.keeper().wrap(made)


def test_keys_of_deployments_are_not_told(router, books):
    llm = books.keeper().wrap(router())
    llm.completion(model="a", messages=MESSAGES)
    assert "sk-test" not in json.dumps(books.keepers[0].status()) + repr(books.keepers[0].audit(llm))
