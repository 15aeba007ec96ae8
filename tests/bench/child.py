"""A measurement in an interpreter of its own: memory, CPU time and imports that nothing else has touched.

Owns the child processes. In the parent, `Child` starts one and reads its result; in the child, `python -m
tests.bench.child MODULE FUNCTION ARGUMENTS` runs a function of this package and prints what it returns as JSON.
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from typing import Any

_READY = "ready"


class Child:
    """One function of this package, in a process that waits for `go`.

    Args:
        function: `module:function`, the module relative to this package. The function is first called as
            `function(*args)` and returns a callable, which is called at `go`: so a child imports and builds before
            the clock runs.
        args: JSON values.
        python: The interpreter; one of another environment imports what the function's module imports there.
    """

    def __init__(self, function: str, *args: Any, python: str = sys.executable) -> None:
        command = [python, "-m", f"{__package__}.child", function, json.dumps(args)]
        self._function = function
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ready(self) -> Child:
        """Blocks until the child has prepared itself."""
        assert self._process.stdout is not None
        if self._process.stdout.readline().strip() != _READY:
            raise RuntimeError(
                f"{self._function}: the child ended with code {self._process.wait()} (see above)"
            )
        return self

    def go(self) -> Child:
        """Lets it start, and returns at once."""
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        return self

    def result(self) -> Any:
        """Blocks until it ends; what it returned."""
        answer, _ = self._process.communicate()
        if self._process.returncode:
            code = self._process.returncode
            raise RuntimeError(f"{self._function}: the child ended with code {code} (see above)")
        return json.loads(answer)

    def stop(self) -> None:
        """Ends it, if it has not ended."""
        self._process.kill()
        self._process.communicate()


def run(function: str, *args: Any) -> Any:
    """What a function of this package returns in a process of its own."""
    return Child(function, *args).ready().go().result()


def _main(function: str, args: str) -> None:
    module, _, name = function.partition(":")
    measure = getattr(importlib.import_module(f".{module}", __package__), name)(*json.loads(args))
    print(_READY, flush=True)
    sys.stdin.readline()
    print(json.dumps(measure()))


if __name__ == "__main__":
    _main(*sys.argv[1:])
