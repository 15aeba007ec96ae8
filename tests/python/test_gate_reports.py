"""What the gate learns and tells of a call, and how it travels: estimates, events, log lines, pickles."""

import asyncio
import copy
import gc
import logging
import pickle

import pytest
from gates import HELLO, Recorder, keepers, used

import ratekeeper as rk
from ratekeeper.gate import Options
from ratekeeper.notices import Notices
from ratekeeper.providers import Request, Usage


@pytest.fixture
def recorder():
    return Recorder()


@pytest.fixture
def keeper_of(clock, recorder):
    return keepers(clock, recorder)


# --- estimates --------------------------------------------------------------------------------------------


def test_estimates_learn_from_each_caller_by_itself(keeper_of):
    keeper = keeper_of(rk.Quota(tpm=1_000_000))
    gate = keeper.gate("generic", "acct", Options(agent="writer"))
    for _ in range(60):
        with gate.call(Request("m", "x y z " * 100)) as call:
            call.settle(Usage(1000, 10))
    learned = gate.call(Request("m", "x y z " * 100)).reserved
    other = gate.call(Request("m", "x y z " * 100, caller="editor")).reserved
    assert learned.input_tokens == pytest.approx(1000, rel=0.1)
    assert learned.output_tokens < 100
    assert other.input_tokens < 500
    assert {(row["model"], row["caller"]) for row in keeper.status()["estimates"]} >= {("m", "writer")}


def test_an_anthropic_estimate_learns_the_input_that_counts(keeper_of):
    keeper = keeper_of(rk.Quota(itpm=1_000_000))
    gate = keeper.gate("anthropic", "acct")
    for _ in range(60):
        with gate.call(Request("m", "x y z " * 1000)) as call:
            call.settle(Usage(2000, 10, cache_read_tokens=1900))
    assert gate.call(Request("m", "x y z " * 1000)).reserved.input_tokens == pytest.approx(100, rel=0.5)


def test_the_users_counting_function_wins_and_is_not_corrected(keeper_of):
    seen = []

    def count(request):
        seen.append(request)
        return len(request.text.split())

    keeper = keeper_of(rk.Quota(tpm=1_000_000), count=count)
    gate = keeper.gate("generic", "acct")
    request = Request("m", [{"role": "user", "content": "one two three"}])
    for _ in range(20):
        with gate.call(request) as call:
            assert call.reserved.input_tokens == 3
            call.settle(Usage(30, 1))
    assert seen[0] is request


@pytest.mark.parametrize("answer", [-1, 2.5, None, True, "7"])
def test_a_counting_function_that_gives_no_count_is_an_error_of_the_settings(keeper_of, answer):
    gate = keeper_of(rk.Quota(tpm=1000), count=lambda _: answer).gate("generic", "acct")
    with pytest.raises(rk.ConfigError, match="count: expected a whole number"):
        gate.call(HELLO)


def test_an_error_of_the_counting_function_reaches_its_author(keeper_of):
    def count(request):
        raise ZeroDivisionError

    keeper = keeper_of(rk.Quota(rpm=1), count=count)
    with pytest.raises(ZeroDivisionError):
        keeper.gate("generic", "acct").call(HELLO)
    assert used(keeper)["requests"] == 0


def test_a_prompt_of_ten_megabytes_or_of_broken_text_is_counted(keeper_of):
    keeper = keeper_of(rk.Quota(tpm=100_000_000))
    gate = keeper.gate("openai", "acct")
    for content in (
        "x" * 10_000_000,
        b"\xff\xfe" * 1000,
        "\ud800 lone",
        [{"role": "user", "content": "\udfff"}],
    ):
        with gate.call(Request("m", content)) as call:
            call.settle(Usage(1, 1))


# --- events and log lines ---------------------------------------------------------------------------------


def test_an_event_tells_whose_call_it_was(keeper_of, recorder):
    keeper = keeper_of(rk.Quota(tpm=1000))
    with rk.tags(tenant="acme", agent="writer", job="7"), keeper.gate("generic", "acct").call(HELLO) as call:
        call.settle(Usage(10, 5))
    event = recorder.last("settled")
    assert (event.scope, event.tenant, event.model, event.caller) == ("generic/acct/m", "acme", "m", "writer")
    assert event.tags == {"tenant": "acme", "agent": "writer", "job": "7"}
    assert (event.amounts, event.usage) == ((1, 10, 5, 15), Usage(10, 5))


def test_what_wrap_was_told_wins_over_the_tags(keeper_of, recorder):
    gate = keeper_of(rk.Quota(tpm=1000)).gate("generic", "acct", Options(tenant="", agent="own"))
    with rk.tags(tenant="acme", agent="writer"), gate.call(HELLO):
        pass
    assert (recorder.last("started").tenant, recorder.last("started").caller) == ("", "own")


def test_a_hook_that_raises_is_logged_once_and_breaks_nothing(keeper_of, recorder, caplog):
    class Broken(rk.Hook):
        __hash__ = None

        def settled(self, event):
            raise ZeroDivisionError("in the hook")

    keeper = keeper_of(rk.Quota(tpm=1000), hooks=[Broken(), recorder])
    for _ in range(3):
        with keeper.gate("generic", "acct").call(HELLO) as call:
            call.settle(Usage(1, 1))
    [record] = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert record.name == "ratekeeper"
    assert "ZeroDivisionError: in the hook" in record.exc_text
    assert recorder.names == ["started", "settled"] * 3


def test_an_interrupt_inside_a_hook_leaves_nothing_held(keeper_of):
    class Interrupted(rk.Hook):
        def started(self, event):
            raise KeyboardInterrupt

    keeper = keeper_of(rk.Quota(rpm=10, concurrency=1), hooks=Interrupted())
    with pytest.raises(KeyboardInterrupt), keeper.gate("generic", "acct").call(HELLO):
        pytest.fail("it started")
    assert used(keeper) == {"requests": 0, "in_flight": 0, "waiting": 0}


def waits(keeper, clock, seconds, calls):
    """So many calls, each waiting `seconds` behind one that holds the only permit."""
    gate = keeper.gate("generic", "acct")

    async def call():
        async with gate.call(HELLO):
            pass

    async def main():
        for _ in range(calls):
            async with gate.call(HELLO):
                waiting = asyncio.create_task(call())
                await asyncio.sleep(0)
                clock.advance(seconds)
            await asyncio.wait_for(waiting, 10)

    asyncio.run(main())


def test_short_waits_are_not_logged(keeper_of, clock, caplog):
    keeper = keeper_of(rk.Quota(concurrency=1), slow_wait=10, lease_ttl=100)
    waits(keeper, clock, 9, 3)
    assert caplog.records == []


def test_long_waits_are_logged_once_a_minute_with_what_they_waited_for(keeper_of, clock, caplog):
    keeper = keeper_of(rk.Quota(concurrency=1), slow_wait=10, lease_ttl=100)
    waits(keeper, clock, 12, 3)
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert (
        "a call of m waited 12.0 s for the quota generic/acct/m: 0 waiting, 1 in flight"
        in record.getMessage()
    )


def test_a_line_of_a_kind_is_written_at_most_once_a_minute_and_scope(caplog):
    now = [0.0]
    notices = Notices(10, clock=lambda: now[0])
    for second in (0, 30, 59.9, 60, 61):
        now[0] = second
        notices.expired("a", "m")
    notices.expired("b", "m")
    assert len(caplog.records) == 3


def test_a_queue_in_which_nothing_starts_is_logged_when_another_call_joins_it(keeper_of, caplog, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("ratekeeper.call.monotonic", lambda: now[0])
    gate = keeper_of(rk.Quota(concurrency=1), slow_wait=10).gate("generic", "acct")

    async def wait():
        async with gate.call(HELLO):
            pass

    async def main():
        async with gate.call(HELLO):
            waiting = [asyncio.create_task(wait())]
            for second in (1, 12):
                await asyncio.sleep(0)
                now[0] = second
                waiting.append(asyncio.create_task(wait()))
                await asyncio.sleep(0)
        await asyncio.wait_for(asyncio.gather(*waiting), 10)

    asyncio.run(main())
    [record] = caplog.records
    assert (
        "no call has started for 12 s under the quota generic/acct/m: 2 waiting, 1 in flight"
        in record.getMessage()
    )
    assert "the next one waits for concurrency of generic/acct/m until a call ends" in record.getMessage()


# --- copies and pickles -----------------------------------------------------------------------------------


def test_copies_of_a_gate_are_the_gate(keeper_of):
    gate = keeper_of().gate("generic", "acct")
    assert copy.copy(gate) is gate
    assert copy.deepcopy([gate])[0] is gate


def test_a_pickled_gate_finds_its_own_keeper_in_its_own_process(keeper_of):
    keepers = [keeper_of(rk.Quota(rpm=10)) for _ in range(2)]
    for keeper in keepers:
        gate = pickle.loads(pickle.dumps(keeper.gate("generic", "acct", Options(tenant="acme"))))
        assert gate.options.tenant == "acme"
        with gate.call(HELLO):
            pass
        assert used(keeper)["requests"] == 1


def test_a_gate_from_another_process_finds_the_keeper_of_its_name(keeper_of):
    keeper = keeper_of(name="jobs")
    data = pickle.dumps(keeper.gate("generic", "acct"))
    del keeper
    gc.collect()
    gate = pickle.loads(data)
    with pytest.raises(
        rk.ConfigError, match=r"no Keeper has that name; create exactly one with .*name='jobs'"
    ):
        gate.call(HELLO)
    keeper = keeper_of(rk.Quota(rpm=5), name="jobs")
    with pickle.loads(data).call(HELLO):
        assert used(keeper)["requests"] == 1
    another = keeper_of(name="jobs")
    with pytest.raises(rk.ConfigError, match="2 Keepers share that name"):
        pickle.loads(data).call(HELLO)
    assert another.name == keeper.name


def test_a_gate_leads_to_another_account_of_the_same_keeper(keeper_of):
    keeper = keeper_of()
    gate = keeper.gate("openai", "one")
    assert gate.to(gate.provider, "one") is gate
    other = gate.to(gate.provider, "two")
    assert other.account == "two"
    assert other.same_keeper(gate)
    assert not other.same_keeper(keeper_of().gate("openai", "one"))
    assert keeper.gate("openai", "x", Options(account="prod")).to(gate.provider, "two").account == "prod"
