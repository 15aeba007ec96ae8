"""A wrapped model is what it was: class, cache key, traces, copies; and the original has not changed."""

from __future__ import annotations

import copy
import pickle

import pytest
from langchain_anthropic import ChatAnthropic
from langchain_core.language_models import FakeListChatModel
from langchain_core.load import dumps
from langchain_core.runnables import ConfigurableField
from langchain_openai import AzureChatOpenAI, ChatOpenAI

from ratekeeper import ConfigError, Keeper
from ratekeeper.testing import Fault

CLASSES = {"chat": ChatOpenAI, "responses": ChatOpenAI, "azure": AzureChatOpenAI, "anthropic": ChatAnthropic}
every_kind = pytest.mark.parametrize("kind", CLASSES)


@every_kind
def test_a_wrapped_model_is_an_instance_of_its_own_class(kind, make, books):
    model = make(kind)
    llm = books.keeper().wrap(model)
    assert isinstance(llm, CLASSES[kind])
    assert type(llm).__name__ == CLASSES[kind].__name__
    assert type(llm).__qualname__ == CLASSES[kind].__qualname__
    assert type(llm).__module__ == CLASSES[kind].__module__
    assert "ratekeeper" not in repr(llm)


@every_kind
def test_cache_key_dump_traces_and_profile_are_those_of_the_model(kind, make, books):
    model = make(kind)
    llm = books.keeper().wrap(model)
    assert dumps(llm) == dumps(model)
    assert llm.lc_id() == model.lc_id()
    assert llm._get_llm_string(stop=["x"]) == model._get_llm_string(stop=["x"])
    assert llm._get_ls_params() == model._get_ls_params()
    assert llm._identifying_params == model._identifying_params
    assert llm.model_dump() == model.model_dump()
    assert llm.profile == model.profile


def test_one_class_serves_all_models_of_a_type(make, books):
    first, second = (books.keeper().wrap(make("chat")) for _ in range(2))
    assert type(first) is type(second)
    assert type(first) is not type(books.keeper().wrap(make("azure")))


@every_kind
def test_a_wrapped_model_makes_one_attempt_and_the_original_keeps_its_retries(
    kind, make, books, provider, run
):
    provider.set_faults(Fault(kind="rate_limit", retry_after=0.01))
    model = make(kind)
    llm = books.keeper().wrap(model)
    errors = []
    for call in (lambda: llm.invoke("a"), lambda: run(llm.ainvoke("a")), lambda: list(llm.stream("a"))):
        with pytest.raises(Exception, match="429") as caught:
            call()
        errors.append(caught.value)
    books.agree(3)
    assert len(books.of("failed")) == 3
    with pytest.raises(Exception, match="429") as caught:
        model.invoke("a")
    assert {type(error) for error in errors} == {type(caught.value)}
    assert type(caught.value).__name__.endswith("RateLimitError")
    assert provider.report().requests == 3 + 3


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
@pytest.mark.parametrize("kind", ["chat", "responses", "azure"])
def test_structured_output_makes_one_attempt(kind, make, books, provider, run):
    from pydantic import BaseModel

    class City(BaseModel):
        """A city."""

        name: str

    provider.set_faults(Fault(kind="server_error"))
    llm = books.keeper().wrap(make(kind)).with_structured_output(City, method="json_schema")
    for call in (lambda: llm.invoke("a"), lambda: run(llm.ainvoke("a")), lambda: list(llm.stream("a"))):
        with pytest.raises(Exception, match="500"):
            call()
    books.agree(3)


DERIVED = {
    "with_config": lambda llm: llm.with_config(tags=["a"]),
    "configurable_fields": lambda llm: llm.configurable_fields(
        max_tokens=ConfigurableField("most")
    ).with_config(configurable={"most": 64}),
    "configurable_alternatives": lambda llm: llm.configurable_alternatives(
        ConfigurableField("which"), other=llm
    ).with_config(configurable={"which": "other"}),
    "more_retries": lambda llm: llm.model_copy(update={"max_retries": 5}),
}


@every_kind
@pytest.mark.parametrize("derive", DERIVED.values(), ids=DERIVED)
def test_what_is_derived_from_a_wrapped_model_is_limited_and_makes_one_attempt(
    kind, derive, *, make, books, provider, run
):
    provider.set_faults(Fault(kind="server_error"))
    llm = derive(books.keeper().wrap(make(kind)))
    for call in (lambda: llm.invoke("a"), lambda: run(llm.ainvoke("a")), lambda: list(llm.stream("a"))):
        with pytest.raises(Exception, match="500"):
            call()
    books.agree(3)


@every_kind
def test_copies_are_limited_and_copies_of_the_original_are_not(kind, make, books):
    model = make(kind)
    llm = books.keeper().wrap(model)
    for copied in (copy.copy(llm), llm.model_copy(), llm.model_copy(update={"temperature": 0.5})):
        assert type(copied) is type(llm)
        copied.invoke("hello")
    assert len(books.of("settled")) == 3
    copy.copy(model).invoke("hello")
    books.provider.report()
    assert len(books.of("started")) == 3


def test_a_deep_copy_is_limited_where_the_base_can_be_copied_deeply(make, books):
    llm = books.keeper().wrap(make("anthropic"))
    copy.deepcopy(llm).invoke("hello")
    llm.model_copy(deep=True).invoke("hello")
    books.agree_in_tokens(2)
    with pytest.raises(TypeError, match="RLock"):
        copy.deepcopy(books.keeper().wrap(make("chat")))


def test_a_pickled_model_finds_the_keeper_of_its_name(make, books, provider):
    llm = books.keeper().wrap(make("anthropic"))
    llm.invoke("before its client is in the way")
    there = pickle.loads(pickle.dumps(llm))
    assert type(there) is type(llm)
    provider.set_faults(Fault(kind="server_error"))
    with pytest.raises(Exception, match="500"):
        there.invoke("hello")
    books.agree(2)
    assert len({event.scope for event in books.of("started")}) == 1


def test_a_pickled_model_without_its_keeper_says_so_at_its_first_call(make, provider):
    import gc

    pickled = pickle.dumps(Keeper(name="elsewhere").wrap(make("anthropic")))
    gc.collect()
    llm = pickle.loads(pickled)
    with pytest.raises(ConfigError, match="elsewhere"):
        llm.invoke("hello")
    assert provider.report().requests == 0


def test_a_model_whose_base_cannot_be_pickled_fails_like_it(make, books):
    model = make("chat")
    for one in (model, books.keeper().wrap(model)):
        with pytest.raises(TypeError, match="RLock"):
            pickle.dumps(one)


def test_a_model_built_from_a_wrapped_models_class_says_that_it_belongs_to_nobody(books):
    llm = books.keeper().wrap(FakeListChatModel(responses=["a"]))
    with pytest.raises(ConfigError, match="belongs to no keeper"):
        type(llm)(responses=["a"]).invoke("hello")


def test_wrapping_twice_counts_once_and_the_last_options_hold(make, books):
    keeper = books.keeper()
    llm = keeper.wrap(keeper.wrap(make("chat"), tenant="first"), tenant="second")
    llm.invoke("hello")
    books.agree_in_tokens(1)
    assert books.of("settled")[0].tenant == "second"


def test_a_second_keeper_is_refused(make, books):
    llm = books.keeper().wrap(make("chat"))
    with pytest.raises(ConfigError, match="already wrapped by another Keeper"):
        books.keeper().wrap(llm)


def test_models_made_anew_with_the_same_key_share_a_scope_and_others_do_not(make, books):
    keeper = books.keeper()
    for _ in range(2):
        keeper.wrap(make("chat")).invoke("hello")
    keeper.wrap(make("responses")).invoke("hello")
    keeper.wrap(make("chat", api_key="sk-other")).invoke("hello")
    keeper.wrap(make("chat", organization="org-2")).invoke("hello")
    scopes = [event.scope for event in books.of("started")]
    assert len(set(scopes)) == 3
    assert len(set(scopes[:3])) == 1
    assert not any("sk-" in scope for scope in scopes)


def test_azure_goes_by_endpoint_and_deployment(make, books, provider):
    books.keeper().wrap(make("azure", model="gpt-4o", api_key="sk-2")).invoke("hello")
    assert books.of("started")[0].scope == f"azure/{provider.url.removeprefix('http://')}/mini"


def test_a_copy_with_another_key_falls_under_that_keys_quota(make, books):
    from pydantic import SecretStr

    llm = books.keeper().wrap(make("anthropic"))
    llm.invoke("hello")
    fields = {"anthropic_api_key": ConfigurableField(id="key")}
    configured = llm.configurable_fields(**fields).with_config(configurable={"key": SecretStr("sk-other")})
    configured.invoke("hello")
    report = books.agree_in_tokens(2)
    assert len({event.scope for event in books.of("started")}) == 2
    assert len({scope.key for scope in report.scopes}) == 2


@every_kind
def test_a_key_never_shows(kind, make, books, provider, caplog):
    """In no representation, event, status, pickle, log line, error or report."""
    caplog.set_level("DEBUG", logger="ratekeeper")
    keeper = Keeper(hooks=books, name="without a quota, which it logs", retry=None)
    llm = keeper.wrap(make(kind, api_key="sk-very-secret"))
    llm.invoke("hello")
    provider.set_faults(Fault(kind="server_error"))
    with pytest.raises(Exception, match="500") as failed:
        llm.invoke("hello")
    with pytest.raises(ConfigError) as refused:
        books.keeper().wrap(llm)
    shown = [
        llm.ratekeeper,
        books.events,
        keeper,
        keeper.status(),
        pickle.dumps(llm.ratekeeper),
        provider.report(),
    ]
    assert "very-secret" not in repr([*shown, failed.value, refused.value]) + caplog.text
    assert books.of("failed")
    assert "no quota is set" in caplog.text
