"""`python -m tests.bench [--quick] [NAME …]`: all benches, or those named.

`python -m tests.bench backoff --only halved --contender ratekeeper` takes a part of one: names that contain these.

Owns the command line. Ends with 0 whatever was measured: a figure missed on a busy machine is a finding, not a failure.
"""

from __future__ import annotations

import argparse
import importlib
import platform
import time

from rich.console import Console

from .figures import Figure, show, summary

#: Name → title; each is a package beside this file with `figures(quick)`.
_BENCHES = {
    "uncontended": "An uncontended call: acquire, enter, settle, exit (requests + tokens + concurrency)",
    "waiting": "10,000 waiting tasks, 5,000 wakes a second",
    "provider": "900 ChatOpenAI calls, 50 at once, against the fake provider",
    "stores": "One quota for six processes, in a SQLite file and in a Redis server",
    "backoff": "900 calls, 50 at once: refusals, faults, changed and unknown quotas",
    "ledger": "Booking attempts, in memory and into SQLite; reports",
    "footprint": "What it costs to have it",
}


def main() -> None:
    """Runs, prints, sums up."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(_BENCHES))
    parser.add_argument(
        "--quick", action="store_true", help="a smoke run of two or three minutes; its figures say little"
    )
    parser.add_argument("--only", action="append", metavar="PART", help="backoff: these trials")
    parser.add_argument("--contender", action="append", metavar="PART", help="backoff: these contenders")
    options = parser.parse_args()
    unknown = sorted(set(options.names) - set(_BENCHES))
    if unknown:
        parser.error(f"no bench is called {', '.join(unknown)}; there are {', '.join(_BENCHES)}")
    parts = {"only": options.only, "contenders": options.contender}
    chosen = {name: texts for name, texts in parts.items() if texts}
    if chosen and options.names != ["backoff"]:
        parser.error("--only and --contender choose within backoff: name it alone")
    console = Console(width=150, highlight=False)
    console.print(f"CPython {platform.python_version()}, {platform.system()} {platform.machine()}\n")
    figures: list[Figure] = []
    began = time.monotonic()
    for name, title in _BENCHES.items():
        if not options.names or name in options.names:
            with console.status(f"{name} …"):
                found = list(
                    importlib.import_module(f".{name}", __package__).figures(options.quick, **chosen)
                )
            figures += show(console, title, found)
    summary(console, figures)
    console.print(f"in {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
