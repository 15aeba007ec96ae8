"""What the fake provider counts and says: prompts, lengths, scripts, schemas, faults, headers."""

from __future__ import annotations

import math
import random
import statistics

import pytest

from ratekeeper.errors import ConfigError
from ratekeeper.testing.answers import Script, compose
from ratekeeper.testing.faults import FaultPlan
from ratekeeper.testing.limits import Limits, QuotaChange, Use
from ratekeeper.testing.report import Entry, Report, fingerprint
from ratekeeper.testing.schema import minimal
from ratekeeper.testing.settings import Fault, Reply, Settings, ToolCall
from ratekeeper.testing.usage import Prompt, count_tokens, draw_length, make_text
from ratekeeper.testing.wire.call import BadRequestError, Call
from ratekeeper.testing.wire.chat import Chat
from ratekeeper.testing.wire.openai import go_duration


def read(content="Hello", **more):
    return Chat().read({"model": "m", "messages": [{"role": "user", "content": content}], **more}, None)


@pytest.mark.parametrize("tokens", [0, 1, 7, 1000])
def test_a_made_text_has_exactly_the_tokens_asked(tokens):
    assert count_tokens(make_text(tokens)) == tokens


def test_a_prompt_is_counted_by_the_stated_rule():
    prompt = Prompt()
    prompt.add_message("12345678")
    prompt.add_message([{"type": "text", "text": "1234"}, {"type": "image_url", "image_url": {}}], name="x")
    assert prompt.tokens == 3 + 2 * 3 + 1 + 85 + 3
    assert prompt.estimate == 3
    assert prompt.last == "1234"


def test_texts_that_are_not_utf_8_are_counted_too():
    prompt = Prompt()
    prompt.add_message("\ud800" * 8)
    assert prompt.estimate == 2


def test_lengths_have_the_median_and_the_spread_that_were_set():
    rng = random.Random(3)
    lengths = [draw_length(200, 0.5, rng) for _ in range(4000)]
    assert 185 < statistics.median(lengths) < 215
    assert 0.45 < statistics.stdev(map(math.log, lengths)) < 0.55


def test_a_prompts_answer_depends_on_seed_and_prompt_and_not_on_order():
    def lengths(seed, prompts):
        settings = Settings(output_tokens=100, output_sigma=1.0, seed=seed)
        return {p: compose(read(p), None, settings, 1, 0).usage.output for p in prompts}

    prompts = [f"prompt {n}" for n in range(20)]
    assert lengths(1, prompts) == lengths(1, prompts[::-1])
    assert lengths(1, prompts) != lengths(2, prompts)
    assert len(set(lengths(1, prompts).values())) > 10


def test_a_share_of_the_prompt_is_reported_as_cached():
    usage = compose(read("x" * 4000), None, Settings(cached_share=0.5, reasoning_tokens=7), 1, 0).usage
    assert (usage.input, usage.cached, usage.reasoning, usage.output) == (1006, 503, 7, 32 + 7)


def test_replies_are_used_in_order_as_often_as_they_say():
    script = Script([Reply(text="a"), Reply(text="b", times=2), Reply(text="c", times=None)])
    assert [script.take("").text for _ in range(5)] == ["a", "b", "b", "c", "c"]


def test_a_forced_tool_that_is_not_offered_is_a_bad_request():
    with pytest.raises(BadRequestError, match="not found"):
        read(tools=[], tool_choice={"type": "function", "function": {"name": "no"}})


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"properties": {"a": {"type": "string"}, "b": {}}, "required": ["a"]}, {"a": "text"}),
        ({"type": "string", "enum": ["x", "y"]}, "x"),
        ({"const": 5}, 5),
        ({"type": "string", "minLength": 6}, "textxx"),
        ({"type": "string", "maxLength": 2}, "te"),
        ({"type": "string", "format": "date"}, "2026-01-01"),
        ({"type": "integer", "minimum": 3, "multipleOf": 5}, 5),
        ({"type": "integer", "exclusiveMinimum": 0}, 1),
        ({"type": "integer", "maximum": -4}, -4),
        ({"type": "number", "exclusiveMinimum": 0, "maximum": 0.5}, 0.25),
        ({"type": "array", "items": {"type": "boolean"}, "minItems": 2}, [False, False]),
        ({"type": "array", "prefixItems": [{"type": "null"}], "items": {"type": "string"}}, [None]),
        ({"type": ["null", "string"]}, None),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, 0),
        ({"allOf": [{"properties": {"a": {"type": "integer"}}, "required": ["a"]}, {"$ref": "#/$defs/B"}],
          "$defs": {"B": {"properties": {"b": {"const": 1}}, "required": ["b"]}}}, {"a": 0, "b": 1}),
        ({"$ref": "#/$defs/N", "$defs": {"N": {"type": "string"}}}, "text"),
        ({}, {}),
    ],
)  # fmt: skip
def test_the_least_value_of_a_schema_is_valid(schema, value):
    assert minimal(schema) == value


def test_a_recursive_schema_ends_where_it_may():
    node = {
        "type": "object",
        "required": ["next"],
        "properties": {"next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}},
    }
    value, depth = minimal(node), 0
    while value is not None:
        value, depth = value["next"], depth + 1
    assert depth < 20


def test_a_schema_that_needs_itself_for_ever_is_a_bad_request():
    endless = {"type": "object", "required": ["next"], "properties": {"next": {"$ref": "#"}}}
    call = Call(model="m", prompt=Prompt(), schema=endless)
    with pytest.raises(BadRequestError, match="schema"):
        compose(call, None, Settings(), 1, 0)


def test_faults_come_by_count_by_time_and_by_model():
    plan = FaultPlan([Fault(kind="slow", every=3, times=2, after=1.0, until=2.0, model="a*")], seed=0)
    assert [plan.next("abc", 0.5) for _ in range(6)] == [None] * 6
    struck = [plan.next("abc", 1.5) is not None for _ in range(12)]
    assert [n for n, hit in enumerate(struck, 1) if hit] == [3, 6]
    assert plan.next("b", 1.5) is None
    assert plan.next("abc", 2.0) is None


def test_chances_are_kept_and_the_same_for_the_same_seed():
    def struck(seed):
        plan = FaultPlan([Fault(kind="slow", probability=0.1)], seed)
        return [plan.next("m", 0.0) is not None for _ in range(3000)]

    assert struck(5) == struck(5) != struck(6)
    assert 230 < sum(struck(5)) < 370


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.0174, "18ms"),
        (1, "1s"),
        (7.66, "7.66s"),
        (360, "6m0s"),
        (3600, "1h0m0s"),
        (179.56, "2m59.56s"),
    ],
)
def test_durations_are_written_as_go_does(seconds, text):
    assert go_duration(seconds) == text


def test_a_fingerprint_is_not_the_key_and_the_same_every_time():
    assert fingerprint("sk-secret") == fingerprint("sk-secret") != fingerprint("sk-other")
    assert "secret" not in fingerprint("sk-secret")


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: Limits(rpm=-1), "rpm"),
        (lambda: Limits(tpm=float("nan")), "tpm"),
        (lambda: Limits(window=0), "window"),
        (lambda: Limits(algorithm="leaky"), "algorithm"),
        (lambda: Settings(latency=float("inf")), "latency"),
        (lambda: Settings(cached_share=1.5), "cached_share"),
        (lambda: Settings(output_tokens=0), "output_tokens"),
        (lambda: Fault(kind="fire"), "fault.kind"),
        (lambda: Fault(kind="slow", probability=2), "fault.probability"),
        (lambda: QuotaChange(rpm=True), "rpm"),
        (lambda: Reply(tokens=-1), "reply.tokens"),
        (lambda: Limits(rpd=-1), "rpd"),
        (lambda: QuotaChange(project_tpm=float("inf")), "project_tpm"),
        (lambda: Use(output_tokens=-1), "output_tokens"),
    ],
)
def test_a_wrong_setting_is_named_with_what_was_expected(make, field):
    with pytest.raises(ConfigError) as error:
        make()
    assert error.value.field == field
    assert field in str(error.value)


def test_settings_survive_their_way_to_another_process():
    settings = Settings(
        rpm=5,
        models={"a*": Limits(tpm=9)},
        changes=[QuotaChange(at=1, rpm=2)],
        faults=[Fault(kind="slow", delay=1)],
        replies=[Reply(tool_calls=[ToolCall(name="t", arguments={"x": 1})])],
    )
    assert Settings.from_json(settings.to_json()) == settings


def test_arrivals_and_gaps_are_those_of_the_model_and_status_asked_for():
    def entry(at, model, status):
        return Entry(at=at, key="k", model=model, api="openai.chat", status=status)

    timeline = [
        entry(100.5, "a", 429),
        entry(101.0, "b", 200),
        entry(102.5, "a", 200),
        entry(106.5, "a", 200),
    ]
    report = Report(100.0, 110.0, 4, {}, 0, 0, 0, 1, [], timeline)
    assert report.arrivals() == [0.5, 1.0, 2.5, 6.5]
    assert report.gaps("a") == [2.0, 4.0]
    assert report.arrivals("a*", status=200) == [2.5, 6.5]
    assert report.gaps("b") == report.gaps("none") == []
