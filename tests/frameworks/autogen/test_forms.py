"""The forms of an llm_config that came with `LLMConfig`: its objects, lists of entries, and entry objects."""

from __future__ import annotations

import copy

import pytest
from autogen import LLMConfig
from autogen.oai.client import AzureOpenAILLMConfigEntry, DeepSeekLLMConfigEntry, OpenAILLMConfigEntry

import ratekeeper as rk

FORMS = ("list", "LLMConfig", "list of objects", "entry", "azure", "deepseek", "LLMConfig of objects")


@pytest.fixture
def form(cast, provider):
    """Makes a config of a form."""

    def make(kind):
        if kind == "azure":
            return AzureOpenAILLMConfigEntry(**cast.entry("azure"))
        if kind == "deepseek":
            return DeepSeekLLMConfigEntry(**cast.entry(model="deepseek-chat"))
        made = OpenAILLMConfigEntry(**cast.entry())
        forms = {
            "list": [cast.entry()],
            "LLMConfig": LLMConfig(cast.entry(), temperature=0.5),
            "list of objects": [made],
            "entry": made,
            "LLMConfig of objects": LLMConfig(made),
        }
        return forms[kind]

    return make


@pytest.mark.parametrize("kind", FORMS)
def test_each_call_of_a_chat_has_one_lease_and_is_settled_with_the_providers_count(kind, form, books, cast):
    wrapped = books.keeper().wrap(form(kind))
    cast.user(replies=2).initiate_chat(cast.assistant(wrapped), message="What is the tide?", silent=True)
    books.agree_in_tokens(3)


@pytest.mark.parametrize("kind", FORMS)
def test_the_config_given_stays_as_it_is_and_its_type_is_kept(kind, form, books):
    config = form(kind)
    before = copy.deepcopy(config) if isinstance(config, list) else config.model_dump()
    wrapped = books.keeper().wrap(config)
    assert (config if isinstance(config, list) else config.model_dump()) == before
    assert type(wrapped) is type(config)
    if isinstance(config, list):
        assert [type(entry) for entry in wrapped] == [type(entry) for entry in config]


@pytest.mark.parametrize("kind", FORMS)
def test_wrapping_twice_counts_each_call_once(kind, form, books, cast):
    keeper = books.keeper()
    wrapped = keeper.wrap(keeper.wrap(form(kind)))
    cast.user(replies=1).initiate_chat(cast.assistant(wrapped), message="What is the tide?", silent=True)
    books.agree_in_tokens(2)


@pytest.mark.parametrize("kind", FORMS)
def test_another_keepers_config_is_refused(kind, form, books):
    wrapped = books.keeper().wrap(form(kind))
    with pytest.raises(rk.ConfigError, match="another Keeper"):
        books.keeper().wrap(wrapped)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, LLMConfig.copy, LLMConfig.deepcopy])
def test_a_copy_is_wrapped(copied, form, books, cast):
    wrapped = copied(books.keeper().wrap(form("LLMConfig")))
    cast.user().initiate_chat(cast.assistant(wrapped), message="What is the tide?", silent=True)
    books.agree_in_tokens(1)


def test_what_is_picked_from_a_config_is_wrapped(cast, books):
    wrapped = books.keeper().wrap(LLMConfig(cast.entry(model="gpt-4o"), cast.entry()))
    cast.user().initiate_chat(
        cast.assistant(wrapped.where(model="gpt-4o-mini")), message="What is the tide?", silent=True
    )
    books.agree_in_tokens(1)
    assert [event.model for event in books.of("settled")] == ["gpt-4o-mini"]


def test_settings_of_the_config_are_kept(cast, books):
    wrapped = books.keeper().wrap(LLMConfig(cast.entry(), temperature=0.5, cache_seed=3))
    assert (wrapped.temperature, wrapped.cache_seed) == (0.5, 3)


def test_a_class_of_the_users_own_is_kept(cast, books):
    class HouseConfig(LLMConfig):
        pass

    wrapped = books.keeper().wrap(HouseConfig(cast.entry()))
    assert type(wrapped) is HouseConfig
    cast.user().initiate_chat(cast.assistant(wrapped), message="What is the tide?", silent=True)
    books.agree_in_tokens(1)


def test_a_config_that_keeps_its_settings_elsewhere_is_refused(cast, books):
    config = LLMConfig(cast.entry())
    del config.__dict__["_model"]
    with pytest.raises(rk.ConfigError, match=r"known are ag2 0\.9 to autogen 0\.14"):
        books.keeper().wrap(config)


def test_the_responses_api_is_settled_with_the_providers_count(cast, books):
    wrapped = books.keeper().wrap(cast.config(cast.entry(api_type="responses")))
    cast.user(replies=9).initiate_chat(
        cast.assistant(wrapped), message="What is the tide?", silent=True, max_turns=2
    )
    books.agree_in_tokens(2)
