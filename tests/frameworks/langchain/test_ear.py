"""How an SDK client is listened at: the private seam, and what an ear hears."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from ratekeeper.adapters.langchain.headers import Ear, listen

TOLD = {"x-ratelimit-limit-tokens": "5"}


def test_the_sdk_clients_have_the_method_that_is_listened_at():
    """A private seam: if this fails, look for the new one; until then nothing is learned on success."""
    import inspect

    import anthropic
    import openai

    for kind in (openai.OpenAI, openai.AsyncOpenAI, openai.AzureOpenAI, openai.AsyncAzureOpenAI):
        assert "response" in inspect.signature(kind._process_response).parameters
    for kind in (anthropic.Anthropic, anthropic.AsyncAnthropic):
        assert "response" in inspect.signature(kind._process_response).parameters


@dataclass
class Answer:
    """A response of an SDK's http client."""

    is_success: bool = True
    headers: Any = field(default_factory=lambda: TOLD)


class Sdk:
    """A client with the seam."""

    def _process_response(self, *args: Any, **kwargs: Any) -> str:
        return "parsed"


@pytest.mark.parametrize(
    ("args", "kwargs", "expected"),
    [
        ((), {"response": Answer()}, [TOLD]),
        ((), {"response": Answer(is_success=False)}, []),
        ((Answer(),), {}, []),
        ((), {"response": object()}, []),
    ],
    ids=["success", "refusal", "another signature", "another response"],
)
def test_a_client_answers_whatever_is_heard(args, kwargs, expected):
    heard: list[object] = []
    client = listen(Sdk())
    assert client._process_response(*args, **kwargs) == "parsed"
    with Ear(heard.append):
        assert client._process_response(*args, **kwargs) == "parsed"
    assert heard == expected


def test_a_client_without_the_seam_is_left_as_it_is():
    bare = object()
    assert listen(bare) is bare


def test_an_ear_hears_once_and_only_within_its_steps():
    heard: list[object] = []
    client, ear = listen(Sdk()), Ear(heard.append)
    with ear:
        pass
    client._process_response(response=Answer(headers="after"))
    with ear:
        with Ear(heard.append):
            client._process_response(response=Answer(headers="inner"))
        client._process_response(response=Answer(headers="outer"))
        client._process_response(response=Answer(headers="later"))
    assert heard == ["inner", "outer"]


@pytest.mark.filterwarnings("error")
def test_a_coroutine_dropped_amid_a_step_leaves_other_contexts_alone():
    """It is closed wherever it happens to be collected."""
    import types
    from contextvars import copy_context

    heard: list[object] = []
    client, here, dropped = listen(Sdk()), Ear(heard.append), Ear(heard.append)

    @types.coroutine
    def suspended():
        yield

    async def step():
        with dropped:
            await suspended()

    coroutine = step()
    copy_context().run(coroutine.send, None)
    with here:
        coroutine.close()
        client._process_response(response=Answer())
    assert heard == [TOLD]
