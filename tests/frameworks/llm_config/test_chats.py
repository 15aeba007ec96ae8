"""Chats of every kind on wrapped configs: what the provider saw, what was reserved and what was settled agree."""

from __future__ import annotations

import autogen

import ratekeeper as rk
from ratekeeper.testing import Reply
from ratekeeper.testing.settings import ToolCall


def tide_table(city: str) -> str:
    """When the tide comes."""
    return f"The tide of {city} comes at noon."


def test_registered_functions_keep_the_gate_though_the_client_is_made_anew(cast, books, provider):
    writer, asker = cast.assistant(books.keeper().wrap(cast.config())), cast.user(replies=2)
    autogen.register_function(tide_table, caller=writer, executor=asker, name="tide", description="Tides.")
    provider.script(
        Reply(tool_calls=[ToolCall(name="tide", arguments={"city": "Brest"})]), Reply(text="At noon.")
    )
    result = asker.initiate_chat(writer, message="When?", silent=True, max_turns=2)
    assert any("noon" in str(message.get("content")) for message in result.chat_history)
    books.agree_in_tokens(2)


def test_functions_of_the_old_kind_keep_the_gate_too(cast, books):
    writer = cast.assistant(books.keeper().wrap(cast.config()))
    signature = {"name": "tide", "description": "Tides.", "parameters": {"type": "object", "properties": {}}}
    writer.update_function_signature(signature, is_remove=False)
    cast.user().initiate_chat(writer, message="When?", silent=True)
    books.agree_in_tokens(1)


def test_a_tool_that_calls_a_model_runs_while_only_one_call_may(cast, books, provider):
    keeper = books.keeper(rk.Quota(concurrency=1), timeout=5.0)
    wrapped = keeper.wrap(cast.config())
    writer, asker = cast.assistant(wrapped), cast.user(replies=2)

    def ask_expert(question: str) -> str:
        return (
            cast.user()
            .initiate_chat(cast.assistant(wrapped, "expert"), message=question, silent=True)
            .summary
        )

    autogen.register_function(ask_expert, caller=writer, executor=asker, name="expert", description="Knows.")
    provider.script(
        Reply(tool_calls=[ToolCall(name="expert", arguments={"question": "Why tides?"})]),
        Reply(text="The moon."),
        Reply(text="Because of the moon."),
    )
    asker.initiate_chat(writer, message="Why?", silent=True, max_turns=2)
    books.agree_in_tokens(3)
    assert [event.caller for event in books.of("settled")] == ["writer", "expert", "writer"]


def test_a_group_chat_is_counted_with_the_calls_that_pick_who_speaks(cast, books, provider):
    wrapped = books.keeper().wrap(cast.config())
    provider.script(*cast.says_who("writer", "critic", "editor"))
    manager = autogen.GroupChatManager(groupchat=cast.group(wrapped), llm_config=wrapped)
    cast.user().initiate_chat(manager, message="On tides.", silent=True)
    report = books.agree_in_tokens(6)
    assert report.statuses == {200: 6}


def test_a_nested_chat_is_counted_with_its_summary(cast, books):
    wrapped = books.keeper().wrap(cast.config())
    writer, critic, asker = cast.assistant(wrapped), cast.assistant(wrapped, "critic"), cast.user(replies=1)
    critic_asker = cast.user(name="desk")
    queue = [
        {
            "sender": critic_asker,
            "recipient": critic,
            "message": "Judge this.",
            "max_turns": 1,
            "summary_method": "reflection_with_llm",
        }
    ]
    asker.register_nested_chats(queue, trigger=writer)
    asker.initiate_chat(writer, message="On tides.", silent=True, max_turns=2)
    books.agree_in_tokens(4)


def test_chats_one_after_the_other_are_counted_with_their_summaries(cast, books):
    wrapped = books.keeper().wrap(cast.config())
    asker = cast.user()
    chats = [
        {
            "recipient": cast.assistant(wrapped, name),
            "message": "On tides.",
            "max_turns": 1,
            "silent": True,
            **more,
        }
        for name, more in (
            ("writer", {}),
            ("critic", {"summary_method": "reflection_with_llm"}),
            ("editor", {}),
        )
    ]
    results = asker.initiate_chats(chats)
    assert len(results) == 3
    books.agree_in_tokens(4)


def test_a_summary_bears_the_name_of_the_agent_that_writes_it(cast, books):
    writer = cast.assistant(books.keeper().wrap(cast.config()))
    cast.user().initiate_chat(writer, message="On tides.", silent=True, summary_method="reflection_with_llm")
    assert {event.caller for event in books.of("settled")} <= {"writer", "user"}
    books.agree_in_tokens(2)
