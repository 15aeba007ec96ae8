"""Agents on wrapped configs: tools, sub-agents, compaction, aggregation and middleware, all under one keeper."""

from __future__ import annotations

import asyncio

import pytest
from ag2 import Agent, KnowledgeConfig, MemoryStream
from ag2.aggregate import AggregateTrigger, ConversationSummaryAggregate, WorkingMemoryAggregate
from ag2.compact import CompactTrigger, SummarizeCompact
from ag2.knowledge import MemoryKnowledgeStore
from ag2.middleware import RetryMiddleware

import ratekeeper as rk
from ratekeeper.testing import Fault, Reply, ToolCall

from .conftest import agent


def callers(keeper):
    return {row["caller"] for row in keeper.status()["estimates"]}


def test_an_agent_that_uses_a_tool_makes_two_calls(config, books, provider, run):
    provider.script(Reply(tool_calls=[ToolCall(name="tide", arguments={})]), Reply(text="high"))

    def tide() -> str:
        """The tide."""
        return "high"

    keeper = books.keeper()
    assert run(agent(keeper.wrap(config()), tools=[tide]).ask("How is the tide?")).body == "high"
    books.agree_in_tokens(2)
    assert callers(keeper) == {"alice"}


def test_a_conversation_that_goes_on_is_gated_at_every_turn(config, books, run):
    async def main():
        reply = await agent(books.keeper().wrap(config())).ask("one")
        reply = await reply.ask("two")
        await reply.ask("three")

    run(main())
    books.agree_in_tokens(3)


def test_a_tool_that_asks_the_model_cannot_block_itself(config, books, provider, run):
    provider.script(Reply(tool_calls=[ToolCall(name="help_me", arguments={})]), Reply(text="x", times=None))
    keeper = books.keeper(rk.Quota(concurrency=1))
    wrapped = keeper.wrap(config())

    async def help_me() -> str:
        """Helps."""
        return (await agent(wrapped, "bob").ask("help")).body

    async def main():
        return await asyncio.wait_for(agent(wrapped, tools=[help_me]).ask("How is the tide?"), 20)

    assert run(main()).body == "x"
    assert books.agree_in_tokens(3).peak_concurrency == 1
    assert callers(keeper) == {"alice", "bob"}


def test_compaction_asks_through_the_gate(config, books, provider, run):
    provider.script(
        Reply(text="in short", match="Summarize the following", times=None), Reply(text="x", times=None)
    )
    wrapped = books.keeper().wrap(config())
    knowledge = KnowledgeConfig(
        store=MemoryKnowledgeStore(),
        compact=SummarizeCompact(2, wrapped),
        compact_trigger=CompactTrigger(max_events=4),
    )
    stream = MemoryStream()

    async def main():
        alice = agent(wrapped, knowledge=knowledge)
        for number in range(4):
            await alice.ask(f"turn {number}", stream=stream)

    run(main())
    seen = books.provider.report().requests
    assert seen > 4
    books.agree_in_tokens(seen)


@pytest.mark.parametrize("strategy", [ConversationSummaryAggregate, WorkingMemoryAggregate])
def test_aggregation_asks_through_the_gate(strategy, config, books, run):
    wrapped = books.keeper().wrap(config())
    knowledge = KnowledgeConfig(
        store=MemoryKnowledgeStore(),
        aggregate=strategy(wrapped),
        aggregate_trigger=AggregateTrigger(on_end=True),
    )
    run(agent(wrapped, knowledge=knowledge).ask("one"))
    books.agree_in_tokens(2)


def test_eight_agents_at_once_stay_inside_a_limit_of_two(config, books, provider, run):
    provider.script(Reply(latency=0.05, times=None))
    wrapped = books.keeper(rk.Quota(concurrency=2)).wrap(config())

    async def main():
        await asyncio.gather(*(agent(wrapped, f"agent-{number}").ask(str(number)) for number in range(8)))

    run(main())
    assert books.agree_in_tokens(8).peak_concurrency == 2


def test_a_config_for_one_ask_and_one_for_tasks_are_gated(config, books, run):
    keeper = books.keeper()
    alice = Agent("alice", "Answer.")

    run(alice.ask("one", config=keeper.wrap(config())))
    books.agree_in_tokens(1)


def test_middleware_that_retries_does_not_multiply_our_attempts(config, books, provider, run):
    provider.set_faults(Fault(kind="rate_limit"))
    keeper = books.keeper(retry=rk.RetryPolicy(attempts=3, wait_initial=0.01, wait_max=0.02))
    alice = agent(keeper.wrap(config()), middleware=[RetryMiddleware(max_retries=3)])
    with pytest.raises(Exception, match="429"):
        run(alice.ask("one"))
    assert books.agree(3).statuses == {429: 3}


def test_middleware_that_retries_gets_the_same_refusal_again(config, books, run):
    keeper = books.keeper(rk.Quota(tpm=20, concurrency=2))
    alice = agent(keeper.wrap(config(max_tokens=900)), middleware=[RetryMiddleware(max_retries=3)])
    with pytest.raises(rk.NeverFitsError):
        run(alice.ask("one " * 100))
    assert len(books.of("refused")) == 1
    books.agree(0)


def test_a_refusal_that_a_tool_hid_from_its_agent_refuses_the_next_call_too(config, books, provider, run):
    provider.script(Reply(tool_calls=[ToolCall(name="help_me", arguments={})]), Reply(text="x", times=None))
    keeper = books.keeper(rk.Quota(tpm=4000, concurrency=2))
    wrapped = keeper.wrap(config())
    large = keeper.wrap(config(max_tokens=9000))

    async def help_me() -> str:
        """Helps."""
        return (await agent(large, "bob").ask("help")).body

    alice = agent(wrapped, tools=[help_me])

    async def main():
        with pytest.raises(rk.NeverFitsError):
            await alice.ask("How is the tide?")
        return await alice.ask("And now?")

    assert run(main()).body == "x"
    books.agree(2)


def test_a_budget_of_calls_ends_a_run(config, books, provider, run):
    provider.script(Reply(tool_calls=[ToolCall(name="tide", arguments={})], times=None))

    def tide() -> str:
        """The tide."""
        return "not yet"

    keeper = books.keeper()
    alice = agent(keeper.wrap(config()), tools=[tide])
    with pytest.raises(rk.BudgetExceededError):
        run(keeper.guard(calls=3)(alice.ask)("How is the tide?"))
    books.agree(3)


def test_an_audit_lists_every_config_wrapped_or_not(config, books):
    keeper = books.keeper()
    wrapped, bare = keeper.wrap(config()), config("anthropic")
    helper = agent(bare, "bob")

    async def help_me() -> str:
        """Helps."""
        return (await helper.ask("help")).body

    knowledge = KnowledgeConfig(store=MemoryKnowledgeStore(), compact=SummarizeCompact(2, bare))
    rows = keeper.audit(agent(wrapped, tools=[help_me], knowledge=knowledge))
    found = {(row.kind, row.model, row.wrapped) for row in rows}
    assert found == {("OpenAIConfig", "gpt-4o-mini", True), ("AnthropicConfig", "claude-haiku-4-5", False)}
    assert len(rows) >= 3
    assert keeper.audit(bare)[0].wrapped is False


def test_agents_are_not_wrapped_but_their_configs(config, books):
    with pytest.raises(TypeError, match="wrap each config"):
        books.keeper().wrap(agent(config()))
