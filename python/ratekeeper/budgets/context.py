"""What a call has to know of budgets before it knows whether there are any.

Owns the context variable of jobs. Apart from `job` and `budget`, so that a call outside of both imports nothing more.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .job import Job

in_force: ContextVar[tuple[Job, ...]] = ContextVar("ratekeeper_jobs", default=())

#: What has to be worked out of a call before it is sent: its price, its size, the time.
MONEY, SIZE, TIME = 1, 2, 4
