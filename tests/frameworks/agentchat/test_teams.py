"""Agents and teams on wrapped clients: what the server sees is what the keeper leased, whatever the team."""

from __future__ import annotations

import asyncio
import time

import pytest
from autogen_agentchat.agents import AssistantAgent, SocietyOfMindAgent
from autogen_agentchat.conditions import MaxMessageTermination, TextMentionTermination
from autogen_agentchat.teams import MagenticOneGroupChat, RoundRobinGroupChat, Swarm
from autogen_agentchat.tools import AgentTool
from autogen_core import CancellationToken
from autogen_core.model_context import BufferedChatCompletionContext, TokenLimitedChatCompletionContext

import ratekeeper as rk
from ratekeeper.testing import Fault, Reply, ToolCall

from .test_clients import autogen_warns, until, waiting


def callers(keeper):
    return {row["caller"] for row in keeper.status()["estimates"]}


def test_a_round_of_two_makes_the_calls_that_it_makes(client, duo, books, run):
    keeper = books.keeper()
    run(duo(keeper.wrap(client())).run(task="Tell me of the tide."))
    books.agree_in_tokens(4)
    assert callers(keeper) == {"alice", "bob"}


def test_a_team_that_streams_is_settled_with_what_it_is_told(client, duo, books, run):
    team = duo(books.keeper().wrap(client()), model_client_stream=True)

    async def main():
        return [event async for event in team.run_stream(task="Tell me of the tide.")][-1]

    result = run(main())
    report = books.agree_in_tokens(4)
    usages = [message.models_usage for message in result.messages if message.models_usage]
    assert sum(usage.prompt_tokens for usage in usages) == report.input_tokens
    assert sum(usage.completion_tokens for usage in usages) == report.output_tokens


def test_the_manager_that_selects_speakers_is_gated_too(client, selected, books, run):
    keeper = books.keeper()
    run(selected(keeper.wrap(client())).run(task="Tell me of the tide."))
    books.agree_in_tokens(6)
    assert callers(keeper) == {"bob", "SelectorGroupChatManager"}


def test_a_swarm_that_hands_off_is_gated(client, books, provider, run):
    provider.script(
        Reply(tool_calls=[ToolCall(name="transfer_to_bob", arguments={})]), Reply(text="All is said. STOP")
    )
    keeper = books.keeper()
    model = keeper.wrap(client())
    agents = [AssistantAgent("alice", model, handoffs=["bob"]), AssistantAgent("bob", model)]
    run(Swarm(agents, termination_condition=TextMentionTermination("STOP")).run(task="Go."))
    books.agree_in_tokens(2)
    assert callers(keeper) == {"alice", "bob"}


@autogen_warns
def test_magentic_one_with_its_orchestrator_is_gated(client, books, provider, run):
    ledger = (
        '{"is_request_satisfied": {"reason": "r", "answer": %s}, "is_in_loop": {"reason": "r", "answer": false}, '
        '"is_progress_being_made": {"reason": "r", "answer": true}, "next_speaker": {"reason": "r", "answer": "alice"}, '
        '"instruction_or_question": {"reason": "r", "answer": "Go on."}}'
    )
    provider.script(
        Reply(text="facts"),
        Reply(text="plan"),
        Reply(text=ledger % "false"),
        Reply(text="done"),
        Reply(text=ledger % "true"),
    )
    keeper = books.keeper()
    model = keeper.wrap(client())
    run(MagenticOneGroupChat([AssistantAgent("alice", model)], model).run(task="Go."))
    books.agree_in_tokens(6)
    assert callers(keeper) == {"alice", "MagenticOneOrchestrator"}


def test_an_agent_with_tools_reflects_through_the_gate(client, books, provider, run):
    provider.script(Reply(tool_calls=[ToolCall(name="tide", arguments={})]), Reply(text="It is high."))

    async def tide() -> str:
        """The tide."""
        return "high"

    agent = AssistantAgent("alice", books.keeper().wrap(client()), tools=[tide], reflect_on_tool_use=True)
    assert run(agent.run(task="How is the tide?")).messages[-1].content == "It is high."
    books.agree_in_tokens(2)


def test_a_tool_that_asks_the_model_cannot_block_itself(client, books, provider, run):
    provider.script(
        Reply(tool_calls=[ToolCall(name="bob", arguments={"task": "help"})]), Reply(text="x", times=None)
    )
    model = books.keeper(rk.Quota(concurrency=1)).wrap(client(parallel_tool_calls=False))
    helper = AgentTool(AssistantAgent("bob", model, description="helps"))
    agent = AssistantAgent("alice", model, tools=[helper], reflect_on_tool_use=True)

    async def main():
        return await asyncio.wait_for(agent.run(task="How is the tide?"), 20)

    run(main())
    assert books.agree_in_tokens(3).peak_concurrency == 1


@pytest.mark.parametrize("kind", [BufferedChatCompletionContext, TokenLimitedChatCompletionContext])
def test_model_contexts_work_on_a_wrapped_client(kind, client, books, run):
    model = books.keeper().wrap(client())
    context = kind(2) if kind is BufferedChatCompletionContext else kind(model, token_limit=200)
    agent = AssistantAgent("alice", model, model_context=context)

    async def main():
        for _ in range(3):
            await agent.run(task="How is the tide?" * 10)

    run(main())
    books.agree_in_tokens(3)


def test_teams_inside_of_agents_are_gated(client, duo, books, run):
    keeper = books.keeper()
    model = keeper.wrap(client())
    run(SocietyOfMindAgent("society", duo(model, 3), model).run(task="Go."))
    books.agree_in_tokens(3)
    assert {"alice", "bob"} <= callers(keeper)


def test_eight_teams_at_once_stay_inside_a_limit_of_two(client, duo, books, provider, run):
    provider.script(Reply(latency=0.03, times=None))
    model = books.keeper(rk.Quota(concurrency=2)).wrap(client())

    async def main():
        await asyncio.gather(*(duo(model, 3).run(task=f"Task {number}.") for number in range(8)))

    run(main())
    assert books.agree_in_tokens(16).peak_concurrency == 2


def test_a_cancelled_team_gives_its_place_in_the_queue_up_at_once(client, duo, books, provider, run):
    provider.script(Reply(latency=1.0, times=None))
    keeper = books.keeper(rk.Quota(concurrency=1))
    model = keeper.wrap(client())

    async def main():
        running = asyncio.create_task(duo(model, 2).run(task="First."))
        await until(lambda: any(scope["in_flight"] for scope in keeper.status()["scopes"].values()))
        token = CancellationToken()
        queued = asyncio.create_task(duo(model, 2).run(task="Second.", cancellation_token=token))
        await until(lambda: waiting(keeper) == 1)
        token.cancel()
        began = time.monotonic()
        await until(lambda: waiting(keeper) == 0)
        freed = time.monotonic() - began
        await asyncio.gather(queued, return_exceptions=True)
        await running
        return freed

    assert run(main()) < 0.1
    books.agree(1)


def test_the_provider_s_own_exception_stays_reachable_where_a_team_erases_it(
    client, duo, books, provider, run
):
    provider.set_faults(Fault(kind="rate_limit"))
    keeper = books.keeper(retry=rk.RetryPolicy(attempts=3, wait_initial=0.01, wait_max=0.02))
    with pytest.raises(RuntimeError, match="RateLimitError") as caught:
        run(duo(keeper.wrap(client())).run(task="Go."))
    assert caught.value.__cause__ is None
    assert books.agree(3).statuses == {429: 3}
    error = keeper.last_error()
    assert type(error).__name__ == "RateLimitError"
    assert error.response.headers["x-request-id"]


def test_a_refusal_names_itself_in_what_a_team_makes_of_it(client, duo, books, run):
    keeper = books.keeper(rk.Quota(tpm=50, concurrency=4))
    with pytest.raises(RuntimeError, match="NeverFitsError") as caught:
        run(duo(keeper.wrap(client(max_tokens=200))).run(task="Go. " * 100))
    assert "tokens" in str(caught.value)
    books.agree(0)


def test_a_refusal_that_a_tool_hid_from_its_agent_refuses_the_next_call_too(client, books, provider, run):
    provider.script(
        Reply(tool_calls=[ToolCall(name="bob", arguments={"task": "help"})]), Reply(text="x", times=None)
    )
    keeper = books.keeper()
    job = keeper.guard(calls=1)
    model = keeper.wrap(client(parallel_tool_calls=False))
    helper = AgentTool(AssistantAgent("bob", model, description="helps"))
    agent = AssistantAgent("alice", model, tools=[helper], reflect_on_tool_use=True)
    with pytest.raises(rk.BudgetExceededError):
        run(job(agent.run)(task="How is the tide?"))
    books.agree(1)


def test_a_deadline_that_a_tool_hid_from_its_agent_latches_for_that_agent_alone(client, books, provider, run):
    provider.script(
        Reply(tool_calls=[ToolCall(name="bob", arguments={"task": "help"})]), Reply(text="x", times=None)
    )
    keeper = books.keeper(rk.Quota(tpm=400, concurrency=4))
    small, large = client(parallel_tool_calls=False, max_tokens=20), client(max_tokens=900)
    helper = AgentTool(AssistantAgent("bob", keeper.wrap(large), description="helps"))
    agent = AssistantAgent("alice", keeper.wrap(small), tools=[helper], reflect_on_tool_use=True)

    async def main():
        with pytest.raises(rk.NeverFitsError):
            await agent.run(task="How is the tide?")
        return await agent.run(task="And now?")

    assert run(main()).messages[-1].content == "x"
    books.agree(2)


def test_a_team_comes_back_from_its_dump_under_the_keeper_of_that_name(client, selected, books, run, keep):
    keeper = books.keeper(rk.Quota(concurrency=2))
    team = selected(keeper.wrap(client(), priority=3))
    dumped = team.dump_component()
    assert "sk-test" not in dumped.model_dump_json() + repr(dumped)
    loaded = keep(type(team).load_component(dumped))
    rows = keeper.audit(loaded)
    assert len(rows) == 4
    assert all(row.wrapped and row.kind == "OpenAIChatCompletionClient" for row in rows)
    run(loaded.run(task="Tell me of the tide."))
    books.agree_in_tokens(6)
    assert loaded.dump_component() == dumped


def test_a_dump_whose_keeper_is_not_there_is_not_loaded_without_one(client, duo, books):
    dumped = duo(books.keeper().wrap(client())).dump_component().model_copy(deep=True)
    for participant in dumped.config["participants"]:
        participant["config"]["model_client"]["config"]["keeper"] = "nobody"
    with pytest.raises(rk.ConfigError, match="no Keeper has that name"):
        RoundRobinGroupChat.load_component(dumped)


def test_an_audit_lists_every_client_wrapped_or_not(client, duo, books):
    keeper = books.keeper()
    wrapped, bare = keeper.wrap(client()), client("anthropic")

    def ask_bare() -> str:
        """Asks."""
        return str(bare)

    helper = AgentTool(AssistantAgent("helper", bare, description="helps"))
    society = SocietyOfMindAgent("society", duo(wrapped, 3), bare)
    agents = [AssistantAgent("alice", wrapped, tools=[helper, ask_bare]), society]
    rows = keeper.audit(RoundRobinGroupChat(agents, termination_condition=MaxMessageTermination(2)))
    assert {(row.where.rsplit(".", 1)[-1], row.kind, row.wrapped) for row in rows} >= {
        ("model_client", "OpenAIChatCompletionClient", True),
        ("bare", "AnthropicChatCompletionClient", False),
    }
    assert sum(row.wrapped for row in rows) == 3
    assert sum(not row.wrapped for row in rows) == 3
    assert rows[0].where.startswith("participants[")
    assert {row.model for row in rows} == {"gpt-4o-mini-2024-07-18", "claude-haiku-4-5"}


def test_agents_and_teams_are_not_wrapped_but_their_clients(client, duo, books):
    with pytest.raises(TypeError, match="wrap each model client"):
        books.keeper().wrap(duo(client()))
