"""The keeper: which quota a call falls under, who shares it, and what it refuses to be told."""

import json
import logging
import os
import subprocess
import sys
import threading

import pytest

import ratekeeper as rk
from ratekeeper.gate import Options
from ratekeeper.providers import Request, account_of, get
from ratekeeper.scopes import Scope, best

KEY = "sk-proj-abcdefghijklmnopqrstuvwxyz"


def rpm(keeper, scope):
    """The requests a minute in force for a scope; None if it is not limited."""
    limits = keeper.limiter(scope).status()["limits"]
    return next((limit["limit"] for limit in limits if limit["dimension"] == "requests"), None)


class AsyncHook(rk.Hook):
    """Nobody would await it."""

    async def settled(self, event):
        raise AssertionError(event)


def call(keeper, provider, account, model, /, **options):
    with keeper.gate(provider, account, Options(**options)).call(Request(model, "hello")):
        pass


# --- patterns and scopes ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scope", "limit"),
    [
        ("openai/acct/gpt-4o-mini", 1),
        ("OPENAI/acct/GPT-4o-Mini", 1),
        ("openai/acct/gpt-4o", 2),
        ("openai/acct/o3", 3),
        ("openai/prod/gpt-4o", 4),
        ("openai/prod/gpt-4o-mini", 4),
        ("anthropic/acct/claude-x", 5),
        ("openrouter/acct/meta-llama/llama-3", 6),
        ("groq/acct/llama", 7),
    ],
)
def test_the_most_specific_pattern_wins_and_the_default_takes_the_rest(scope, limit):
    keeper = rk.Keeper(
        rk.Quota(rpm=7),
        quotas={
            "openai/*": rk.Quota(rpm=3),
            "openai/gpt-4o*": rk.Quota(rpm=2),
            "openai/gpt-4o-mini": rk.Quota(rpm=1),
            "openai/prod/gpt-4o": rk.Quota(rpm=4),
            "openai/prod/*-mini": rk.Quota(rpm=9),
            "openai/prod/gpt-4o-mini": rk.Quota(rpm=4),
            "anthropic/claude-*": rk.Quota(rpm=5),
            "openrouter/meta-llama/*": rk.Quota(rpm=6),
        },
    )
    assert rpm(keeper, scope) == limit


def test_among_equally_specific_patterns_the_first_wins():
    assert best(["a/?x", "a/x?"], ["a/xx"]) == "a/?x"
    assert best(["a/x?", "a/?x"], ["a/xx"]) == "a/x?"
    assert best(["a/*"], ["b/x"]) is None


def test_a_scope_reads_as_it_is_written():
    scope = Scope("openrouter", "3f9a", "meta-llama/llama-3")
    assert Scope.parse(str(scope)) == scope
    for wrong in ("", "openai", "openai/acct", "openai//gpt", "/a/b"):
        with pytest.raises(rk.ConfigError, match="provider/account/group"):
            rk.Keeper().limiter(wrong)


def test_a_gate_without_a_timeout_of_its_own_has_the_keepers():
    keeper = rk.Keeper(rk.Quota(rpm=1), headroom=0, timeout=0.5)
    assert keeper.gate("openai", "a").options.timeout == 0.5
    assert keeper.gate("openai", "a", Options(tenant="acme")).options == Options("acme", timeout=0.5)
    assert keeper.gate("openai", "a", Options(timeout=2.0)).options.timeout == 2.0


def test_objects_of_one_account_and_model_share_a_limiter_however_often_they_are_made_anew():
    keeper = rk.Keeper(rk.Quota(rpm=100), headroom=0)
    for _ in range(3):
        call(keeper, "openai", account_of(get("openai"), api_key=KEY), "gpt-4o")
    call(keeper, "openai", account_of(get("openai"), api_key=KEY + "2"), "gpt-4o")
    remaining = [scope["limits"][0]["remaining"] for scope in keeper.status()["scopes"].values()]
    assert sorted(remaining) == [97, 99]


def test_keys_under_one_account_name_share_a_limiter():
    keeper = rk.Keeper(rk.Quota(rpm=100), headroom=0)
    for key in ("one", "two"):
        call(keeper, "openai", key, "gpt-4o", account="prod")
    assert keeper.status()["scopes"].keys() == {"openai/prod/gpt-4o"}
    assert keeper.status()["scopes"]["openai/prod/gpt-4o"]["limits"][0]["remaining"] == 98


def test_models_of_a_family_share_its_quota():
    keeper = rk.Keeper(
        families={"gpt-4o": ["openai/gpt-4o", "openai/gpt-4o-2024-*"]},
        quotas={"openai/gpt-4o": rk.Quota(rpm=10), "openai/*": rk.Quota(rpm=99)},
        headroom=0,
    )
    for model in ("gpt-4o", "gpt-4o-2024-08-06", "gpt-4o-mini"):
        call(keeper, "openai", "acct", model)
    remaining = {
        scope: status["limits"][0]["remaining"] for scope, status in keeper.status()["scopes"].items()
    }
    assert remaining == {"openai/acct/gpt-4o": 8, "openai/acct/gpt-4o-mini": 98}


def test_a_quota_for_one_member_of_a_providers_own_group_holds_for_the_group(caplog):
    quotas = {"anthropic/claude-opus-4-7": rk.Quota(rpm=10), "anthropic/claude-opus-4-8": rk.Quota(rpm=20)}
    keeper = rk.Keeper(quotas=quotas, headroom=0)
    for model in ("claude-opus-4-7", "claude-opus-4-8", "claude-opus-4-5"):
        call(keeper, "anthropic", "acct", model)
    [status] = keeper.status()["scopes"].values()
    assert (status["limits"][0]["limit"], status["limits"][0]["remaining"]) == (10, 7)
    [record] = caplog.records
    assert "the quota anthropic/claude-opus-4-8 is ignored" in record.getMessage()


def test_an_account_quota_holds_over_all_its_models_and_for_each_account():
    keeper = rk.Keeper(accounts={"openai": rk.Quota(rpm=10), "openai/prod": rk.Quota(rpm=20)}, headroom=0)
    for account, model in (("a", "gpt-4o"), ("a", "o3"), ("b", "o3"), ("prod", "o3")):
        call(keeper, "openai", account, model)
    within = {name: status["within"]["limits"][0] for name, status in keeper.status()["scopes"].items()}
    assert {name: limit["remaining"] for name, limit in within.items()} == {
        "openai/a/gpt-4o": 8,
        "openai/a/o3": 8,
        "openai/b/o3": 9,
        "openai/prod/o3": 19,
    }


def test_a_tenants_cap_binds_that_tenant_alone():
    keeper = rk.Keeper(rk.Quota(rpm=100), tenants={"small": rk.Quota(rpm=1)}, clock=rk.ManualClock())
    call(keeper, "openai", "a", "m", tenant="small", timeout=0.1)
    with pytest.raises(rk.QuotaExceededError):
        call(keeper, "openai", "a", "m", tenant="small", timeout=0.1)
    for _ in range(5):
        call(keeper, "openai", "a", "m", tenant="large", timeout=0.1)


def test_headroom_is_held_back_from_every_burst_and_never_from_the_rate():
    [limit] = rk.Keeper(rk.Quota(rpm=600), headroom=0.5).limiter("a/b/c").status()["limits"]
    assert (limit["limit"], limit["burst"]) == (600, 595)


def test_a_scope_without_a_quota_is_counted_but_not_limited_and_said_so_once(caplog):
    keeper = rk.Keeper()
    with caplog.at_level(logging.INFO, "ratekeeper"):
        for _ in range(50):
            call(keeper, "openai", "acct", "gpt-4o", timeout=0.001)
    [record] = caplog.records
    assert "no quota is set for openai/acct/gpt-4o" in record.getMessage()
    assert 'quotas={"openai/gpt-4o": Quota(...)}' in record.getMessage()


def test_threads_that_meet_at_a_new_scope_get_the_same_limiter():
    keeper = rk.Keeper(rk.Quota(rpm=1))
    found, barrier = [], threading.Barrier(8)

    def find():
        barrier.wait(10)
        found.append(keeper.limiter("openai/acct/gpt-4o"))

    threads = [threading.Thread(target=find) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(found) == 8
    assert len({id(limiter) for limiter in found}) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_after_fork_can_use_the_keeper():
    code = """
import os, ratekeeper as rk
from ratekeeper.providers import Request
keeper = rk.Keeper(rk.Quota(rpm=100, concurrency=1))
gate = keeper.gate("openai", "acct")
with gate.call(Request("m", "x")):
    pid = os.fork()
    if pid == 0:
        with gate.call(Request("m", "x")), keeper.gate("openai", "acct").call(Request("n", "x")):
            os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
"""
    done = subprocess.run(
        [sys.executable, "-c", code], timeout=60, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_lock_that_another_thread_holds_is_free_in_a_child():
    code = """
import os, threading, time
from ratekeeper import forks
lock, held = forks.lock(), threading.Event()
def hold():
    with lock:
        held.set()
        time.sleep(0.1)
threading.Thread(target=hold).start()
held.wait()
pid = os.fork()
if pid == 0:
    os._exit(0 if lock.acquire(timeout=10) else 1)
assert os.waitpid(pid, 0)[1] == 0
assert lock.acquire(timeout=10)
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], timeout=60, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


# --- what it tells ----------------------------------------------------------------------------------------


def test_status_is_json():
    keeper = rk.Keeper(
        rk.Quota(rpm=10, tpm=1000, concurrency=2), accounts={"openai": rk.Quota(rpd=5)}, name="app"
    )
    call(keeper, "openai", "acct", "gpt-4o")
    status = json.loads(json.dumps(keeper.status()))
    assert status["name"] == "app"
    assert status["scopes"]["openai/acct/gpt-4o"]["concurrency"] == 2
    assert isinstance(status["estimates"], list)


def test_a_key_is_nowhere_to_be_found(caplog):
    keeper = rk.Keeper(rk.Quota(rpm=1), slow_wait=0.000001)
    account = account_of(get("openai"), api_key=KEY, base_url="http://localhost:1/v1")
    with caplog.at_level(logging.DEBUG, "ratekeeper"):
        gate = keeper.gate("openai", account)
        call(keeper, "openai", account, "m")
        with pytest.raises(rk.QuotaExceededError) as caught:
            call(keeper, "openai", account, "m", timeout=0.001)
    shown = [
        repr(keeper),
        repr(gate),
        json.dumps(keeper.status()),
        str(caught.value),
        caught.value.scope,
        caplog.text,
    ]
    assert not any(KEY in text or KEY[:12] in text for text in shown)
    assert account in json.dumps(keeper.status())


# --- wrap -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("thing", ["gpt-4o", None, object(), dict, print])
def test_wrapping_something_unknown_says_what_can_be_wrapped(thing):
    with pytest.raises(TypeError, match=r"keeper\.wrap\(\) cannot wrap .* supported: LangChain chat models"):
        rk.Keeper().wrap(thing)


def test_the_class_of_a_model_is_no_model():
    with pytest.raises(TypeError, match=r"cannot wrap the class int from builtins"):
        rk.Keeper().wrap(int)


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"account": "a/b"}, "account"),
        ({"account": ""}, "account"),
        ({"priority": 1.5}, "priority"),
        ({"priority": 11}, "priority"),
        ({"priority": True}, "priority"),
        ({"timeout": 0}, "timeout"),
        ({"timeout": float("nan")}, "timeout"),
        ({"tenant": 7}, "tenant"),
        ({"agent": b"a"}, "agent"),
    ],
)
def test_wrap_names_the_argument_that_is_wrong(arguments, field):
    with pytest.raises(rk.ConfigError, match=f"^{field}: expected") as caught:
        rk.Keeper().wrap(object(), **arguments)
    assert caught.value.field == field


# --- settings in code -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"quota": {"rpm": 5}}, "quota"),
        ({"quotas": {"gpt-4o": rk.Quota(rpm=1)}}, "quotas"),
        ({"quotas": {"openai/gpt-4o": 500}}, 'quotas."openai/gpt-4o"'),
        ({"quotas": [rk.Quota(rpm=1)]}, "quotas"),
        ({"accounts": {"openai": None}}, "accounts.openai"),
        ({"tenants": {"acme": 5}}, "tenants.acme"),
        ({"weights": {"acme": -1}}, "weights.acme"),
        ({"weights": {"acme": float("nan")}}, "weights.acme"),
        ({"families": {"g": "openai/x"}}, "families.g"),
        ({"families": {"g": ["x"]}}, "families.g[0]"),
        ({"count": 7}, "count"),
        ({"hooks": print}, "hooks"),
        ({"hooks": [rk.Hook]}, "hooks"),
        ({"hooks": AsyncHook()}, "hooks"),
        ({"headroom": -0.1}, "headroom"),
        ({"lease_ttl": 0}, "lease_ttl"),
        ({"timeout": float("inf")}, "timeout"),
        ({"slow_wait": "10"}, "slow_wait"),
        ({"name": ""}, "name"),
    ],
)
def test_a_keeper_names_the_setting_that_is_wrong(settings, field):
    with pytest.raises(rk.ConfigError) as caught:
        rk.Keeper(**settings)
    assert caught.value.field == field
    assert str(caught.value).startswith(f"{field}: expected")


# --- the package ------------------------------------------------------------------------------------------


def test_every_public_name_is_there_and_no_other():
    assert "Keeper" in rk.__all__
    assert all(getattr(rk, name) is not None for name in rk.__all__)
    assert set(rk.__all__) <= set(dir(rk))
    with pytest.raises(AttributeError, match="no attribute 'Kepper'"):
        _ = rk.Kepper


def test_importing_ratekeeper_imports_no_framework_and_nothing_heavy():
    code = "import sys; import ratekeeper as rk; rk.Keeper; print(*sys.modules)"
    modules = set(
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.split()
    )
    heavy = {
        "asyncio",
        "langchain_core",
        "openai",
        "anthropic",
        "httpx",
        "pydantic",
        "typing_extensions",
        "starlette",
    }
    assert modules & heavy == set()
