"""Limits that the answers of real SDKs tell, seen in the keeper's status and obeyed."""

from __future__ import annotations

import logging

import pytest

import ratekeeper as rk

KINDS = {
    "chat": {"requests": 600, "tokens": 90_000},
    "responses": {"requests": 600, "tokens": 90_000},
    "azure": {"requests": 600, "tokens": 90_000},
    "anthropic": {"requests": 600, "input_tokens": 80_000, "output_tokens": 70_000},
}
#: Held back from bursts, not from limits.
LIMITS = {"rpm": 600, "tpm": 90_000, "itpm": 80_000, "otpm": 70_000}


def limits_of(keeper):
    """By dimension, of the keeper's one scope."""
    [scope] = keeper.status()["scopes"].values()
    return {limit["dimension"]: limit for limit in scope["limits"]}


def in_force(keeper):
    return {name: (limit["limit"], limit["source"]) for name, limit in limits_of(keeper).items()}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", ["invoke", "ainvoke", "stream"])
def test_with_nothing_configured_the_first_answer_tells_the_limits(kind, way, make, provider, run):
    provider.set_limits(**LIMITS)
    keeper = rk.Keeper()
    llm = keeper.wrap(make(kind))
    if way == "stream":
        list(llm.stream("hello"))
    else:
        assert (llm.invoke("hello") if way == "invoke" else run(llm.ainvoke("hello"))).content
    expected = {name: (amount, "learned") for name, amount in KINDS[kind].items()}
    assert in_force(keeper).items() >= expected.items()
    for limit in limits_of(keeper).values():
        assert limit["configured"] is None
        assert 0 <= limit["age"] < 30
    [scope] = keeper.status()["scopes"].values()
    assert scope["adapted_concurrency"] is None


def test_before_the_first_answer_it_starts_careful_and_says_so(make, caplog):
    keeper = rk.Keeper()
    llm = keeper.wrap(make("chat"))
    with caplog.at_level(logging.INFO, logger="ratekeeper"):
        assert llm.invoke("hello").content  # the provider grants anything, and tells nothing
    [scope] = keeper.status()["scopes"].values()
    assert scope["limits"] == []
    assert scope["adapted_concurrency"] >= 1
    [line] = [record.getMessage() for record in caplog.records if "no quota is set" in record.getMessage()]
    assert "starts with a few calls at once" in line


def test_a_limit_that_is_lower_than_the_users_is_followed_and_raised_with_the_providers(
    make, provider, caplog
):
    keeper = rk.Keeper(rk.Quota(rpm=6000), headroom=0)
    llm = keeper.wrap(make("chat"))
    provider.set_limits(rpm=600)
    with caplog.at_level(logging.INFO, logger="ratekeeper"):
        llm.invoke("hello")
    assert in_force(keeper)["requests"] == (600, "learned")
    assert limits_of(keeper)["requests"]["configured"] == 6000
    [line] = [record.getMessage() for record in caplog.records if "are now" in record.getMessage()]
    assert "600 requests per 60 s (learned instead of 6,000)" in line
    provider.set_limits(rpm=1200)
    llm.invoke("hello")
    assert in_force(keeper)["requests"] == (1200, "learned")
    provider.set_limits(rpm=300)
    llm.invoke("hello")
    assert in_force(keeper)["requests"] == (300, "learned")


def test_a_provider_that_grants_more_than_the_user_moves_nothing(make, provider):
    keeper = rk.Keeper(rk.Quota(rpm=60, concurrency=4), headroom=0, timeout=0.2)
    llm = keeper.wrap(make("chat"))
    provider.set_limits(rpm=60_000)
    for _ in range(60):
        llm.invoke("hello")
    assert in_force(keeper)["requests"] == (60, "configured")
    assert limits_of(keeper)["requests"]["remaining"] <= 5
    refused = 0
    for _ in range(10):
        try:
            llm.invoke("hello")
        except rk.QuotaExceededError:
            refused += 1
    # One a second comes back; ten calls in the time of ten are none of our business.
    assert refused or provider.report().now - provider.report().started > 9
    assert provider.report().requests == 70 - refused


def test_what_others_used_of_the_key_is_seen(make, provider):
    keeper = rk.Keeper(rk.Quota(rpm=600), headroom=0)
    llm = keeper.wrap(make("chat"))
    provider.set_limits(rpm=600)
    llm.invoke("hello")
    provider.use(requests=500)
    llm.invoke("hello")
    assert limits_of(keeper)["requests"]["remaining"] < 150
