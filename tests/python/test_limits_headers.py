"""Limits as they stand in the headers of each provider's answers and errors."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from shapes import Headers

from ratekeeper.providers import get
from ratekeeper.providers.limits import LearnedLimit, read_limits

#: 2026-11-21 09:00:00 UTC.
NOW = 1_795_251_600.0
MINUTE = 60.0
DAY = 86_400.0


def ratelimit(dimension, limit=None, remaining=None, reset=None, prefix="x-ratelimit-"):
    """Headers of one dimension in OpenAI's order of words."""
    tail = f"-{dimension}" if dimension else ""
    told = {"limit": limit, "remaining": remaining, "reset": reset}
    return {f"{prefix}{field}{tail}": str(value) for field, value in told.items() if value is not None}


def anthropic(dimension, limit, remaining, reset="2026-11-21T09:00:12Z"):
    told = {"limit": limit, "remaining": remaining, "reset": reset}
    return {f"anthropic-ratelimit-{dimension}-{field}": str(value) for field, value in told.items()}


def learned(provider, *parts):
    return get(provider).limits({name: value for part in parts for name, value in part.items()}, NOW)


# --- OpenAI -------------------------------------------------------------------------------------------------


def test_openai_tells_requests_and_tokens():
    limits = learned(
        "openai", ratelimit("requests", 500, 499, "120ms"), ratelimit("tokens", 30000, 27000, "6s")
    )
    assert limits == (
        LearnedLimit("requests", MINUTE, 500, 499, 0.12),
        LearnedLimit("tokens", MINUTE, 30000, 27000, 6.0),
    )


@pytest.mark.parametrize(
    ("limit", "remaining", "reset", "per"),
    [
        (200, 199, "7m12s", DAY),
        (10_000, 9_999, "8.64s", DAY),
        (200, 0, "24h0m0s", DAY),
        (10_000, 9_999, "6ms", MINUTE),
        (3, 2, "20s", MINUTE),
        (60, 59, "1s", MINUTE),
        (2_000_000, 1_999_990, "0s", MINUTE),
        (30_000_000, 29_999_990, "0s", MINUTE),
        (60_000, 59_999, "1ms", MINUTE),
        (500, 499, "1s", MINUTE),  # in whole seconds
        (5000, 4999, "1s", MINUTE),
        (600, 599, "2ms", 1.0),
        (100, 0, "1s", 1.0),
        (30_000, 0, "1m15s", MINUTE),  # in debt
        (500, 500, "0s", None),  # nothing used: either
        (500, 499, "58s", None),  # a minute's window that has just begun, or a day's bucket
        (500, 490, "20m0s", None),
        (500, 400, None, None),
    ],
)
def test_whether_openai_counts_by_the_minute_or_the_day_is_told_by_how_fast_it_refills(
    limit, remaining, reset, per
):
    (found,) = learned("openai", ratelimit("requests", limit, remaining, reset))
    assert found.per == per


def test_of_the_tokens_of_organisation_and_project_the_smaller_count():
    limits = learned(
        "openai", ratelimit("tokens", 30000, 9000, "42s"), ratelimit("project-tokens", 20000, 15000, "15s")
    )
    assert limits == (LearnedLimit("tokens", MINUTE, 20000, 9000, 42.0),)


# --- Azure --------------------------------------------------------------------------------------------------


def test_azure_counts_by_the_minute_in_bare_seconds():
    limits = learned("azure", ratelimit("requests", 60, 59, 10), ratelimit("tokens", 10000, 9000, 42))
    assert limits == (
        LearnedLimit("requests", MINUTE, 60, 59, 10.0),
        LearnedLimit("tokens", MINUTE, 10000, 9000, 42.0),
    )


def test_what_azure_does_not_know_is_left_out():
    assert learned("azure", ratelimit("tokens", -1, -1, 0), ratelimit("requests", -1, -1, 0)) == ()
    assert learned("azure", ratelimit("tokens", -1, 12, 0)) == (
        LearnedLimit("tokens", MINUTE, None, 12, 0.0),
    )


# --- Anthropic ----------------------------------------------------------------------------------------------


def test_anthropic_tells_three_limits_by_the_minute_and_rounds_tokens():
    limits = learned(
        "anthropic",
        anthropic("requests", 50, 49),
        anthropic("input-tokens", 50000, 42000),
        anthropic("output-tokens", 10000, 10000),
    )
    assert limits == (
        LearnedLimit("requests", MINUTE, 50, 49, 12.0),
        LearnedLimit("input_tokens", MINUTE, 50000, 42000, 12.0, 1000),
        LearnedLimit("output_tokens", MINUTE, 10000, 10000, 12.0, 1000),
    )


@pytest.mark.parametrize("shown", [50000, 10000])
def test_anthropics_most_restrictive_limit_is_not_taken_for_one_of_its_own(shown):
    limits = learned(
        "anthropic",
        anthropic("tokens", shown, 1000),
        anthropic("input-tokens", 50000, 42000),
        anthropic("output-tokens", 10000, 1000),
    )
    assert {limit.dimension for limit in limits} == {"input_tokens", "output_tokens"}


def test_a_workspaces_limit_of_all_tokens_is_one_of_its_own():
    limits = learned("anthropic", anthropic("tokens", 40000, 31000), anthropic("input-tokens", 50000, 42000))
    assert LearnedLimit("tokens", MINUTE, 40000, 31000, 12.0, 1000) in limits
    assert learned("anthropic", anthropic("tokens", 40000, 31000))[0].dimension == "tokens"


def test_priority_and_fast_tiers_are_other_limits():
    headers = {"anthropic-priority-input-tokens-limit": "10", "anthropic-fast-input-tokens-remaining": "5"}
    assert learned("anthropic", headers, {"anthropic-workspace-id": "w"}) == ()


# --- others -------------------------------------------------------------------------------------------------


def test_groq_tells_requests_by_the_day_and_tokens_by_the_minute():
    limits = learned(
        "groq", ratelimit("requests", 14400, 14370, "2m59.56s"), ratelimit("tokens", 18000, 17997, "7.66s")
    )
    assert limits == (
        LearnedLimit("requests", DAY, 14400, 14370, 179.56),
        LearnedLimit("tokens", MINUTE, 18000, 17997, 7.66),
    )


def test_mistral_names_the_period_and_tells_no_reset():
    limits = learned(
        "mistral",
        ratelimit("tokens-minute", 500000, 499000),
        ratelimit("req-minute", 60, 59),
        {"x-ratelimit-tokens-query-cost": "1000"},
    )
    assert limits == (
        LearnedLimit("tokens", MINUTE, 500000, 499000),
        LearnedLimit("requests", MINUTE, 60, 59),
    )


@pytest.mark.parametrize(
    ("seconds", "limit", "per"), [(14, 20, MINUTE), (15 * 3600, 50, DAY), (600, 50, DAY)]
)
def test_openrouter_counts_requests_until_a_point_in_time(seconds, limit, per):
    reset = int((NOW + seconds) * 1000)
    assert learned("openrouter", ratelimit("", limit, 0, reset, prefix="X-RateLimit-")) == (
        LearnedLimit("requests", per, limit, 0, float(seconds)),
    )


# --- look-alikes --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (
            ratelimit("tokens-day", 10**6, 900_000, 4000.5),
            LearnedLimit("tokens", DAY, 10**6, 900_000, 4000.5),
        ),
        (ratelimit("", 10, 9, 1, prefix="ratelimit-"), LearnedLimit("requests", None, 10, 9, 1.0)),
        (ratelimit("requests-second", 5, 4), LearnedLimit("requests", 1.0, 5, 4)),
        (ratelimit("minute", 60, 59), LearnedLimit("requests", MINUTE, 60, 59)),
        (ratelimit("tokens", 30000, 27000, "6s"), LearnedLimit("tokens", MINUTE, 30000, 27000, 6.0)),
        (ratelimit("requests", 100, 50, "2h30m0s"), LearnedLimit("requests", DAY, 100, 50, 9000.0)),
        (
            ratelimit("requests", 120, 119, "30s"),
            LearnedLimit("requests", None, 120, 119, 30.0),
        ),  # 1 h, or a window
        (ratelimit("requests", 100, 50, "50h"), LearnedLimit("requests", None, 100, 50, 180_000.0)),
    ],
    ids=[
        "named day",
        "IETF",
        "named second",
        "only a period",
        "refills in a minute",
        "hours",
        "a window",
        "days",
    ],
)
def test_without_documentation_a_period_is_named_or_beyond_doubt_or_unknown(headers, expected):
    assert learned("someone", headers) == (expected,)


# --- carriers -----------------------------------------------------------------------------------------------

TOKENS = ratelimit("tokens", 30000, 27000, "6s")


@pytest.mark.parametrize(
    "headers",
    [
        TOKENS,
        {name.title(): value for name, value in TOKENS.items()},
        Headers(TOKENS),
        list(TOKENS.items()),
        [list(pair) for pair in TOKENS.items()],
        [(name.encode(), value.encode()) for name, value in TOKENS.items()],
        {f"llm_provider-{name}": value for name, value in TOKENS.items()},
        {**TOKENS, "x-ratelimit-limit-tokens": 30000, "date": None, 7: object()},
    ],
    ids=["dict", "capitals", "httpx", "tuples", "lists", "bytes", "litellm", "numbers"],
)
def test_headers_are_read_from_whatever_carries_them(headers):
    assert read_limits(headers, NOW) == (LearnedLimit("tokens", MINUTE, 30000, 27000, 6.0),)


class Closed:
    """Headers of a response that is gone."""

    def items(self):
        raise RuntimeError("the response is closed")


class Broken(dict):
    def items(self):
        yield "x-ratelimit-limit-tokens", "5"
        raise RuntimeError("the connection is closed")


@pytest.mark.parametrize("headers", [Closed(), Broken()], ids=["closed", "broken"])
def test_headers_that_cannot_be_read_tell_nothing(headers):
    assert read_limits(headers, NOW) == ()


@pytest.mark.parametrize(
    "headers", [None, {}, [], (), "x-ratelimit-limit-tokens: 5", b"x", 7, object(), [("a",), 5, None]]
)
def test_without_headers_nothing_is_learned(headers):
    assert read_limits(headers, NOW) == ()


@pytest.mark.parametrize(
    "value", ["", "-5", "1e6", "NaN", "inf", "many", "1,000", "10;w=60", "9" * 400, "\u0663", "0x1F"]
)
def test_an_amount_that_is_none_is_left_out(value):
    assert learned("openai", ratelimit("tokens", value, value, "1s")) == ()
    assert learned("openai", ratelimit("tokens", 100, value))[0].remaining is None


def test_a_limit_of_nothing_is_how_gateways_say_that_there_is_none():
    assert learned("openai", ratelimit("tokens", 0, 0, "0s")) == ()
    assert learned("openai", ratelimit("tokens", 100, 0, "60s"))[0].remaining == 0


def test_no_more_remains_than_the_limit():
    assert learned("openai", ratelimit("tokens", 100, 150))[0].remaining == 100


def test_a_reset_that_cannot_be_meant_is_left_out():
    assert learned("azure", ratelimit("tokens", 100, 50, "-3"))[0].reset is None
    assert learned("azure", ratelimit("tokens", 100, 50, "5000000"))[0].reset is None


NAMES = st.sampled_from(
    [f"{prefix}{field}{tail}"
     for prefix in ("x-ratelimit-", "ratelimit-")
     for field in ("limit", "remaining", "reset")
     for tail in ("", "-requests", "-tokens", "-project-tokens", "-tokens-minute")]
    + [f"anthropic-ratelimit-{dimension}-{field}"
       for dimension in ("requests", "tokens", "input-tokens")
       for field in ("limit", "remaining", "reset")]
)  # fmt: skip
VALUES = (
    st.binary()
    | st.text()
    | st.integers()
    | st.from_regex(r"\A-?[0-9]{0,14}(\.[0-9]{1,3})?(ms|s|m)?\Z")
    | st.none()
)
PROVIDERS = st.sampled_from(["openai", "azure", "anthropic", "groq", "mistral", "openrouter", "someone"])


@settings(
    max_examples=400,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],  # the first draw of a text, on a busy machine
)
@given(st.lists(st.tuples(NAMES | st.text() | st.binary(), VALUES)), PROVIDERS)
def test_whatever_the_headers_hold_no_limit_is_outside_sane_bounds(headers, provider):
    for found in get(provider).limits(headers, NOW):
        assert found.dimension in {"requests", "tokens", "input_tokens", "output_tokens"}
        assert found.per in {None, 1.0, 60.0, 3600.0, DAY}
        assert found.limit is None or 1 <= found.limit < 10**12
        assert found.remaining is None or 0 <= found.remaining < 10**12
        assert found.limit is None or found.remaining is None or found.remaining <= found.limit
        assert found.reset is None or 0 <= found.reset <= 31 * DAY
        assert (found.limit, found.remaining) != (None, None)
