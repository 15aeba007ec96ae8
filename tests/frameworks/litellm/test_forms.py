"""LiteLLM's functions under a keeper: what is gated, what passes, and that the books agree with the provider."""

from __future__ import annotations

import copy

import litellm
import pytest

import ratekeeper as rk
from ratekeeper.adapters.litellm import facade

ROUTES = ["openai", "anthropic", "compatible"]
MESSAGES = [{"role": "user", "content": "Say hello to everybody."}]
every_route = pytest.mark.parametrize("name", ROUTES)


@pytest.fixture
def llm(books):
    return books.keeper().litellm()


@every_route
@pytest.mark.parametrize("form", ["sync", "async", "stream", "astream"])
def test_each_form_has_one_lease_and_is_settled_with_what_the_provider_counted(
    name, form, route, forms, books
):
    llm = books.keeper().litellm()
    for _ in range(3):
        assert forms[form](llm, **route(name))
    books.agree_in_tokens(3)


@every_route
def test_a_stream_looks_as_without_a_keeper(name, llm, route, run):
    def look(library, **more):
        stream = library.completion(messages=MESSAGES, stream=True, **route(name), **more)
        assert isinstance(stream, litellm.CustomStreamWrapper)
        chunks = list(stream)
        return [(len(c.choices), c.choices[0].finish_reason, bool(getattr(c, "usage", None))) for c in chunks]

    assert look(llm) == look(litellm)
    asked = {"stream_options": {"include_usage": True}}
    assert look(llm, **asked) == look(litellm, **asked)


def test_text_completions_embeddings_and_their_twins_are_gated(llm, route, run, books):
    asked = route("openai")
    vectors = {**asked, "model": "openai/text-embedding-3-small"}
    vectors.pop("max_tokens")
    assert llm.text_completion(prompt="Say hello.", **asked).choices[0].text
    assert run(llm.atext_completion(prompt="Say hello.", **asked)).choices[0].text
    assert llm.embedding(input=["one", "two"], **vectors).data
    assert run(llm.aembedding(input=["one", "two"], **vectors)).data
    books.agree_in_tokens(4)


def test_streamed_text_completions_show_no_usage_that_nobody_asked_for(llm, route, run, books):
    async def twin():
        return [
            chunk async for chunk in await llm.atext_completion(prompt="Hi.", stream=True, **route("openai"))
        ]

    for chunks in (list(llm.text_completion(prompt="Hi.", stream=True, **route("openai"))), run(twin())):
        assert "".join(chunk.choices[0].text or "" for chunk in chunks)
        assert not any(getattr(chunk, "usage", None) for chunk in chunks)
    books.agree_in_tokens(2)


def test_arguments_may_be_given_by_place(llm, route, run, books):
    asked = route("openai")
    model = asked.pop("model")
    assert llm.completion(model, MESSAGES, **asked).choices
    assert run(llm.acompletion(model, MESSAGES, **asked)).choices
    assert llm.text_completion("Say hello.", model, **asked).choices
    books.agree_in_tokens(3)


def test_what_asks_no_model_and_constants_are_the_modules_own(llm):
    assert llm.token_counter is litellm.token_counter
    assert llm.RateLimitError is litellm.RateLimitError
    assert llm.drop_params is litellm.drop_params
    assert "completion" in dir(llm)
    with pytest.raises(AttributeError):
        llm.no_such_thing  # noqa: B018


@pytest.mark.parametrize(
    "name",
    [
        "batch_completion",
        "completion_with_retries",
        "anthropic_messages",
        "Router",
        "main",
        "ahealth_check",
        "OpenAIConfig",
    ],
)
def test_what_is_not_known_to_be_gated_is_refused_by_name(name, llm, books):
    with pytest.raises(rk.ConfigError, match=name):
        getattr(llm, name)
    books.agree(0)


def test_every_function_of_the_tables_is_there():
    """A name that LiteLLM has dropped would stand there for nothing."""
    for name in facade.GATED | facade.ASKS_ELSE | facade.PASSES:
        assert callable(getattr(litellm, name)), name


def test_settings_are_set_on_litellm_itself(llm):
    with pytest.raises(AttributeError, match=r"litellm\.drop_params"):
        llm.drop_params = True


def test_copies_are_the_same_facade(llm):
    assert copy.copy(llm) is llm
    assert copy.deepcopy([llm])[0] is llm


def test_a_mocked_answer_asks_nobody_and_takes_no_lease(llm, route, books):
    answer = llm.completion(messages=MESSAGES, mock_response="Hello.", **route("openai"))
    assert answer.choices[0].message.content == "Hello."
    books.agree(0)


def test_a_gated_client_below_is_not_gated_again(llm, route, books):
    import openai

    asked = route("openai")
    client = books.keepers[0].wrap(
        openai.OpenAI(base_url=asked["api_base"], api_key="sk-test", max_retries=4)
    )
    assert llm.completion(messages=MESSAGES, client=client, **asked).choices
    books.agree_in_tokens(1)


def test_a_client_that_is_given_keeps_its_own_retries(llm, route, books):
    import openai

    asked = route("openai")
    client = openai.OpenAI(base_url=asked["api_base"], api_key="sk-test", max_retries=4)
    assert llm.completion(messages=MESSAGES, client=client, **asked).choices
    assert client.max_retries == 4
    client.close()
    books.agree_in_tokens(1)


def test_limits_are_learned_from_the_headers_of_each_answer(route, provider, books):
    provider.set_limits(rpm=500, tpm=90_000)
    llm = books.keeper(rk.Quota()).litellm()
    for name in ("openai", "anthropic"):
        llm.completion(messages=MESSAGES, **route(name))
    learned = [scope["limits"] for scope in books.keepers[0].status()["scopes"].values()]
    assert len(learned) == 2
    assert all(learned)
