"""What each provider counts, as its documentation says (facts of one API each, no SDK)."""

import pickle
from types import SimpleNamespace

import pytest

from ratekeeper import Estimator
from ratekeeper.providers import Request, Sizes, Usage, account_of, fingerprint, get
from ratekeeper.providers.characters import measure

SIZES = Sizes(input_tokens=120, output_tokens=300, prompt_quarter=150)
KEY = "sk-proj-abcdefghijklmnopqrstuvwxyz"


# --- reserve and settle -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("ceiling", "tokens"), [(100, 150), (150, 150), (4096, 4096)])
def test_openai_reserves_the_larger_of_max_tokens_and_a_quarter_of_the_characters(ceiling, tokens):
    assert get("openai").reserve(Request("gpt-4o", max_tokens=ceiling), SIZES).tokens == tokens


def test_openai_reserves_input_and_learned_output_when_no_max_tokens_is_given():
    assert get("openai").reserve(Request("gpt-4o"), SIZES) == (1, 120, 300, 420)
    assert get("openai").reserve(Request("gpt-4o"), Sizes(10, 20, 150)).tokens == 150


def test_openai_takes_max_tokens_once_for_each_answer_asked_for():
    assert get("openai").reserve(Request("gpt-4o", max_tokens=100, n=3), SIZES).tokens == 300


@pytest.mark.parametrize("usage", [Usage(10, 1), Usage(5000, 5000)])
def test_openai_keeps_what_it_held_at_arrival_whatever_was_used(usage):
    settled = get("openai").settle(Request("gpt-4o", max_tokens=1000), SIZES, usage)
    assert settled == (1, usage.input_tokens, usage.output_tokens, 1000)


def test_openai_gives_back_only_what_was_taken_beyond_the_providers_own_count():
    openai = get("openai")
    assert openai.settle(Request("gpt-4o"), SIZES, Usage(100, 20)).tokens == 150
    assert openai.settle(Request("gpt-4o"), SIZES, Usage(200, 20, cache_read_tokens=190)).tokens == 220


def test_azure_reserves_the_prompt_plus_max_tokens_and_keeps_both():
    request = Request("my-deployment", max_tokens=1000, n=2)
    assert get("azure").reserve(request, SIZES).tokens == 150 + 2000
    assert get("azure").settle(request, SIZES, Usage(100, 5)).tokens == 150 + 2000


def test_anthropic_counts_cache_writes_but_not_cache_reads():
    usage = Usage(1000, 50, cache_read_tokens=800, cache_write_tokens=150)
    settled = get("anthropic").settle(Request("claude-opus-5", max_tokens=9000), SIZES, usage)
    assert settled == (1, 200, 50, 250)


def test_anthropic_reserves_the_learned_output_and_not_max_tokens():
    assert get("anthropic").reserve(Request("claude-opus-5", max_tokens=64_000), SIZES) == (1, 120, 300, 420)


def test_an_unknown_provider_counts_all_that_was_used_under_its_own_name():
    other = get("some-gateway")
    assert other is get("some-gateway")
    assert other.name == "some-gateway"
    assert other.reserve(Request("m"), SIZES) == (1, 120, 300, 420)
    assert other.settle(Request("m"), SIZES, Usage(7, 8, cache_read_tokens=5)) == (1, 7, 8, 15)


def test_gemini_counts_input_alone_and_groq_no_cached_input():
    usage = Usage(100, 50, cache_read_tokens=60)
    assert get("gemini").reserve(Request("g"), SIZES).tokens == 120
    assert get("gemini").settle(Request("g"), SIZES, usage).tokens == 100
    assert get("groq").settle(Request("g"), SIZES, usage) == (1, 40, 50, 90)


def test_bedrock_holds_input_and_max_tokens_and_then_counts_the_output_several_times():
    model = "us.anthropic.claude-sonnet-4-20250514-v1:0"
    request = Request(model, max_tokens=1000)
    usage = Usage(100, 50, cache_read_tokens=60, cache_write_tokens=30)
    assert get("bedrock").reserve(request, SIZES) == (1, 120, 300, 150 + 1000)
    assert get("bedrock").settle(request, SIZES, usage) == (1, 40, 50, 40 + 5 * 50)
    assert get("bedrock").settle(Request("amazon.nova-lite-v1:0"), SIZES, usage) == (1, 40, 50, 90)


@pytest.mark.parametrize(
    ("model", "burndown", "maximum"),
    [
        ("anthropic.claude-3-5-sonnet-20241022-v2:0", 1, 4_096),
        ("us.anthropic.claude-3-7-sonnet-20250219-v1:0", 5, 64_000),
        ("global.anthropic.claude-opus-4-7", 5, 64_000),
        ("anthropic.claude-opus-4-8", 15, 64_000),
        ("anthropic.claude-sonnet-5", 10, 64_000),
        ("meta.llama3-1-70b-instruct-v1:0", 1, 4_096),
    ],
)
def test_bedrock_knows_by_the_models_name_what_its_output_counts_and_how_much_it_holds(
    model, burndown, maximum
):
    bedrock = get("bedrock")
    assert bedrock.reserve(Request(model), SIZES).tokens == 150 + maximum
    assert bedrock.settle(Request(model), SIZES, Usage(0, 7)).tokens == 7 * burndown


def test_bedrocks_account_is_a_key_in_a_region_and_a_cross_region_profile_is_a_model_of_its_own():
    bedrock = get("bedrock")
    accounts = {
        account_of(bedrock, api_key=key, base_url=f"https://bedrock-runtime.{region}.amazonaws.com")
        for key in ("AKIDONE", "AKIDTWO")
        for region in ("us-east-1", "eu-central-1")
    }
    assert len(accounts) == 4
    assert (
        len({bedrock.group(model) for model in ("anthropic.claude-opus-5", "us.anthropic.claude-opus-5")})
        == 2
    )


@pytest.mark.parametrize("name", ["openai", "azure", "anthropic", "generic", "gemini", "bedrock", "groq"])
def test_one_call_is_one_request_when_reserved_and_when_settled(name):
    provider = get(name)
    assert provider.name == name
    assert provider.reserve(Request("m"), SIZES).requests == 1
    assert provider.settle(Request("m"), SIZES, Usage(1, 1)).requests == 1


@pytest.mark.parametrize(
    ("model", "group"),
    [
        ("claude-opus-4-5", "claude-opus-4-5"),
        ("claude-opus-4-8", "claude-opus-4-5"),
        ("claude-opus-4-6-20260115", "claude-opus-4-5"),
        ("claude-sonnet-4-6@20260101", "claude-sonnet-4-5"),
        ("claude-opus-4-50", "claude-opus-4-50"),
        ("claude-opus-4-1", "claude-opus-4-1"),
        ("claude-sonnet-5", "claude-sonnet-5"),
    ],
)
def test_anthropic_models_that_share_a_bucket_share_a_group(model, group):
    assert get("anthropic").group(model) == group


# --- usage ------------------------------------------------------------------------------------------------

CHAT = {
    "prompt_tokens": 100,
    "completion_tokens": 40,
    "prompt_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 7},
    "completion_tokens_details": {"reasoning_tokens": 30},
}
RESPONSES = {
    "input_tokens": 100,
    "output_tokens": 40,
    "input_tokens_details": {"cached_tokens": 60},
    "output_tokens_details": {"reasoning_tokens": 30},
}
MESSAGES = {
    "input_tokens": 10,
    "output_tokens": 40,
    "cache_read_input_tokens": 60,
    "cache_creation_input_tokens": 30,
    "output_tokens_details": {"thinking_tokens": 25},
}


def as_object(value):
    if isinstance(value, dict):
        return SimpleNamespace(**{name: as_object(part) for name, part in value.items()})
    return value


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (CHAT, Usage(100, 40, 60, 7, 30)),
        (RESPONSES, Usage(100, 40, 60, 0, 30)),
        (MESSAGES, Usage(100, 40, 60, 30, 25)),
    ],
    ids=["openai chat", "openai responses", "anthropic messages"],
)
def test_usage_is_read_from_dicts_and_objects_whole_or_alone(usage, expected):
    provider = get("generic")
    for response in (usage, {"usage": usage}, as_object({"usage": usage})):
        assert provider.usage(response) == expected


@pytest.mark.parametrize("response", [None, {}, {"usage": None}, {"choices": []}, "text", 7])
def test_a_response_without_usage_has_none(response):
    assert get("openai").usage(response) is None


def test_missing_and_null_details_count_as_zero():
    usage = {"prompt_tokens": 5, "completion_tokens": None, "prompt_tokens_details": None}
    assert get("openai").usage({"usage": usage}) == Usage(5, 0)
    anthropic = {"input_tokens": 5, "output_tokens": 2, "cache_read_input_tokens": None}
    assert get("anthropic").usage({"usage": anthropic}) == Usage(5, 2)
    uncached = {"input_tokens": 5, "output_tokens": 9, "output_tokens_details": {"thinking_tokens": 7}}
    assert get("anthropic").usage(uncached) == Usage(5, 9, reasoning_tokens=7)


def test_a_negative_count_is_no_count():
    assert get("openai").usage({"usage": {"prompt_tokens": -5, "completion_tokens": 3}}) == Usage(0, 3)


# --- characters -------------------------------------------------------------------------------------------


@pytest.fixture
def estimator():
    return Estimator()


def test_a_prompt_is_a_quarter_of_its_characters_rounded_up(estimator):
    assert measure("x" * 400, None, estimator) == 100
    assert measure("x" * 401, None, estimator) == 101
    assert measure("ж" * 400, None, estimator) == 100
    assert (
        measure(
            [{"role": "user", "content": "x" * 200}, {"role": "user", "content": "y" * 200}], None, estimator
        )
        == 100
    )
    assert measure([{"role": "user", "content": [{"type": "text", "text": "x" * 40}]}], None, estimator) == 10


def test_roles_and_ids_are_no_characters(estimator):
    message = {"role": "tool", "tool_call_id": "call_" + "9" * 400, "content": "x" * 40}
    assert measure([message], None, estimator) == 10


def test_tools_and_tool_calls_count_as_the_json_they_are_sent_as(estimator):
    tools = [{"name": "f", "parameters": {"type": "object"}}]
    assert measure("", tools, estimator) == -(-len('[{"name": "f", "parameters": {"type": "object"}}]') // 4)
    call = {"role": "assistant", "content": "", "tool_calls": [{"name": "f", "args": {"x": 1}}]}
    assert measure([call], None, estimator) == -(-len('[{"name": "f", "args": {"x": 1}}]') // 4)


def test_the_bytes_of_an_image_are_no_characters(estimator):
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 1_000_000}}
    tokens = measure(
        [{"role": "user", "content": [{"type": "text", "text": "x" * 40}, picture]}], None, estimator
    )
    assert 10 < tokens < 5000


@pytest.mark.parametrize("content", [None, 7, [], {}, [None], [{"role": "user", "content": None}]])
def test_a_prompt_without_text_measures_nothing(estimator, content):
    assert measure(content, None, estimator) == 0


def test_the_text_of_a_request_is_all_its_texts_in_order():
    messages = [
        {"role": "system", "content": "a"},
        {
            "role": "user",
            "content": [{"type": "text", "text": "b"}, {"type": "image_url", "image_url": {"url": "u"}}],
        },
        "c",
        b"d\xff",
    ]
    assert Request("m", messages).text == "a\nb\nc\nd�"


# --- accounts ---------------------------------------------------------------------------------------------


def test_a_fingerprint_is_short_stable_and_does_not_hold_the_key():
    digits = fingerprint(KEY)
    assert digits == fingerprint(KEY)
    assert len(digits) == 12
    assert int(digits, 16) >= 0
    assert digits not in KEY
    assert digits != fingerprint(KEY + "x")
    assert digits != fingerprint(KEY, organization="org-1")


def test_any_text_can_be_fingerprinted():
    assert len(fingerprint("ключ\ud800")) == 12


@pytest.mark.parametrize("base_url", [None, "", "https://api.openai.com/v1", "https://API.openai.com/v1/"])
def test_at_the_providers_own_host_the_account_is_the_key(base_url):
    assert account_of(get("openai"), api_key=KEY, base_url=base_url) == fingerprint(KEY)


@pytest.mark.parametrize(
    "base_url", ["http://localhost:8000/v1", "http://user:secret@localhost:8000", "localhost:8000?key=secret"]
)
def test_another_host_is_part_of_the_account_but_nothing_else_of_its_url(base_url):
    account = account_of(get("openai"), api_key=KEY, base_url=base_url)
    assert account == f"{fingerprint(KEY)}@localhost:8000"


def test_on_azure_the_account_is_the_resource_whatever_key_opens_it():
    url = "https://My-Resource.openai.azure.com/"
    accounts = {account_of(get("azure"), api_key=key, base_url=url) for key in ("one", "two", None)}
    assert accounts == {"my-resource.openai.azure.com"}


def test_without_a_key_the_account_is_the_default_one():
    assert account_of(get("openai")) == "default"
    assert account_of(get("openai"), api_key="", base_url="http://localhost:1") == "default@localhost:1"


def test_requests_and_usages_pickle():
    for value in (Request("m", [{"role": "user", "content": "x"}], max_tokens=3), Usage(1, 2, 3, 4, 5)):
        assert pickle.loads(pickle.dumps(value)) == value
