"""A budget that is used up, under all that LangChain does with exceptions: nothing more is sent, and the error comes out."""

from __future__ import annotations

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import ModelFallbackMiddleware, ModelRetryMiddleware

import ratekeeper as rk
from ratekeeper.testing import Reply, ToolCall


def search(query: str) -> str:
    """Searches, and never finds all."""
    return f"one of many on {query}"


@pytest.fixture
def endless(provider):
    """The model asks for the tool again and again."""
    provider.script(Reply(tool_calls=[ToolCall(name="search", arguments={"query": "tides"})], times=None))


@pytest.fixture
def models(make, books):
    """A keeper with a budget of two calls, and two of its models, of two providers."""
    keeper = books.keeper(budgets=rk.Budget(calls=2))
    return keeper.wrap(make("chat")), keeper.wrap(make("anthropic"))


MIDDLEWARES = {
    "retry, which makes a message of it": lambda other: ModelRetryMiddleware(max_retries=3, initial_delay=0),
    "retry, which raises": lambda other: ModelRetryMiddleware(
        max_retries=3, initial_delay=0, on_failure="error"
    ),
    "fallback": ModelFallbackMiddleware,
}


@pytest.mark.usefixtures("endless")
@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("kind", MIDDLEWARES)
def test_no_middleware_makes_a_message_or_a_fallback_of_it(kind, is_async, models, books, run):
    llm, other = models
    agent = create_agent(llm, [search], middleware=[MIDDLEWARES[kind](other)])
    asked = {"messages": [("user", "tides")]}
    with pytest.raises(rk.BudgetExceededError, match="2 of 2 calls"):
        run(agent.ainvoke(asked)) if is_async else agent.invoke(asked)
    books.agree(2)


@pytest.mark.parametrize("is_async", [False, True])
def test_with_fallbacks_asks_no_other_model_for_what_a_budget_has_refused(is_async, make, books, run):
    """The other model would be in nobody's budget."""
    keeper, frugal = books.keeper(), books.keeper(budgets=rk.Budget(calls=1))
    llm = frugal.wrap(make("chat")).with_fallbacks([keeper.wrap(make("anthropic"))])
    ask = (lambda: run(llm.ainvoke("hello"))) if is_async else (lambda: llm.invoke("hello"))
    ask()
    with pytest.raises(rk.BudgetExceededError):
        ask()
    books.agree(1)


def test_with_retry_sends_nothing_more(models, books):
    llm, _ = models
    again = llm.with_retry(stop_after_attempt=3, wait_exponential_jitter=False)
    for _ in range(2):
        again.invoke("hello")
    with pytest.raises(rk.BudgetExceededError):
        again.invoke("hello")
    books.agree(2)


def test_streams_are_refused_before_the_first_chunk(models, books, run):
    llm, _ = models
    for _ in range(2):
        assert list(llm.stream("hello"))
    with pytest.raises(rk.BudgetExceededError):
        list(llm.stream("hello"))

    async def main():
        return [chunk async for chunk in llm.astream("hello")]

    with pytest.raises(rk.BudgetExceededError):
        run(main())
    books.agree(2)


def test_another_run_may_ask_again_once_there_is_room(make, books):
    budget = rk.Budget(calls=1)
    llm = books.keeper(budgets=budget).wrap(make("chat")).with_fallbacks([])
    llm.invoke("hello")
    with pytest.raises(rk.BudgetExceededError):
        llm.invoke("hello")
    budget.raise_to(calls=2)
    llm.invoke("hello")
    books.agree(2)
