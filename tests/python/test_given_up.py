"""The short memory of what was given up inside a run."""

import pytest
from attempting import QUICK, send
from retrying import Provider, ProviderError

import ratekeeper as rk
from ratekeeper import given_up
from ratekeeper.given_up import GivenUp
from ratekeeper.providers import Request


def request(run="run", text="hello", **more):
    return Request("m", [{"role": "user", "content": text}], run=run, **more)


@pytest.fixture
def memory():
    return GivenUp()


@pytest.fixture
def now(monkeypatch):
    moment = [1000.0]
    monkeypatch.setattr(given_up, "monotonic", lambda: moment[0])
    return moment


def is_kept(memory, asked):
    try:
        memory.check(asked)
    except ProviderError:
        return True
    return False


def test_the_same_call_of_the_same_run_gets_the_same_exception(memory):
    error = ProviderError(500)
    memory.add(request(), error)
    with pytest.raises(ProviderError) as caught:
        memory.check(request())
    assert caught.value is error


@pytest.mark.parametrize(
    "other",
    [
        request(run="another"),
        request(text="bye"),
        request(tools=[{"name": "t"}]),
        request()._replace(model="n"),
    ],
)
def test_any_other_call_is_sent(memory, other):
    memory.add(request(), ProviderError(500))
    assert not is_kept(memory, other)


def test_a_call_of_no_run_is_not_remembered(memory):
    memory.add(request(run=None), ProviderError(500))
    assert not is_kept(memory, request(run=None))


def test_it_is_forgotten_after_a_minute_with_all_that_it_holds(memory, now):
    memory.add(request(), ProviderError(500))
    now[0] += 59
    assert is_kept(memory, request())
    now[0] += 2
    assert not is_kept(memory, request(run="another"))
    assert not memory._ended


def test_no_more_than_sixty_four_are_kept_the_youngest(memory, now):
    for number in range(100):
        now[0] += 0.1
        memory.add(request(run=number), ProviderError(500))
    assert [is_kept(memory, request(run=number)) for number in (0, 35, 36, 99)] == [False, False, True, True]


def test_what_fails_again_is_as_young_as_its_last_failure(memory, now):
    for number in range(64):
        memory.add(request(run=number), ProviderError(500))
    memory.add(request(run=0), ProviderError(503))
    memory.add(request(run=64), ProviderError(500))
    assert is_kept(memory, request(run=0))
    assert not is_kept(memory, request(run=1))


def test_threads_that_give_up_together_do_not_disturb_one_another(memory, threads):
    def give_up(first):
        for number in range(2000):
            memory.add(request(run=(first, number)), ProviderError(500))
            is_kept(memory, request(run=(first + 1, number)))

    for first in range(4):
        threads(give_up, first)


@pytest.mark.parametrize(
    ("error", "calls"),
    [(ProviderError(500), 3), (ProviderError(400), 1), (ValueError("no JSON"), 2)],
    ids=repr,
)
def test_a_run_repeats_only_what_was_not_judged_here(error, calls):
    """What nobody knows was not tried again, so it is the framework's to try again."""
    keeper = rk.Keeper(retry=QUICK)
    gate, provider = keeper.gate("generic", "acct"), Provider(error, times=9)
    for _ in range(2):
        with pytest.raises(type(error)):
            send(gate, provider, request())
    assert provider.calls == calls


def test_without_a_policy_a_run_repeats_what_it_likes():
    gate, provider = rk.Keeper(retry=None).gate("generic", "acct"), Provider(ProviderError(500), times=9)
    for _ in range(2):
        with pytest.raises(ProviderError):
            send(gate, provider, request())
    assert provider.calls == 2
