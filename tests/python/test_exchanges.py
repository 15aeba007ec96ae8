"""HTTP requests as calls of a model: whose they are, what they ask, and which are none."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ratekeeper import providers
from ratekeeper.providers import account_of, get
from ratekeeper.providers.exchanges import dialect_of, read_exchange

CHAT = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "tide?"}], "max_tokens": 50, "n": 2}
KEY = {"authorization": "Bearer sk-1"}


def read(url, body=CHAT, headers=KEY):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return read_exchange("POST", url, headers, content, providers=providers.known())


@pytest.mark.parametrize(
    ("url", "provider", "model"),
    [
        ("https://api.openai.com/v1/chat/completions", "openai", "gpt-4o-mini"),
        ("https://api.openai.com/v1/responses", "openai", "gpt-4o-mini"),
        ("https://api.openai.com/v1/embeddings", "openai", "gpt-4o-mini"),
        ("https://api.openai.com/v1/completions", "openai", "gpt-4o-mini"),
        ("https://api.openai.com/v1/images/generations", "openai", "gpt-4o-mini"),
        (
            "https://x.openai.azure.com/openai/deployments/mini/chat/completions?api-version=1",
            "azure",
            "mini",
        ),
        ("https://x.openai.azure.com/openai/v1/responses", "azure", "gpt-4o-mini"),
        ("https://x.services.ai.azure.com/models/chat/completions", "azure", "gpt-4o-mini"),
        ("http://127.0.0.1:80/openai/deployments/my%20d/chat/completions", "azure", "my d"),
        ("https://api.anthropic.com/v1/messages", "anthropic", "gpt-4o-mini"),
        ("https://api.groq.com/openai/v1/chat/completions", "groq", "gpt-4o-mini"),
        ("https://api.mistral.ai/v1/chat/completions", "mistral", "gpt-4o-mini"),
        ("https://api.deepseek.com/chat/completions", "deepseek", "gpt-4o-mini"),
        ("https://openrouter.ai/api/v1/chat/completions", "openrouter", "gpt-4o-mini"),
        (
            "https://generativelanguage.googleapis.com/v1beta/models/gemini-3-pro:generateContent",
            "gemini",
            "gemini-3-pro",
        ),
        (
            "https://eu-aiplatform.googleapis.com/v1/projects/p/models/gemini-3:streamGenerateContent?alt=sse",
            "gemini",
            "gemini-3",
        ),
        (
            "https://bedrock-runtime.eu-west-1.amazonaws.com/model/anthropic.claude-v1%3A0/converse",
            "bedrock",
            "anthropic.claude-v1:0",
        ),
        ("http://localhost:11434/v1/chat/completions", "openai", "gpt-4o-mini"),
        ("http://localhost:11434/api/chat", "openai", "gpt-4o-mini"),
        ("https://api.cohere.com/v2/chat", "openai", "gpt-4o-mini"),
        (
            "https://eu-aiplatform.googleapis.com/v1/projects/p/publishers/anthropic/models/claude-x@1:streamRawPredict",
            "gemini",
            "claude-x@1",
        ),
        ("https://api.anthropic.com/v1/complete", "anthropic", "gpt-4o-mini"),
        ("https://api.openai.com/v1/responses/compact", "openai", "gpt-4o-mini"),
        ("https://api.openai.com/v1/threads/thread_1/runs", "openai", "gpt-4o-mini"),
        ("https://api.openai.com/v1/threads/runs", "openai", "gpt-4o-mini"),
        (
            "https://api.openai.com/v1/threads/thread_1/runs/run_1/submit_tool_outputs",
            "openai",
            "gpt-4o-mini",
        ),
        ("https://api.openai.com/v1/videos", "openai", "gpt-4o-mini"),
    ],
)
def test_a_request_that_asks_a_model_says_whose_and_which(url, provider, model):
    asked = read(url)
    assert (asked.provider, asked.request.model) == (provider, model)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/models"),
        ("GET", "/v1/responses/resp_1"),
        ("POST", "/v1/files"),
        ("POST", "/v1/batches"),
        ("POST", "/v1/messages/batches"),
        ("POST", "/v1/threads/thread_1/messages"),
        ("POST", "/v1/messages/count_tokens"),
        ("POST", "/v1beta/models/gemini:countTokens"),
        ("POST", "/v1/responses/resp_1/cancel"),
        ("POST", "/v1/fine_tuning/jobs"),
        ("POST", "/"),
    ],
)
def test_what_asks_no_model_is_told_by_method_and_path(method, path):
    assert dialect_of(method, path) is None


@pytest.mark.parametrize(
    ("headers", "query"),
    [
        ({"authorization": "Bearer sk-1"}, ""),
        ({"authorization": "bearer sk-1 "}, ""),
        ({"x-api-key": "sk-1"}, ""),
        ({"api-key": "sk-1"}, ""),
        ({"x-goog-api-key": "sk-1"}, ""),
        ({}, "?alt=sse&key=sk-1"),
        (
            {
                "authorization": "AWS4-HMAC-SHA256 Credential=sk-1/20261121/eu-west-1/bedrock/aws4_request, Signature=x"
            },
            "",
        ),
    ],
)
def test_the_account_is_the_fingerprint_of_the_key_wherever_it_stands(headers, query):
    asked = read(f"https://api.openai.com/v1/chat/completions{query}", headers=headers)
    assert asked.account == account_of(get("openai"), api_key="sk-1")
    assert "sk-1" not in repr(asked)


def test_organisation_and_project_are_part_of_the_account_as_of_the_langchain_adapter():
    asked = read(
        "https://api.openai.com/v1/responses",
        headers={**KEY, "openai-organization": "o", "openai-project": "p"},
    )
    assert asked.account == account_of(get("openai"), api_key="sk-1", organization="o/p")


@pytest.mark.parametrize(
    ("body", "ceiling", "answers", "stream"),
    [
        (CHAT, 50, 2, False),
        ({"max_completion_tokens": 7, "max_tokens": 9, "stream": True}, 7, 1, True),
        ({"max_output_tokens": 8}, 8, 1, False),
        ({"generationConfig": {"maxOutputTokens": 6, "candidateCount": 3}}, 6, 3, False),
        ({"inferenceConfig": {"maxTokens": 5}}, 5, 1, False),
        ({"max_tokens": -1, "n": True}, None, 1, False),
        ({}, None, 1, False),
    ],
)
def test_ceilings_answers_and_streaming_are_read_from_every_dialect(body, ceiling, answers, stream):
    request = read("https://api.openai.com/v1/chat/completions", body).request
    assert (request.max_tokens, request.n, request.stream) == (ceiling, answers, stream)


def test_a_streaming_path_is_a_stream():
    assert read("https://h/v1beta/models/g:streamGenerateContent?alt=sse", {}).request.stream
    assert read("https://h/model/m/converse-stream", {}).request.stream


def test_an_uploads_model_is_found_in_its_form():
    form = b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n--b--'
    assert read("https://api.openai.com/v1/audio/transcriptions", form).request.model == "whisper-1"


def test_embeddings_have_no_output():
    assert (
        read("https://api.openai.com/v1/embeddings", {"model": "e", "input": ["a"]}).request.max_tokens == 0
    )


@pytest.mark.parametrize(
    ("body", "hides"),
    [
        ({"stream": True}, True),
        ({"stream": True, "stream_options": {"include_usage": True}}, False),
        ({"stream": True, "stream_options": {"include_usage": False}}, True),
        ({"stream": False}, False),
    ],
)
def test_only_chat_streams_that_were_not_asked_hide_their_usage(body, hides):
    assert read("https://api.openai.com/v1/chat/completions", body).hides_usage is hides
    assert not read("https://api.anthropic.com/v1/messages", body).hides_usage


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
FIELDS = st.sampled_from(
    ["model", "messages", "input", "system", "contents", "parts", "tools", "toolConfig", "stream_options"]
)


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(
    body=st.binary(max_size=60)
    | st.dictionaries(FIELDS, json_values, max_size=5).map(lambda b: json.dumps(b).encode()),
    path=st.sampled_from(
        [
            "/v1/chat/completions",
            "/v1/responses",
            "/v1/messages",
            "/v1/embeddings",
            "/models/g:generateContent",
        ]
        + ["/model/m/converse", "/v1/audio/speech", "/v1/completions"]
    ),
)
def test_whatever_a_body_holds_it_can_be_read(body, path):
    asked = read(f"https://api.openai.com{path}", body)
    assert asked.request.model
    assert asked.hides_usage in (True, False)
