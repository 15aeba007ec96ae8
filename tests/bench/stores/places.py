"""The stores that are compared, each empty, in a folder of its own, and gone afterwards.

Owns the servers, which it has started by the tools of the tests; the machine's own service is never asked.
"""

from __future__ import annotations

import importlib
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

KINDS = ("sqlite", "redis")
_TOOLS = Path(__file__).parents[2] / "python"


@dataclass(frozen=True)
class Place:
    """A store.

    Attributes:
        kind: One of `KINDS`.
        url: Its address.
        server: The server that keeps it, if one does.
    """

    kind: str
    url: str
    server: Any = None

    def forget_counts(self) -> None:
        """Has the server count from now on."""
        if self.server:
            self.server.command("CONFIG", "RESETSTAT")

    def script_calls(self) -> tuple[int, float] | None:
        """The calls of scripts that the server has counted, and the microseconds they took it; None where there is none."""
        if not self.server:
            return None
        told = self.server.info("commandstats").get("cmdstat_evalsha", "calls=0,usec=0")
        counted = dict(part.split("=") for part in told.split(","))
        return int(counted["calls"]), float(counted["usec"])


@contextmanager
def place(kind: str) -> Iterator[Place]:
    """An empty store of that kind."""
    with tempfile.TemporaryDirectory() as folder:
        if kind == "sqlite":
            yield Place(kind, f"sqlite:///{Path(folder).absolute()}/quota.db")
            return
        if str(_TOOLS) not in sys.path:
            sys.path.append(str(_TOOLS))
        with importlib.import_module("servers").Server(folder, kind) as server:
            yield Place(kind, server.url, server)
