"""The private names of CrewAI that the adapter stands on: each is there, and without it nothing is wrapped."""

from __future__ import annotations

import operator
import types
from importlib import import_module

import pytest
from crewai.llms.base_llm import BaseLLM
from crewai.llms.retry import _active_llm_rate_limit_retry
from crewai.utilities.internal_instructor import InternalInstructor

import ratekeeper as rk
from ratekeeper.adapters.crewai import clients, routed, seams
from ratekeeper.adapters.crewai.subclass import base_of
from ratekeeper.testing import Fault

every_seam = pytest.mark.parametrize(("module", "name"), seams._SEAMS, ids=[name for _, name in seams._SEAMS])


@pytest.fixture
def unchecked():
    seams.check.cache_clear()
    yield
    seams.check.cache_clear()


@every_seam
def test_a_seam_is_there(module, name):
    assert operator.attrgetter(name)(import_module(module)) is not None


@every_seam
def test_a_version_without_a_seam_is_refused_by_name(*, module, name, llm, books, monkeypatch, unchecked):
    model = llm()
    path, _, last = name.rpartition(".")
    owner = import_module(module)
    monkeypatch.delattr(operator.attrgetter(path)(owner) if path else owner, last)
    with pytest.raises(rk.ConfigError, match=f"has no .*{name}.*known is crewai 1.15"):
        books.keeper().wrap(model)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("openai", "_get_sync_client"),
        ("openai", "_get_async_client"),
        ("anthropic", "_get_sync_client"),
        ("anthropic", "_get_async_client"),
        ("gemini", "_get_sync_client"),
        ("azure", "_get_sync_client"),
        ("azure", "_get_async_client"),
        ("bedrock", "_get_sync_client"),
        ("bedrock", "_ensure_async_client"),
    ],
)
def test_an_llm_without_its_getter_is_refused(kind, name, llm, books, monkeypatch):
    base = type(llm(kind))
    monkeypatch.delattr(base, name)
    twin = type(base.__name__, (base,), {})
    with pytest.raises(rk.ConfigError, match=f"has no {name}: known is crewai 1.15"):
        books.keeper().wrap(twin.model_construct(model="any"))


def test_crewai_calls_litellm_in_the_known_methods_alone():
    llm = import_module("crewai.llm").LLM
    assert set(routed._callers(llm)) == set(routed._METHODS)


def test_an_llm_with_another_way_to_litellm_is_refused(llm, books):
    class Other(type(llm("litellm"))):
        def _handle_non_streaming_response(self, *args, **kwargs):
            return super()._handle_non_streaming_response(*args, **kwargs)

    made = object.__new__(Other)
    with pytest.raises(rk.ConfigError, match="calls LiteLLM in _handle_non_streaming_response"):
        clients.overrides(type(made))
    del books


def test_litellm_itself_is_left_alone(llm, books):
    import litellm

    module = import_module("crewai.llm")
    assert books.keeper().wrap(llm("litellm")).call("Hello")
    assert module.litellm is litellm
    assert isinstance(litellm.completion, types.FunctionType)


def test_crewais_own_retries_are_off_inside_a_call_and_on_again_after(llm, books, provider):
    provider.set_faults(Fault(kind="rate_limit", retry_after=0.01))
    seen = []

    class Looking(type(llm())):
        def _call_completions(self, *args, **kwargs):
            seen.append(_active_llm_rate_limit_retry.get())
            return super()._call_completions(*args, **kwargs)

    model = Looking(model="gpt-4o-mini", api_key="sk-test", base_url=provider.openai_url)
    with pytest.raises(Exception, match="429"):
        books.keeper().wrap(model).call("Hello")
    assert seen == [True]
    assert not _active_llm_rate_limit_retry.get()


def test_calls_of_a_wrapped_llm_are_marked_as_retried(llm, books):
    kind = type(books.keeper().wrap(llm()))
    assert kind.call._crewai_rate_limit_wrapped
    assert kind.acall._crewai_rate_limit_wrapped
    assert kind.call.__wrapped__ is base_of(kind).call


def test_the_instructor_of_a_plain_llm_is_crewais_own(llm, books, city):
    books.keeper().wrap(llm())
    plain = llm()
    instructor = InternalInstructor("Text", city, llm=plain)
    assert instructor._client is not None  # the client that CrewAI builds
    wrapped = InternalInstructor("Text", city, llm=books.keeper().wrap(plain))
    assert wrapped._client is None


def test_a_failed_call_leaves_crewais_scopes_as_they_were(llm, books, provider):
    provider.set_faults(Fault(kind="server_error"))
    opened = (("one", "crew_kickoff_started"), ("two", "task_started"))
    token = seams.scopes().set(opened)
    try:
        with pytest.raises(Exception, match="500"):
            books.keeper().wrap(llm()).call("Hello")
        assert seams.scopes().get() == opened
        assert seams.kickoffs() == ("one",)
    finally:
        seams.scopes().reset(token)


def test_a_subclass_of_base_llm_is_put_into_crewais_retries():
    """What the marks are for: without them CrewAI would do so with ours."""

    class Own(BaseLLM):
        def call(self, *args, **kwargs):
            return "answer"

    assert Own.call._crewai_rate_limit_wrapped
