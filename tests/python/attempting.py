"""What the tests of attempts share: calls through a gate, and refusals that tell their limits.

Owns no rule of its own: what is right is said in the tests.
"""

import asyncio

from gates import HELLO
from retrying import ProviderError

import ratekeeper as rk
from ratekeeper.providers import Usage

#: Three attempts whose waits are over at once.
QUICK = rk.RetryPolicy(attempts=3, wait_initial=0.001, wait_max=0.002)


def refused(retry_after=None, **headers):
    """A 429 that tells the limit in force, as OpenAI's does, so that nothing has to be guessed."""
    told = {"x_ratelimit_limit_requests": "100", "x_ratelimit_remaining_requests": "50", **headers}
    if retry_after is not None:
        told["retry_after"] = str(retry_after)
    return ProviderError(429, **told)


def send(gate, provider, request=HELLO):
    """One call, as an adapter makes it."""
    for call in gate.attempts(request):
        with call:
            answer = provider()
            call.settle(Usage(10, 5))
    return answer


async def asend(gate, provider, request=HELLO):
    """The same in a task; the provider answers in a later turn of the loop."""
    async for call in gate.attempts(request):
        async with call:
            await asyncio.sleep(0)
            answer = provider()
            call.settle(Usage(10, 5))
    return answer


def stream(gate, *attempts, request=HELLO):
    """A stream whose attempts each yield these chunks; an exception among them is raised in its place."""
    rounds = iter(attempts)
    for call in gate.attempts(request):
        with call:
            for chunk in next(rounds):
                if isinstance(chunk, Exception):
                    raise chunk
                call.keep_alive()
                yield chunk
            call.settle(Usage(10, 5))


async def turns(number=12):
    """Of the event loop: calls come through its turnstile one a turn."""
    for _ in range(number):
        await asyncio.sleep(0)


def idle(keeper):
    """Nobody holds a permit or waits, in any scope."""
    return all(
        (scope["in_flight"], scope["waiting"]) == (0, 0) for scope in keeper.status()["scopes"].values()
    )
