"""One call a turn of the event loop: in order, whoever is cancelled, in as many loops as there are."""

import asyncio
import gc
import weakref

import pytest

from ratekeeper import turnstile


def test_tasks_come_through_one_in_each_turn_in_the_order_of_their_arrival():
    async def main():
        turns, through = 0, []

        def count():
            nonlocal turns
            turns += 1
            loop.call_soon(count)

        async def task(number):
            await turnstile.enter()
            through.append((number, turns))

        loop = asyncio.get_running_loop()
        tasks = [loop.create_task(task(number)) for number in range(10)]
        loop.call_soon(count)
        await asyncio.gather(*tasks)
        assert [number for number, _ in through] == list(range(10))
        at = [turn for _, turn in through]
        assert len(set(at)) == 10, f"two came through in one turn: {at}"
        assert at[-1] - at[0] <= 12, f"turns were idle: {at}"

    asyncio.run(main())


def test_a_lone_task_does_not_wait():
    async def main():
        with pytest.raises(StopIteration):
            turnstile.enter().send(None)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        with pytest.raises(StopIteration):
            turnstile.enter().send(None)

    asyncio.run(main())


def test_a_cancelled_task_holds_nobody_up():
    async def main():
        tasks = [asyncio.ensure_future(turnstile.enter()) for _ in range(6)]
        await asyncio.sleep(0)
        for cancelled in tasks[1::2]:
            cancelled.cancel()
        done = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 5)
        assert [isinstance(result, asyncio.CancelledError) for result in done] == [False, True] * 3

    asyncio.run(main())


def test_a_closed_loop_is_forgotten():
    async def main():
        await asyncio.gather(*(turnstile.enter() for _ in range(5)))
        return weakref.ref(asyncio.get_running_loop())

    loop = asyncio.run(main())
    gc.collect()
    assert loop() is None
