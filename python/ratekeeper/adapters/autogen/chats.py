"""Asynchronous chats, whose model calls AutoGen makes on threads.

Owns these names alone: each such call is a job, which leaves the queue when its chat is cancelled (`adapters.jobs`).
"""

from __future__ import annotations

from ratekeeper.adapters.jobs import current_job as current_chat
from ratekeeper.adapters.jobs import on_thread

__all__ = ["current_chat", "on_thread"]
