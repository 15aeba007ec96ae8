"""What only the newest Anthropic SDK and its LangChain package have."""

from __future__ import annotations

import anthropic
import pytest
from pydantic import BaseModel

from ratekeeper.testing import Reply

MESSAGES = [{"role": "user", "content": "Hello there"}]


class Answer(BaseModel):
    yes: bool


def test_structured_output_parses_into_the_asked_type(provider):
    with anthropic.Anthropic(api_key="k", base_url=provider.anthropic_url, max_retries=0) as client:
        answer = client.messages.parse(
            model="claude-haiku-4-5", max_tokens=100, messages=MESSAGES, output_format=Answer
        )
    assert answer.parsed_output == Answer(yes=False)


async def consume(stream):
    return [item async for item in stream]


@pytest.mark.parametrize("form", ["invoke", "ainvoke", "stream", "astream"])
def test_thinking_tokens_are_settled_as_counted(form, make, books, run, provider):
    provider.script(Reply(reasoning_tokens=20, tokens=5))
    llm = books.keeper().wrap(make("anthropic"))
    call = {
        "invoke": lambda: llm.invoke("hello"),
        "ainvoke": lambda: run(llm.ainvoke("hello")),
        "stream": lambda: list(llm.stream("hello")),
        "astream": lambda: run(consume(llm.astream("hello"))),
    }[form]
    assert call()
    books.agree_in_tokens(1)
    assert [usage.reasoning_tokens for usage in books.usages] == [20]
