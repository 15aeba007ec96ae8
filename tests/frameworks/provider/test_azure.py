"""OpenAI's Azure client against the fake provider: the quota is the deployment's, in fixed windows."""

from __future__ import annotations

import openai
import pytest

from ratekeeper.testing import FakeProvider

MESSAGES = [{"role": "user", "content": "Hello there"}]


@pytest.fixture
def provider():
    with FakeProvider(tpm=1000) as provider:
        yield provider


@pytest.fixture
def client(provider):
    with openai.AzureOpenAI(
        api_key="key", azure_endpoint=provider.azure_url, api_version="2024-10-21", max_retries=0
    ) as client:
        yield client


def test_the_deployment_in_the_path_is_whose_quota_it_is(client, provider):
    client.chat.completions.create(model="my-deployment", messages=MESSAGES)
    assert [scope.model for scope in provider.report().scopes] == ["my-deployment"]


def test_a_stream_and_an_embedding_are_answered_under_deployment_paths(client):
    chunks = list(client.chat.completions.create(model="d", messages=MESSAGES, stream=True))
    assert chunks[0].choices == []  # the content filter's word on the prompt
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert client.embeddings.create(model="e", input="text").usage.prompt_tokens == 1


def test_prompt_and_max_tokens_are_added_and_the_429_tells_bare_seconds(client, provider):
    client.chat.completions.create(model="d", messages=MESSAGES, max_tokens=900)
    assert provider.report().admitted_tokens == 900 + 3
    with pytest.raises(openai.RateLimitError) as refused:
        client.chat.completions.create(model="d", messages=MESSAGES, max_tokens=900)
    headers = refused.value.response.headers
    assert 0 < int(headers["x-ratelimit-reset-tokens"]) <= 60
    assert headers["x-ratelimit-remaining-tokens"] == "97"
    assert 0 < int(headers["retry-after"]) <= 60
    assert 0 < int(headers["retry-after-ms"]) <= 60_000
    assert refused.value.code == "429"
    assert f"retry after {headers['retry-after']} seconds" in refused.value.message


def test_the_v1_api_answers_chat_and_responses(provider):
    url = f"{provider.azure_url}/openai/v1"
    with openai.OpenAI(api_key="key", base_url=url, max_retries=0) as client:
        client.chat.completions.create(model="d", messages=MESSAGES)
        assert client.responses.create(model="d", input="Hello").status == "completed"
    assert provider.report().answered == 2


def test_the_azure_clients_own_responses_path_answers(client):
    assert client.responses.create(model="d", input="Hello").status == "completed"
