"""CrewAI's LLMs under a keeper, for every provider that it has a class for: calls, streams, retries, errors."""

from __future__ import annotations

import copy
import pickle

import pytest
from crewai.llms.base_llm import BaseLLM

import ratekeeper as rk
from ratekeeper.testing import Fault, Reply

KINDS = (
    "openai",
    "responses",
    "compatible",
    "anthropic",
    "gemini",
    "azure",
    "deployment",
    "bedrock",
    "litellm",
)
NATIVE = tuple(kind for kind in KINDS if kind != "litellm")
#: google-genai's own: it inherits from aiohttp's session.
pytestmark = pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning")

every_kind = pytest.mark.parametrize("kind", KINDS)
FAST = rk.RetryPolicy(attempts=3, wait_initial=0.01, wait_max=0.02)


@every_kind
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_each_call_is_one_request_one_lease_and_the_servers_own_count(kind, stream, llm, books, run):
    wrapped = books.keeper().wrap(llm(kind, stream=stream))
    assert wrapped.call("Hello")
    assert run(wrapped.acall("Hello there"))
    books.agree_in_tokens(2)


@pytest.mark.parametrize("kind", NATIVE)
def test_structured_answers_are_gated_too(kind, llm, books, city):
    wrapped = books.keeper().wrap(llm(kind))
    wrapped.call("Hello", response_model=city)
    books.agree_in_tokens(1)


@every_kind
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_permanent_429_is_sent_as_often_as_the_policy_says(kind, stream, llm, books, provider):
    provider.set_faults(Fault(kind="rate_limit", retry_after=0.05))
    wrapped = books.keeper(retry=FAST).wrap(llm(kind, stream=stream))
    with pytest.raises(Exception, match=r"(?i)429|rate|throttl|exhausted") as caught:
        wrapped.call("Hello")
    assert not isinstance(caught.value, rk.RatekeeperError)
    assert books.agree(3).statuses == {429: 3}


@every_kind
def test_a_429_that_passes_is_not_seen(kind, llm, books, provider, run):
    provider.set_faults(Fault(kind="rate_limit", retry_after=0.05, times=2))
    wrapped = books.keeper(retry=FAST).wrap(llm(kind))
    assert run(wrapped.acall("Hello"))
    assert books.agree(3).statuses == {429: 2, 200: 1}


@every_kind
@pytest.mark.parametrize("way", ["call", "acall"])
def test_our_own_refusal_comes_out_as_itself(*, kind, way, llm, books, provider, run):
    keeper = books.keeper(rk.Quota(rk.Limit("requests", 1, per=3600)), headroom=0)
    wrapped = keeper.wrap(llm(kind), timeout=0.05)
    assert wrapped.call("Hello")
    with pytest.raises(rk.QuotaExceededError, match="requests") as caught:
        run(wrapped.acall("Hello")) if way == "acall" else wrapped.call("Hello")
    assert caught.value.dimension == "requests"
    assert type(pickle.loads(pickle.dumps(caught.value))) is rk.QuotaExceededError
    assert provider.report().requests == 1


@every_kind
def test_the_providers_exception_stays_reachable_with_its_headers(kind, llm, books, provider):
    provider.set_faults(Fault(kind="rate_limit", retry_after=0.05))
    keeper = books.keeper(retry=FAST)
    with pytest.raises(Exception, match=r"(?i)429|rate|throttl|exhausted"):
        keeper.wrap(llm(kind)).call("Hello")
    shown = keeper.last_error()
    assert shown is not None
    module = type(shown).__module__.partition(".")[0]
    expected = {"anthropic": "anthropic", "gemini": "google", "azure": "azure", "deployment": "azure"}
    assert module == {**expected, "bedrock": "botocore", "litellm": "litellm"}.get(kind, "openai")


@every_kind
def test_a_wrapped_llm_is_of_its_own_class_and_the_original_is_untouched(kind, llm, books, provider):
    original = llm(kind)
    fields, private = dict(original.__dict__), dict(original.__pydantic_private__)
    wrapped = books.keeper().wrap(original)
    assert isinstance(wrapped, type(original))
    assert type(wrapped).__name__ == type(original).__name__
    assert original.__dict__ == fields
    assert all(original.__pydantic_private__[name] is value for name, value in private.items())
    assert original.call("Hello")
    assert (provider.report().requests, books.events) == (1, [])


@every_kind
def test_wrapping_twice_is_wrapping_once(kind, llm, books):
    keeper = books.keeper()
    wrapped = keeper.wrap(keeper.wrap(llm(kind)))
    assert wrapped.call("Hello")
    books.agree(1)
    with pytest.raises(rk.ConfigError, match="already wrapped by another Keeper"):
        books.keeper().wrap(wrapped)


@every_kind
@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda llm: llm.model_copy()])
def test_copies_stay_wrapped_on_the_same_quota(kind, copied, llm, books):
    keeper = books.keeper()
    twin = copied(keeper.wrap(llm(kind)))
    twin.stream = False
    assert twin.call("Hello")
    books.agree(1)
    assert len(keeper.status()["scopes"]) == 1


@pytest.mark.parametrize("kind", ["openai", "anthropic", "gemini", "azure"])
def test_clients_that_are_built_at_the_first_call_are_caught(
    *, kind, llm, books, monkeypatch, run, provider, kept
):
    """Without a key (or Azure's endpoint) at first CrewAI builds them later, from the environment."""
    late = llm(kind, api_key=None, **({"endpoint": None} if kind == "azure" else {}))
    assert late._client is None
    wrapped = books.keeper().wrap(late)
    kept.append(wrapped)
    monkeypatch.setenv("AZURE_ENDPOINT", provider.azure_inference_url)
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY", "AZURE_API_KEY"):
        monkeypatch.setenv(name, "sk-late")
    assert wrapped.call("Hello")
    assert run(wrapped.acall("Hello"))
    books.agree(2)


def test_azures_responses_api_is_gated_at_the_llm_that_asks_in_its_place(llm, books, provider):
    wrapped = books.keeper().wrap(llm("azure", endpoint=provider.azure_url, api="responses"))
    assert wrapped.call("Hello")
    books.agree_in_tokens(1)


def test_an_interceptor_sees_every_attempt(llm, books, provider):
    from crewai.llms.hooks.base import BaseInterceptor

    class Seen(BaseInterceptor):
        count = 0

        def on_outbound(self, message):
            Seen.count += 1
            return message

        def on_inbound(self, message):
            return message

    provider.set_faults(Fault(kind="rate_limit", retry_after=0.05, times=1))
    wrapped = books.keeper(retry=FAST).wrap(llm("openai", interceptor=Seen()))
    assert wrapped.call("Hello")
    books.agree(2)
    assert Seen.count == 2


def test_usage_is_counted_where_crewai_counts_it(llm, books):
    original = llm()
    wrapped = books.keeper().wrap(original)
    wrapped.call("Hello")
    report = books.agree_in_tokens(1)
    usage = wrapped.get_token_usage_summary()
    assert usage.total_tokens == report.input_tokens + report.output_tokens
    assert usage.successful_requests == 1


def test_a_tool_that_calls_the_model_runs_outside_of_the_slot(llm, books, provider):
    provider.script(Reply(tool_calls=[_call("ask")]))
    wrapped = books.keeper(rk.Quota(concurrency=1)).wrap(llm("anthropic"), timeout=5)
    tool = {
        "type": "function",
        "function": {
            "name": "ask",
            "description": "Asks",
            "parameters": {"type": "object", "properties": {}},
        },
    }
    wrapped.call("Hello", tools=[tool], available_functions={"ask": lambda: wrapped.call("Inside")})
    assert books.agree(books.provider.report().requests).requests >= 2


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_bedrock_holds_no_slot_while_crewai_runs_a_tool(stream, llm, books, provider):
    provider.script(Reply(tool_calls=[_call("ask")]))
    wrapped = books.keeper(rk.Quota(concurrency=1)).wrap(llm("bedrock", stream=stream), timeout=5)
    tool = {
        "type": "function",
        "function": {
            "name": "ask",
            "description": "Asks",
            "parameters": {"type": "object", "properties": {}},
        },
    }
    wrapped.call("Hello", tools=[tool], available_functions={"ask": lambda: wrapped.call("Inside")})
    assert books.agree_in_tokens(books.provider.report().requests).requests >= 3


def test_an_llm_class_of_ones_own_is_refused(books):
    class Own(BaseLLM):
        def call(self, *args, **kwargs):
            return "answer"

    with pytest.raises(TypeError, match="nobody knows how it asks its model"):
        books.keeper().wrap(Own(model="own"))


def test_what_is_built_from_a_wrapped_class_belongs_to_no_keeper(llm, books):
    kind = type(books.keeper().wrap(llm()))
    with pytest.raises(rk.ConfigError, match="belongs to no keeper"):
        kind(model="gpt-4o-mini", api_key="sk-test").call("Hello")


def test_no_key_is_shown(llm, books):
    keeper = books.keeper()
    keeper.wrap(llm()).call("Hello")
    assert "sk-test" not in str(keeper.status())


def _call(name):
    from ratekeeper.testing import ToolCall

    return ToolCall(name=name, arguments={})
