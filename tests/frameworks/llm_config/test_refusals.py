"""What comes out of a chat when a call does not: the provider's own error after our retries, and our errors as themselves."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import autogen
import openai
import pytest

import ratekeeper as rk
from ratekeeper.testing import Fault, Reply
from ratekeeper.testing.settings import ToolCall

ATTEMPTS = 3
THRICE = rk.RetryPolicy(attempts=ATTEMPTS, wait_initial=0.01, wait_max=0.02)


@pytest.fixture
def refusing(provider):
    """The provider refuses everything, for ever, without saying how long."""
    provider.set_faults(Fault(kind="rate_limit"))
    return provider


@pytest.fixture
def full(cast, books):
    """A config whose keeper has room for one call, and none for the next before its deadline."""
    keeper = books.keeper(rk.Quota(rpm=1), headroom=0, timeout=0.05)
    return lambda *entries: keeper.wrap(cast.config(*entries))


def test_a_permanent_429_is_sent_as_often_as_the_policy_says(cast, books, refusing):
    wrapped = books.keeper(retry=THRICE).wrap(cast.config())
    with pytest.raises(openai.RateLimitError) as caught:
        cast.user().initiate_chat(cast.assistant(wrapped), message="What is the tide?", silent=True)
    assert caught.value.response.status_code == 429
    assert books.agree(ATTEMPTS).statuses == {429: ATTEMPTS}


def test_a_second_entry_of_another_key_has_attempts_of_its_own(cast, books, provider):
    provider.set_faults(Fault(kind="rate_limit", model="gpt-4o-mini"))
    wrapped = books.keeper(retry=THRICE).wrap(
        cast.config(cast.entry(), cast.entry(model="gpt-4o", api_key="sk-other"))
    )
    cast.user().initiate_chat(cast.assistant(wrapped), message="What is the tide?", silent=True)
    assert books.agree(ATTEMPTS + 1).statuses == {429: ATTEMPTS, 200: 1}


def test_the_same_entry_twice_is_not_tried_twice_as_often(cast, books, refusing):
    wrapped = books.keeper(retry=THRICE).wrap(cast.config(cast.entry(), cast.entry()))
    with pytest.raises(openai.RateLimitError):
        cast.user().initiate_chat(cast.assistant(wrapped), message="What is the tide?", silent=True)
    books.agree(ATTEMPTS)


def test_an_asynchronous_chat_is_sent_as_often_as_the_policy_says(cast, books, refusing, run):
    wrapped = books.keeper(retry=THRICE).wrap(cast.config())
    with pytest.raises(openai.RateLimitError):
        run(cast.user().a_initiate_chat(cast.assistant(wrapped), message="What is the tide?", silent=True))
    books.agree(ATTEMPTS)


def test_what_succeeds_at_the_second_attempt_is_no_news_to_the_chat(cast, books, provider):
    provider.set_faults(Fault(kind="server_error", times=1))
    wrapped = books.keeper(retry=THRICE).wrap(cast.config())
    cast.user().initiate_chat(cast.assistant(wrapped), message="What is the tide?", silent=True)
    assert books.agree(2).statuses == {500: 1, 200: 1}


def test_a_deadline_comes_out_as_itself_and_no_other_entry_is_billed(full, cast, books):
    wrapped = full(cast.entry(), cast.entry(api_key="sk-other"))
    cast.user().initiate_chat(cast.assistant(wrapped), message="What is the tide?", silent=True)
    with pytest.raises(rk.QuotaExceededError) as caught:
        cast.user().initiate_chat(cast.assistant(wrapped, "critic"), message="What is the tide?", silent=True)
    assert caught.value.dimension == "requests"
    books.agree(1)


def test_a_deadline_comes_out_of_a_client_that_calls_itself_something_else(full, cast, books):
    """By its name OpenAI's SDK is known to the HTTP client, and a user may give it another."""
    named = {"default_headers": {"User-Agent": "house/1.0"}}
    wrapped = full(cast.entry(**named), cast.entry(api_key="sk-other", **named))
    cast.user().initiate_chat(cast.assistant(wrapped), message="What is the tide?", silent=True)
    with pytest.raises(rk.QuotaExceededError) as caught:
        cast.user().initiate_chat(cast.assistant(wrapped, "critic"), message="Why?", silent=True)
    assert caught.type is rk.QuotaExceededError
    books.agree(1)


def test_a_group_chat_ends_with_the_deadline_of_the_call_that_picks_who_speaks(full, books, cast, provider):
    wrapped = full()
    agents = [
        cast.assistant(wrapped, name, description=f"The {name}.") for name in ("writer", "critic", "editor")
    ]
    provider.script(Reply(text="critic"))
    chat = autogen.GroupChat(agents=agents, messages=[], max_round=4, speaker_selection_method="auto")
    manager = autogen.GroupChatManager(groupchat=chat, llm_config=wrapped)
    with pytest.raises(rk.QuotaExceededError):
        cast.user().initiate_chat(manager, message="On tides.", silent=True)
    books.agree(1)


def test_a_nested_chat_ends_the_outer_one(full, books, cast):
    wrapped = full()
    writer, critic, asker = cast.assistant(wrapped), cast.assistant(wrapped, "critic"), cast.user(replies=1)
    queue = [
        {"sender": cast.user(name="desk"), "recipient": critic, "message": "Judge this.", "max_turns": 1}
    ]
    asker.register_nested_chats(queue, trigger=writer)
    with pytest.raises(rk.QuotaExceededError):
        asker.initiate_chat(writer, message="On tides.", silent=True, max_turns=2)
    books.agree(1)


@pytest.fixture
def with_tool(full, cast, provider):
    """A chat whose tool asks a model, for which there is no room."""
    wrapped = full()
    writer, asker = cast.assistant(wrapped), cast.user(replies=2)

    def ask_expert(question: str) -> str:
        return (
            cast.user()
            .initiate_chat(cast.assistant(wrapped, "expert"), message=question, silent=True)
            .summary
        )

    autogen.register_function(ask_expert, caller=writer, executor=asker, name="expert", description="Knows.")
    provider.script(Reply(tool_calls=[ToolCall(name="expert", arguments={"question": "Why tides?"})]))
    return writer, asker


def test_a_deadline_inside_a_tool_ends_the_chat_and_is_no_answer_to_the_model(with_tool, books):
    writer, asker = with_tool
    with pytest.raises(rk.QuotaExceededError):
        asker.initiate_chat(writer, message="Why?", silent=True, max_turns=2)
    books.agree(1)


def test_a_deadline_inside_a_tool_ends_an_asynchronous_chat(full, books, cast, provider, run):
    wrapped = full()
    writer, asker = cast.assistant(wrapped), cast.user(replies=2)

    async def ask_expert(question: str) -> str:
        chat = await cast.user().a_initiate_chat(
            cast.assistant(wrapped, "expert"), message=question, silent=True
        )
        return chat.summary

    autogen.register_function(ask_expert, caller=writer, executor=asker, name="expert", description="Knows.")
    provider.script(Reply(tool_calls=[ToolCall(name="expert", arguments={"question": "Why tides?"})]))
    with pytest.raises(rk.QuotaExceededError):
        run(asker.a_initiate_chat(writer, message="Why?", silent=True, max_turns=2))
    books.agree(1)


def test_a_tool_that_copes_with_a_deadline_is_left_to_do_so(full, books, cast, provider):
    wrapped = full()
    writer, asker = cast.assistant(wrapped), cast.user()

    def ask_expert(question: str) -> str:
        try:
            cast.user().initiate_chat(cast.assistant(wrapped, "expert"), message=question, silent=True)
        except rk.QuotaExceededError:
            return "no time"
        raise AssertionError("there was room")

    autogen.register_function(ask_expert, caller=writer, executor=asker, name="expert", description="Knows.")
    call = {"name": "expert", "arguments": '{"question": "Why?"}'}
    cast.user().initiate_chat(writer, message="First.", silent=True)
    assert asker.execute_function(call) == (
        True,
        {"name": "expert", "role": "function", "content": "no time"},
    )
    books.agree(1)


def test_a_deadline_of_a_summary_is_no_empty_summary(full, books, cast):
    with pytest.raises(rk.QuotaExceededError):
        cast.user().initiate_chat(
            cast.assistant(full()), message="On tides.", silent=True, summary_method="reflection_with_llm"
        )
    books.agree(1)


def test_ten_users_of_a_key_keep_still_for_as_long_as_the_provider_says(cast, books, provider):
    pause, crowd = 3.0, 10
    provider.set_faults(Fault(kind="rate_limit", times=1, retry_after=pause))
    provider.script(Reply(latency=0.2, times=None))
    wrapped = books.keeper(rk.Quota(concurrency=1), retry=rk.RetryPolicy(attempts=3)).wrap(cast.config())
    agents = [(cast.user(), cast.assistant(wrapped, f"writer{at}")) for at in range(crowd)]
    with ThreadPoolExecutor(crowd) as pool:
        for chat in [pool.submit(a.initiate_chat, b, message="Tides?", silent=True) for a, b in agents]:
            chat.result()
    report = books.agree(crowd + 1)
    assert report.statuses == {429: 1, 200: crowd}
    assert report.gaps()[0] >= pause


def test_a_provider_error_keeps_its_headers(cast, books, provider):
    provider.set_faults(Fault(kind="rate_limit", retry_after=30))
    wrapped = books.keeper().wrap(cast.config())
    with pytest.raises(openai.RateLimitError) as caught:
        cast.user().initiate_chat(cast.assistant(wrapped), message="What is the tide?", silent=True)
    assert caught.value.response.headers["retry-after"] == "30"
