"""What the tests of stored ledgers share: some entries, a child, a look at the file.

Owns no rule of its own: what is right is said in the tests.
"""

import os
import sqlite3
import warnings

from ratekeeper.providers import Usage


def fill(costs, count, start=0, **tags):
    for number in range(start, start + count):
        costs.book(Usage(number, 1), 10, model="m", tags={"agent": f"a{number % 3}", **tags})


def forked(work):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return pid


def ended(pid):
    return os.waitpid(pid, 0)[1]


def is_intact(path):
    with sqlite3.connect(path) as connection:
        [[verdict]] = connection.execute("PRAGMA integrity_check").fetchall()
    connection.close()
    return verdict == "ok"
