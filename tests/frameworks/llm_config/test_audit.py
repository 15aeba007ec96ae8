"""`keeper.audit` lists every llm_config that an agent, a group chat or a config can reach, wrapped or not."""

from __future__ import annotations

import autogen


def found(keeper, obj):
    return {row.where: row.wrapped for row in keeper.audit(obj)}


def test_a_config_is_listed_entry_by_entry(cast, books):
    keeper = books.keeper()
    both = cast.config(cast.entry(), cast.entry("azure"))
    assert [(row.kind, row.model) for row in keeper.audit(both)] == [
        ("openai", "gpt-4o-mini"),
        ("azure", "mini"),
    ]
    assert found(keeper, both) == {"llm_config.config_list[0]": False, "llm_config.config_list[1]": False}
    assert set(found(keeper, keeper.wrap(both)).values()) == {True}


def test_flat_configs_and_lists_are_listed(cast, books):
    keeper = books.keeper()
    assert found(keeper, cast.entry()) == {"llm_config": False}
    assert found(keeper, [cast.entry(), keeper.wrap(cast.entry())]) == {
        "llm_config[0]": False,
        "llm_config[1]": True,
    }


def test_an_agent_is_listed_with_what_it_uses(cast, books):
    keeper = books.keeper()
    assert found(keeper, cast.assistant(keeper.wrap(cast.config()))) == {
        "AssistantAgent.llm_config.config_list[0]": True
    }
    assert found(keeper, cast.assistant(cast.config())) == {"AssistantAgent.llm_config.config_list[0]": False}
    assert found(keeper, cast.user()) == {}


def test_an_agent_whose_client_was_made_of_another_config_is_not_wrapped(cast, books):
    keeper = books.keeper()
    agent = cast.assistant(keeper.wrap(cast.config()))
    agent.client = autogen.OpenAIWrapper(**cast.config())
    assert set(found(keeper, agent).values()) == {False}


def test_a_group_chat_is_listed_with_its_manager(cast, books):
    keeper = books.keeper()
    chat = cast.group(keeper.wrap(cast.config()))
    chat.agents.append(cast.user())
    assert set(found(keeper, chat).values()) == {True}
    rows = found(keeper, autogen.GroupChatManager(groupchat=chat, llm_config=cast.config()))
    assert rows.pop("GroupChatManager.llm_config.config_list[0]") is False
    assert sorted(rows) == [
        f"GroupChatManager.groupchat.agents[{at}].llm_config.config_list[0]" for at in range(3)
    ]
    assert set(rows.values()) == {True}


def test_nested_chats_are_listed(cast, books):
    keeper = books.keeper()
    writer, critic, asker = (
        cast.assistant(keeper.wrap(cast.config())),
        cast.assistant(cast.config(), "critic"),
        cast.user(replies=1),
    )
    asker.register_nested_chats([{"recipient": critic, "message": "Judge this."}], trigger=writer)
    assert found(keeper, asker) == {
        "UserProxyAgent.nested_chats[0].recipient.llm_config.config_list[0]": False,
    }
