"""Processes of `multiprocessing`, forked and spawned, in a pool and alone; what was made before a fork works in the child."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import pytest
import work
from plan import SCOPE
from servers import until

PROCESSES = 3
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


@pytest.fixture
def limiter(store, provider, monkeypatch):
    """The scope's limiter of a keeper that is there before any fork, as is the client."""
    monkeypatch.setenv("STORE", store)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    monkeypatch.setenv("OPENAI_BASE_URL", provider.openai_url)
    yield work.the_keeper().limiter(SCOPE)
    work.keepers.clear()
    work.client.cache_clear()


@pytest.mark.parametrize("kind", ["fork", "spawn"])
def test_a_pool_of_processes_stays_within_one_quota(kind, limiter, within_one_quota):
    work.client()
    with ProcessPoolExecutor(PROCESSES, mp_context=multiprocessing.get_context(kind)) as pool:
        answered = list(pool.map(work.answer, range(50)))
    within_one_quota(50)
    assert len(set(answered)) > 1
    assert limiter.status()["in_flight"] == 0


@pytest.mark.parametrize("kind", ["fork", "spawn", "forkserver"])
@pytest.mark.parametrize("end", ["returns", "is terminated"])
def test_a_process_that_ends_with_permits_gives_them_back_at_once(kind, end, limiter, store):
    context = multiprocessing.get_context(kind)
    may_end = context.Event()
    process = context.Process(target=work.hold, args=(3, may_end, store))
    process.start()
    until(lambda: limiter.status()["in_flight"] == 3, "it holds")
    if end == "returns":
        may_end.set()
    else:
        process.terminate()
    process.join(30)
    assert process.exitcode == (0 if end == "returns" else -15)
    until(lambda: limiter.status()["in_flight"] == 0, "nothing is held", 1)
