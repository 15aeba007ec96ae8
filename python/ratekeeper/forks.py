"""Locks that a fork waits for.

Owns the way to make one. A child has only the thread that forked: a lock that another thread held in that moment
would be held for ever in the child, and what it guards would be half made.
"""

from __future__ import annotations

import os
import threading


def lock() -> threading.Lock:
    """A lock for the life of the process, free in every child; not to be held across a fork by who forks."""
    made = threading.Lock()
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=made.acquire, after_in_parent=made.release, after_in_child=made.release)
    return made
