"""What a process of `multiprocessing` does; in one that was forked the keeper is its parent's."""

from __future__ import annotations

import os
from functools import cache

from plan import SCOPE, ask, keeper, wrapped_client

#: The one keeper of a process: inherited by a fork, made anew where there is none.
keepers: list = []


def the_keeper():
    if not keepers:
        keepers.append(keeper())
    return keepers[0]


@cache
def client():
    return wrapped_client(the_keeper())


def answer(number):
    """The id of the process that asked."""
    assert ask(client(), f"Question {number}?").choices[0].message.content
    return os.getpid()


def hold(permits, may_end, store):
    """Takes permits in that store, and ends without giving them back."""
    # What a server of forks was started with is older than this store.
    os.environ["STORE"] = store
    limiter = the_keeper().limiter(SCOPE)
    leases = [limiter.try_acquire(requests=1) for _ in range(permits)]
    assert all(leases)
    may_end.wait(60)
    keepers.append(leases)
