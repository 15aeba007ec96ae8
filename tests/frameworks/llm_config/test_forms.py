"""What `keeper.wrap` makes of the forms of an llm_config that every version takes, and what AutoGen makes of it."""

from __future__ import annotations

import copy
import gc
from collections import OrderedDict

import autogen
import pytest

import ratekeeper as rk
from ratekeeper.adapters.autogen import seams

FORMS = ("flat", "config_list", "tuple", "ordered", "azure")


@pytest.fixture
def form(cast):
    """Makes a config of a form."""

    def make(kind):
        if kind == "flat":
            return cast.entry() | {"cache_seed": None}
        if kind == "azure":
            return {"config_list": [cast.entry("azure")], "cache_seed": None}
        if kind == "ordered":
            return OrderedDict(config_list=[cast.entry()], cache_seed=None)
        entries = [cast.entry()]
        return {"config_list": tuple(entries) if kind == "tuple" else entries, "cache_seed": None}

    return make


@pytest.mark.parametrize("kind", FORMS)
def test_each_call_of_a_chat_has_one_lease_and_is_settled_with_the_providers_count(kind, form, books, cast):
    config = books.keeper().wrap(form(kind))
    cast.user(replies=2).initiate_chat(cast.assistant(config), message="What is the tide?", silent=True)
    books.agree_in_tokens(3)


@pytest.mark.parametrize("kind", FORMS)
def test_the_config_given_stays_as_it_is_and_its_type_is_kept(kind, form, books):
    config = form(kind)
    before = copy.deepcopy(config)
    wrapped = books.keeper().wrap(config)
    assert config == before
    assert type(wrapped) is type(config)
    if "config_list" in config:
        assert type(wrapped["config_list"]) is type(config["config_list"])


@pytest.mark.parametrize("kind", FORMS)
def test_wrapping_twice_counts_each_call_once(kind, form, books, cast):
    keeper = books.keeper()
    config = keeper.wrap(keeper.wrap(form(kind)))
    cast.user(replies=1).initiate_chat(cast.assistant(config), message="What is the tide?", silent=True)
    books.agree_in_tokens(2)


def test_another_keepers_config_is_refused(cast, books):
    wrapped = books.keeper().wrap(cast.config())
    with pytest.raises(rk.ConfigError, match="another Keeper"):
        books.keeper().wrap(wrapped)


def test_a_copy_of_a_wrapped_config_is_wrapped(cast, books):
    wrapped = copy.deepcopy(books.keeper().wrap(cast.config()))
    cast.user().initiate_chat(cast.assistant(wrapped), message="What is the tide?", silent=True)
    books.agree_in_tokens(1)


def test_agents_of_one_config_share_its_limit(cast, books, provider):
    keeper = books.keeper(rk.Quota(rpm=2), headroom=0, timeout=0.1)
    wrapped = keeper.wrap(cast.config())
    writers = [cast.assistant(wrapped, name) for name in ("writer", "critic", "editor")]
    for writer in writers[:2]:
        cast.user().initiate_chat(writer, message="What is the tide?", silent=True)
    with pytest.raises(rk.QuotaExceededError):
        cast.user().initiate_chat(writers[2], message="What is the tide?", silent=True)
    books.agree(2)


def test_streamed_answers_are_settled_with_the_providers_count(cast, books):
    wrapped = books.keeper().wrap(cast.config(cast.entry(stream=True)))
    cast.user(replies=1).initiate_chat(cast.assistant(wrapped), message="What is the tide?", silent=True)
    books.agree_in_tokens(2)


def test_calls_bear_the_name_of_the_agent_that_makes_them(cast, books):
    wrapped = books.keeper().wrap(cast.config())
    for name in ("writer", "critic"):
        cast.user().initiate_chat(cast.assistant(wrapped, name), message="What is the tide?", silent=True)
    assert [event.caller for event in books.of("settled")] == ["writer", "critic"]
    assert [event.tags["agent"] for event in books.of("settled")] == ["writer", "critic"]


def test_an_agent_named_in_the_wrap_is_the_caller(cast, books):
    wrapped = books.keeper().wrap(cast.config(), agent="desk")
    cast.user().initiate_chat(cast.assistant(wrapped), message="What is the tide?", silent=True)
    assert [event.caller for event in books.of("settled")] == ["desk"]


def test_an_answer_from_autogens_cache_on_disk_reserves_nothing(cast, books):
    wrapped = books.keeper().wrap(cast.config())
    with autogen.Cache.disk(cache_seed=7) as cache:
        for _ in range(2):
            cast.user().initiate_chat(
                cast.assistant(wrapped), message="What is the tide?", silent=True, cache=cache
            )
    books.agree_in_tokens(1)


def test_the_users_own_client_sends_the_requests(cast, books, httpx):
    seen = []
    client = httpx.Client(event_hooks={"request": [seen.append]}, headers={"x-proxy": "inner"})
    with client:
        wrapped = books.keeper().wrap(cast.config(cast.entry(http_client=client)))
        cast.user().initiate_chat(cast.assistant(wrapped), message="What is the tide?", silent=True)
    assert [request.headers["x-proxy"] for request in seen] == ["inner"]
    books.agree_in_tokens(1)


def test_the_entrys_timeout_is_kept(cast, books, provider):
    provider.script(rk.testing.Reply(latency=2.0))
    wrapped = books.keeper().wrap(cast.config(cast.entry(timeout=0.2)))
    with pytest.raises(TimeoutError):
        cast.user().initiate_chat(cast.assistant(wrapped), message="What is the tide?", silent=True)
    assert [event.failure.kind for event in books.of("failed")] == ["timeout"]


def test_a_wrapper_outlives_the_config_that_it_was_made_of(cast, books):
    """The connections are the config's, which are closed when nobody holds them any more."""
    client = autogen.OpenAIWrapper(**books.keeper().wrap(cast.config()))
    gc.collect()
    client.create(messages=[{"role": "user", "content": "What is the tide?"}])
    books.agree_in_tokens(1)


def test_configs_that_were_not_wrapped_are_left_alone(cast, books, provider):
    books.keeper().wrap(cast.config())
    cast.user().initiate_chat(cast.assistant(cast.config()), message="What is the tide?", silent=True)
    assert provider.report().requests == 1
    assert books.events == []


def test_a_key_is_shown_nowhere(cast, books):
    wrapped = books.keeper().wrap(cast.config(cast.entry(api_key="sk-secret-of-the-house")))
    client = wrapped["config_list"][0]["http_client"]
    assert (
        "sk-secret" not in f"{client!r} {vars(client)!r} {books.keepers[0]!r} {books.keepers[0].status()!r}"
    )


@pytest.mark.parametrize("other", [{}, {"a": 1}, {"model": 3}, [], [1], ["gpt-4o"]])
def test_other_dicts_and_lists_are_refused_as_ever(other, books):
    with pytest.raises(TypeError, match=r"cannot wrap an object of type (dict|list) .*llm_config"):
        books.keeper().wrap(other)


def test_a_config_without_entries_is_refused_for_autogen_would_make_one(books):
    with pytest.raises(rk.ConfigError, match="config_list is empty"):
        books.keeper().wrap({"config_list": []})


@pytest.mark.parametrize("kind", ["bedrock", "cohere", "mistral", "together", "ollama", "cerebras"])
def test_an_entry_that_cannot_be_gated_is_refused_by_place_and_name(kind, cast, books):
    with pytest.raises(TypeError, match=rf"config_list\[1\] has api_type '{kind}'"):
        books.keeper().wrap(cast.config(cast.entry(), cast.entry(api_type=kind)))


@pytest.mark.parametrize("settings", [{"api_key": None}, {"project_id": "house"}])
def test_vertex_is_refused_since_it_is_called_by_grpc(settings, cast, books):
    with pytest.raises(TypeError, match=r"config_list\[0\] has api_type 'google' .*gRPC"):
        books.keeper().wrap(cast.config(cast.entry(api_type="google", **settings)))


def test_a_model_client_of_ones_own_is_refused(cast, books):
    with pytest.raises(TypeError, match=r"config_list\[0\] .* model client of your own"):
        books.keeper().wrap(cast.config(cast.entry(model_client_cls="Mine")))


def test_an_agent_is_no_config(cast, books):
    with pytest.raises(TypeError, match="wrap its llm_config"):
        books.keeper().wrap(cast.assistant(cast.config()))


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, name, _, _ in seams._SEAMS])
def test_a_version_without_a_seam_is_refused(kind, name, cast, books, monkeypatch):
    """A private place of AutoGen that is gone, or takes something else, is found when a config is wrapped."""
    books.keeper().wrap(cast.config())
    owner = seams._owner(
        "autogen.oai.client" if kind == "OpenAIWrapper" else "autogen.agentchat.conversable_agent", kind
    )
    agent = seams._owner("autogen.agentchat.conversable_agent", "ConversableAgent")
    monkeypatch.delattr(agent, seams._CHANGED)
    monkeypatch.setattr(owner, name, lambda self: None)
    with pytest.raises(rk.ConfigError, match=rf"{kind} has no {name}\(.*known are ag2 0.9"):
        books.keeper().wrap(cast.config())


def test_the_seams_are_changed_once(cast, books):
    keeper = books.keeper()
    keeper.wrap(cast.config())
    owner = seams._owner("autogen.agentchat.conversable_agent", "ConversableAgent")
    before = owner.a_generate_oai_reply
    keeper.wrap(cast.config())
    assert owner.a_generate_oai_reply is before
    assert not hasattr(before.__wrapped__, "__wrapped__")
