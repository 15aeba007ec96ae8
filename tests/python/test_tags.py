"""Tags follow the context, nest, and reach the calls made under them."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context

import pytest

import ratekeeper as rk
from ratekeeper.tags import current


def test_outside_of_tags_there_are_none():
    assert current() == {}


def test_inner_tags_add_to_the_outer_ones_and_win():
    with rk.tags(tenant="acme", agent="writer") as outer:
        with rk.tags(agent="editor", task="7"):
            assert current() == {"tenant": "acme", "agent": "editor", "task": "7"}
        assert current() == outer == {"tenant": "acme", "agent": "writer"}
    assert current() == {}


def test_tags_end_when_the_body_raises():
    with pytest.raises(ZeroDivisionError), rk.tags(tenant="acme"):
        _ = 1 / 0
    assert current() == {}


def test_the_tags_in_force_cannot_be_changed():
    with rk.tags(tenant="acme") as tags, pytest.raises(TypeError):
        tags["tenant"] = "other"


@pytest.mark.parametrize("value", [7, None, b"acme", ["acme"]])
def test_a_value_that_is_no_text_is_refused_by_name(value):
    with pytest.raises(TypeError, match=r"tags\(tenant=...\): expected a str"):
        rk.tags(tenant=value)


def test_concurrent_tasks_do_not_see_each_others_tags():
    async def job(name):
        with rk.tags(job=name):
            await asyncio.sleep(0)
            return current()["job"]

    async def both():
        return await asyncio.gather(job("a"), job("b"))

    assert asyncio.run(both()) == ["a", "b"]


def test_one_object_serves_threads_at_the_same_time():
    shared, barrier = rk.tags(tenant="acme"), threading.Barrier(2)

    def job():
        with shared:
            barrier.wait(10)
            seen = dict(current())
            barrier.wait(10)
        return seen, dict(current())

    with ThreadPoolExecutor(2) as pool:
        results = [future.result() for future in [pool.submit(job), pool.submit(job)]]
    assert results == [({"tenant": "acme"}, {})] * 2


def test_a_decorated_function_keeps_its_name_and_runs_under_the_tags():
    @rk.tags(job="nightly")
    def report(topic, *, deep=False):
        """Writes."""
        return topic, deep, dict(current())

    assert report("x", deep=True) == ("x", True, {"job": "nightly"})
    assert (report.__name__, report.__doc__) == ("report", "Writes.")
    assert current() == {}


def test_a_decorated_coroutine_function_stays_one_and_can_run_many_times_at_once():
    @rk.tags(job="nightly")
    async def report(task):
        with rk.tags(task=task):
            await asyncio.sleep(0)
            return dict(current())

    async def both():
        return await asyncio.gather(report("1"), report("2"))

    assert asyncio.iscoroutinefunction(report)
    assert asyncio.run(both()) == [{"job": "nightly", "task": "1"}, {"job": "nightly", "task": "2"}]


def test_generators_and_values_cannot_be_decorated():
    def numbers():
        yield 1

    async def async_numbers():
        yield 1

    for wrong in (numbers, async_numbers):
        with pytest.raises(TypeError, match="generator"):
            rk.tags(job="x")(wrong)
    with pytest.raises(TypeError, match="expected a function, got int"):
        rk.tags(job="x")(7)


def test_tags_left_out_of_order_are_an_error():
    outer, inner = rk.tags(a="1"), rk.tags(b="2")

    def mix_up():
        outer.__enter__()
        inner.__enter__()
        with pytest.raises(RuntimeError, match="innermost first"):
            outer.__exit__(None, None, None)

    copy_context().run(mix_up)
