"""For tests, ours and our users': the fake provider, a local server to load test against before production.

Public names only. Each is loaded at its first use: importing this imports no server.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ratekeeper._core import ManualClock as ManualClock
    from ratekeeper.testing.client import FakeProviderError as FakeProviderError
    from ratekeeper.testing.limits import Limits as Limits
    from ratekeeper.testing.limits import QuotaChange as QuotaChange
    from ratekeeper.testing.provider import FakeProvider as FakeProvider
    from ratekeeper.testing.report import Entry as Entry
    from ratekeeper.testing.report import Report as Report
    from ratekeeper.testing.report import ScopeReport as ScopeReport
    from ratekeeper.testing.report import fingerprint as fingerprint
    from ratekeeper.testing.retries import retry_without_waiting as retry_without_waiting
    from ratekeeper.testing.settings import Fault as Fault
    from ratekeeper.testing.settings import Reply as Reply
    from ratekeeper.testing.settings import ToolCall as ToolCall

_HOMES = {
    "Entry": "ratekeeper.testing.report",
    "FakeProvider": "ratekeeper.testing.provider",
    "FakeProviderError": "ratekeeper.testing.client",
    "Fault": "ratekeeper.testing.settings",
    "Limits": "ratekeeper.testing.limits",
    "ManualClock": "ratekeeper._core",
    "QuotaChange": "ratekeeper.testing.limits",
    "Reply": "ratekeeper.testing.settings",
    "Report": "ratekeeper.testing.report",
    "ScopeReport": "ratekeeper.testing.report",
    "ToolCall": "ratekeeper.testing.settings",
    "fingerprint": "ratekeeper.testing.report",
    "retry_without_waiting": "ratekeeper.testing.retries",
}

__all__ = sorted(_HOMES)  # noqa: PLE0605  (one list of names, not two)


def __getattr__(name: str) -> object:
    """Load a public name from the module that owns it."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return list(__all__)
