"""ChatGroq under a keeper: one attempt a request, and limits by Groq's own headers."""

from __future__ import annotations

import pytest

import ratekeeper as rk
from ratekeeper.testing import Fault

pytestmark = pytest.mark.usefixtures("provider")


@pytest.fixture
def groq(provider, run):
    from langchain_groq import ChatGroq

    root = provider.groq_url.removesuffix("/openai/v1")
    model = ChatGroq(model="llama-3.3-70b", api_key="gsk-test", base_url=root, max_retries=2)
    yield model
    model.client._client.close()
    run(model.async_client._client.close())


def limits_of(keeper):
    [status] = keeper.status()["scopes"].values()
    return {(limit["dimension"], limit["per"]): limit for limit in status["limits"]}


@pytest.mark.parametrize("form", ["invoke", "ainvoke", "stream", "astream"])
def test_requests_are_learned_by_the_day_and_tokens_by_the_minute(form, provider, groq, books, run):
    provider.set_limits(rpd=14_400, tpm=6_000)
    keeper = books.keeper(rk.Quota(concurrency=4))
    llm = keeper.wrap(groq)

    async def collect():
        return [chunk async for chunk in llm.astream("hello")]

    if form == "astream":
        assert run(collect())
    elif form == "ainvoke":
        assert run(llm.ainvoke("hello")).content
    else:
        assert list(getattr(llm, form)("hello"))
    limits = limits_of(keeper)
    requests, tokens = limits["requests", 86_400.0], limits["tokens", 60.0]
    assert (requests["limit"], requests["remaining"], requests["source"]) == (14_400, 14_398, "learned")
    assert (tokens["limit"], tokens["source"]) == (6_000, "learned")
    assert tokens["remaining"] < 6_000


def test_the_sdk_below_tries_once(provider, groq, books):
    provider.set_faults(Fault(kind="server_error"))
    with pytest.raises(Exception, match="500"):
        books.keeper().wrap(groq).invoke("hello")
    assert provider.report().requests == 1
