"""Group chats as only later versions have them."""

from __future__ import annotations

import autogen


def test_a_selector_of_its_own_is_counted_if_it_is_wrapped(cast, books, provider):
    keeper = books.keeper()
    wrapped, selector = keeper.wrap(cast.config()), keeper.wrap(cast.config(cast.entry(model="gpt-4o")))
    provider.script(*cast.says_who("writer", "critic", "editor"))
    chat = cast.group(wrapped, select_speaker_auto_llm_config=selector)
    manager = autogen.GroupChatManager(groupchat=chat, llm_config=False)
    cast.user().initiate_chat(manager, message="On tides.", silent=True)
    books.agree_in_tokens(6)
    assert sorted(event.model for event in books.of("settled")) == ["gpt-4o"] * 3 + ["gpt-4o-mini"] * 3


def test_a_selector_of_its_own_is_audited(cast, books):
    keeper = books.keeper()
    chat = cast.group(keeper.wrap(cast.config()), select_speaker_auto_llm_config=cast.config())
    rows = {row.where: row.wrapped for row in keeper.audit(chat)}
    assert rows.pop("GroupChat.select_speaker_auto_llm_config.config_list[0]") is False
    assert set(rows.values()) == {True}
