"""The headers of every successful answer reach its call, and nobody else sees a trace of it."""

from __future__ import annotations

import json
import pickle
import re
from dataclasses import dataclass, field
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import BaseChatModel
from langchain_core.load import dumpd
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel

from ratekeeper.call import Call
from ratekeeper.providers.limits import read_limits
from ratekeeper.testing import Fault, Reply

KINDS = ["chat", "responses", "azure", "azure-responses", "anthropic"]
every_kind = pytest.mark.parametrize("kind", KINDS)

#: What the server grants; any of it learned can only have come from a header.
RPM, TPM, ITPM, OTPM = 6000, 9_000_000, 800_000, 700_000

#: Of one request only: ids and the time.
_PASSING = re.compile(r"lc_run--[0-9a-f-]+|(?:chatcmpl-|resp_|msg_)[0-9]+|\"created_at\": [0-9.]+")

TOLD = {"x-ratelimit-limit-tokens": "5000000"}


@dataclass
class Learned:
    """What calls learned, in order, and what had been settled by then."""

    books: Any
    calls: list[Call] = field(default_factory=list)
    headers: list[Any] = field(default_factory=list)
    settled_before: list[int] = field(default_factory=list)

    def take(self, call: Call, headers: object) -> None:
        self.calls.append(call)
        self.headers.append(headers)
        self.settled_before.append(len(self.books.of("settled")))

    def once_a_call(self, calls: int) -> None:
        """So many calls learned, each once, the limits of the server, each before it was settled."""
        assert len(self.calls) == len({id(call) for call in self.calls}) == calls
        assert self.settled_before == list(range(calls))
        for headers in self.headers:
            limits = {limit.dimension: limit for limit in read_limits(headers, now=0.0)}
            assert limits["requests"].limit == RPM
            assert 0 <= RPM - limits["requests"].remaining < 50
            assert limits["tokens"].limit == TPM


@pytest.fixture
def learned(books, monkeypatch) -> Learned:
    record, original = Learned(books), Call.learn

    def learn(call: Call, headers: object) -> None:
        record.take(call, headers)
        original(call, headers)

    monkeypatch.setattr(Call, "learn", learn)
    return record


@pytest.fixture(autouse=True)
def _limits(provider):
    provider.set_limits(rpm=RPM, tpm=TPM, itpm=ITPM, otpm=OTPM)


@pytest.fixture
def llm(kind, make, books):
    return books.keeper().wrap(make(kind))


class Weather(BaseModel):
    """The weather somewhere."""

    city: str


@tool
def weather(city: str) -> str:
    """The weather in a city."""
    return f"rain in {city}"


class Onlooker(BaseCallbackHandler):
    """What callbacks are shown, written down as they are shown it."""

    raise_error = True

    def __init__(self) -> None:
        self.shown: list[str] = []

    def on_llm_new_token(self, token: str, *, chunk: Any = None, **_: Any) -> None:
        self.shown.append(text_of(chunk))

    def on_llm_end(self, response: Any, **_: Any) -> None:
        self.shown.append(text_of([generation for row in response.generations for generation in row]))
        self.shown.append(text_of(response.llm_output))


def text_of(answer: Any) -> str:
    """Everything in an answer but what differs from one request to the next."""
    text = json.dumps(dumpd(answer), sort_keys=True, default=repr)
    return _PASSING.sub("", text)


async def consume(stream):
    return [item async for item in stream]


def in_all_forms(model, run, **options):
    """What each of the four ways to call a model gives, and what callbacks were shown meanwhile."""
    eye = Onlooker()
    config = {"callbacks": [eye]}
    return [
        text_of(model.invoke("hello", config, **options)),
        text_of(run(model.ainvoke("hello", config, **options))),
        text_of(list(model.stream("hello", config, **options))),
        text_of(run(consume(model.astream("hello", config, **options)))),
        *eye.shown,
    ]


@every_kind
def test_every_form_learns_once_before_it_settles_and_shows_what_the_unwrapped_model_shows(
    kind, make, books, learned, run
):
    model = make(kind, stream_usage=True)  # as wrapping has it
    expected = in_all_forms(model, run)
    assert learned.calls == []
    answers = in_all_forms(books.keeper().wrap(model), run)
    assert answers == expected
    assert "ratelimit" not in "".join(answers)
    learned.once_a_call(4)


@pytest.mark.parametrize("kind", ["chat", "responses", "azure"])
def test_headers_that_the_user_asked_for_are_shown_as_the_unwrapped_model_shows_them(
    kind, make, books, learned, run
):
    model = make(kind, include_response_headers=True)
    answers = books.keeper().wrap(model)
    assert answers.invoke("hello").response_metadata["headers"]["x-ratelimit-limit-tokens"] == str(TPM)
    for one in (model, answers):
        shown = [next(iter(one.stream("hello"))), run(consume(one.astream("hello")))[0]]
        assert [chunk.response_metadata["headers"]["x-ratelimit-limit-requests"] for chunk in shown] == [
            str(RPM)
        ] * 2
    learned.once_a_call(3)


# langchain_openai serialises the parsed object into a field that openai types as None.
@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
@every_kind
@pytest.mark.parametrize("method", ["function_calling", "json_schema"])
def test_structured_output_learns_in_every_form(llm, learned, run, provider, method):
    from ratekeeper.testing import ToolCall

    call = ToolCall(name="Weather", arguments={"city": "Oslo"})
    reply = {"text": '{"city": "Oslo"}'} if method == "json_schema" else {"tool_calls": [call]}
    provider.script(Reply(**reply, times=4))
    structured = llm.with_structured_output(Weather, method=method)
    assert structured.invoke("weather?") == Weather(city="Oslo")
    assert run(structured.ainvoke("weather?")) == Weather(city="Oslo")
    assert list(structured.stream("weather?"))[-1] == Weather(city="Oslo")
    assert run(consume(structured.astream("weather?")))[-1] == Weather(city="Oslo")
    learned.once_a_call(4)


@pytest.mark.filterwarnings("ignore:.*beta:langchain_core._api.LangChainBetaWarning")
@every_kind
def test_v3_events_learn(llm, learned, run):
    async def text():
        stream = await llm.astream_events("hello", version="v3")
        return await stream.text

    assert llm.stream_events("hello", version="v3").output.text
    assert run(text())
    learned.once_a_call(2)


class Native(ChatOpenAI):
    """A model of the family with LangChain's newest hooks, as newer releases bring them."""

    def _stream_chat_model_events(self, messages, stop=None, run_manager=None, **kwargs):
        from langchain_core.language_models._compat_bridge import chunks_to_events

        yield from chunks_to_events(super()._stream(messages, stop, **kwargs))

    async def _astream_chat_model_events(self, messages, stop=None, run_manager=None, **kwargs):
        from langchain_core.language_models._compat_bridge import achunks_to_events

        async for event in achunks_to_events(super()._astream(messages, stop, **kwargs)):
            yield event


@pytest.mark.filterwarnings("ignore:.*beta:langchain_core._api.LangChainBetaWarning")
def test_native_event_hooks_learn_at_their_first_event(make, provider, books, learned, run):
    base = make("chat")
    native = Native(**{name: getattr(base, name) for name in base.model_fields_set})
    llm = books.keeper().wrap(native)
    events = llm._stream_chat_model_events([HumanMessage("hello")])
    assert next(events)["event"] == "message-start"
    assert len(learned.calls) == 1
    assert list(events)[-1]["event"] == "message-finish"

    async def text():
        stream = await llm.astream_events("hello", version="v3")
        return await stream.text

    assert run(text())
    learned.once_a_call(2)


def test_anthropic_betas_learn_in_every_form(make, books, learned, run):
    in_all_forms(books.keeper().wrap(make("anthropic", betas=["token-efficient-tools-2025-02-19"])), run)
    learned.once_a_call(4)


@every_kind
def test_bound_tools_and_copies_learn(llm, learned, run):
    bound = llm.bind_tools([weather])
    bound.invoke("hello")
    run(bound.ainvoke("hello"))
    llm.model_copy(update={"temperature": 0.5}).invoke("hello")
    learned.once_a_call(3)


def test_a_pickled_model_learns_where_its_base_can_be_pickled(make, books, learned, run):
    llm = books.keeper().wrap(make("anthropic"))
    llm.invoke("before its client is in the way")
    in_all_forms(pickle.loads(pickle.dumps(llm)), run)
    learned.once_a_call(5)


@every_kind
def test_a_stream_learns_at_its_first_chunk(llm, provider, books, learned, run):
    provider.script(Reply(tokens=4000, times=None))
    stream = llm.stream("hello")
    next(stream)
    assert len(learned.calls) == 1
    stream.close()

    async def first():
        stream = llm.astream("hello")
        await stream.__anext__()
        assert len(learned.calls) == 2
        await stream.aclose()

    run(first())
    books.agree(2)
    assert len(learned.calls) == 2


@every_kind
def test_an_error_is_not_learned_from(llm, provider, learned, run):
    provider.set_faults(Fault(kind="rate_limit", retry_after=0.01))
    for call in (lambda: llm.invoke("a"), lambda: run(llm.ainvoke("a")), lambda: list(llm.stream("a"))):
        with pytest.raises(Exception, match="429"):
            call()
    assert learned.calls == []


@pytest.mark.parametrize("kind", ["chat", "responses", "azure"])
def test_concurrent_calls_each_learn_from_their_own_answer(kind, make, books, learned, run):
    """On one pair of clients, tasks and threads at once; the call is told by its tenant."""
    import asyncio
    from concurrent.futures import ThreadPoolExecutor

    keeper, model = books.keeper(), make(kind, include_response_headers=True)
    wrapped = {f"tenant-{number}": keeper.wrap(model, tenant=f"tenant-{number}") for number in range(12)}

    async def all_of_them():
        return await asyncio.gather(*(llm.ainvoke("hello") for llm in wrapped.values()))

    with ThreadPoolExecutor(6) as pool:
        rounds = [list(pool.map(lambda llm: llm.invoke("hello"), wrapped.values())), run(all_of_them())]
    of_answers = {
        (tenant, answer.response_metadata["headers"]["x-request-id"])
        for answers in rounds
        for tenant, answer in zip(wrapped, answers, strict=True)
    }
    pairs = zip(learned.calls, learned.headers, strict=True)
    assert sorted((call.tenant, headers["x-request-id"]) for call, headers in pairs) == sorted(of_answers)
    assert len(of_answers) == 24


def test_a_call_from_within_a_stream_learns_for_itself(make, books, learned):
    keeper = books.keeper()
    outer, inner = keeper.wrap(make("chat"), tenant="outer"), keeper.wrap(make("anthropic"), tenant="inner")
    for index, _ in enumerate(outer.stream("hello")):
        if index == 0:
            inner.invoke("hello")
    assert [call.tenant for call in learned.calls] == ["outer", "inner"]
    assert ["x-request-id" in headers for headers in learned.headers] == [True, False]


@every_kind
def test_the_users_model_and_clients_stay_as_they_were(kind, make, books, learned, run):
    import httpx2

    if kind == "anthropic":
        model, sdk = make(kind), ("_client", "_async_client")
    else:
        clients = {"http_client": httpx2.Client(), "http_async_client": httpx2.AsyncClient()}
        model, sdk = make(kind, **clients), ("root_client", "root_async_client")
    in_all_forms(model, run)
    before = [dict(vars(getattr(model, name))) for name in sdk]
    fields, http = dict(vars(model)), [dict(vars(client["_client"])) for client in before]
    in_all_forms(books.keeper().wrap(model), run)
    learned.once_a_call(4)
    assert vars(model) == fields
    assert [dict(vars(getattr(model, name))) for name in sdk] == before
    assert [dict(vars(client["_client"])) for client in before] == http


class Telling(BaseChatModel):
    """A model of another package, which shows the headers it got."""

    where: str

    def _generate(self, messages, stop=None, run_manager=None, **kwargs):
        return ChatResult(
            generations=[ChatGeneration(message=AIMessage("hi", **self._on("message")), **self._on("info"))]
        )

    def _stream(self, messages, stop=None, run_manager=None, **kwargs):
        first = AIMessageChunk("h", **self._on("message"))
        yield ChatGenerationChunk(message=first, **self._on("info"))
        yield ChatGenerationChunk(message=AIMessageChunk("i"))

    def _stream_chat_model_events(self, messages, stop=None, run_manager=None, **kwargs):
        yield {"event": "message-start", "role": "ai", "metadata": {"headers": TOLD}}
        yield {"event": "message-finish"}

    def _on(self, where):
        if where != self.where:
            return {}
        return {"generation_info" if where == "info" else "response_metadata": {"headers": TOLD}}

    @property
    def _llm_type(self):
        return "telling"


@pytest.mark.parametrize("where", ["info", "message", "nowhere"])
def test_any_model_that_shows_its_headers_teaches_them(where, books, learned, run):
    model = Telling(where=where)
    llm = books.keeper().wrap(model)
    assert in_all_forms(llm, run) == in_all_forms(model, run)
    assert learned.headers == [TOLD] * (0 if where == "nowhere" else 4)


def test_a_protocol_event_that_shows_its_headers_teaches_them(books, learned):
    llm = books.keeper().wrap(Telling(where="nowhere"))
    assert len(list(llm._stream_chat_model_events([]))) == 2
    assert learned.headers == [TOLD]


def test_without_the_seam_calls_work_and_nothing_is_learned(make, books, learned, monkeypatch):
    monkeypatch.setattr("ratekeeper.adapters.langchain.clients.listen", lambda client: client)
    assert books.keeper().wrap(make("chat")).invoke("hello").content
    books.agree_in_tokens(1)
    assert learned.calls == []
