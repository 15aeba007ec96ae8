"""The floor: a native context manager that does nothing (`empty_context.rs`), built and loaded here."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from functools import cache
from itertools import repeat
from pathlib import Path
from types import ModuleType

_ROOT = Path(__file__).parents[3]
_EXAMPLE = "empty_context"


class EmptyContext:
    """Factory method with a keyword, enter, exit."""

    name = "an empty native context manager"

    def __init__(self) -> None:
        self._limiter = _built().Empty()

    def run(self, count: int) -> None:
        limiter = self._limiter
        for _ in repeat(None, count):
            with limiter.acquire(tokens=7):
                pass


class EmptyContextSettled:
    """The same, and a method with a keyword in between."""

    name = "the same with an empty settle()"

    def __init__(self) -> None:
        self._limiter = _built().Empty()

    def run(self, count: int) -> None:
        limiter = self._limiter
        for _ in repeat(None, count):
            with limiter.acquire(tokens=7) as lease:
                lease.settle(tokens=5)


@cache
def _built() -> ModuleType:
    """The module, compiled with the release profile like the core; a build that is up to date takes no time."""
    spec = importlib.util.spec_from_file_location(_EXAMPLE, _library())
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _library() -> Path:
    # Apart from maturin's builds, whose settings for pyo3 differ: in one directory each would undo the other's.
    directory = Path(os.environ.get("CARGO_TARGET_DIR", _ROOT / "target")) / "bench"
    command = ["cargo", "build", "--release", "--quiet", "--features", "python", "--example", _EXAMPLE]
    env = {**os.environ, "PYO3_PYTHON": sys.executable, "PYO3_BUILD_EXTENSION_MODULE": "1"}
    built = subprocess.run(
        [*command, "--target-dir", directory, "--message-format", "json-render-diagnostics"],
        cwd=_ROOT,
        env=env,
        check=True,
        stdout=subprocess.PIPE,
    )
    messages = map(json.loads, built.stdout.splitlines())
    made = (m for m in messages if m["reason"] == "compiler-artifact" and m["target"]["name"] == _EXAMPLE)
    return Path(next(made)["filenames"][0])
