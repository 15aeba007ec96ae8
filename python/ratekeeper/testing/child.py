"""A fake provider in a process of its own: both ends of it.

Owns the child from ``start`` to ``stop``. The child reads its settings from the first line of its standard
input, writes one line with its port (or with what went wrong), and lives until that input ends, so it never
outlives its parent.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

from ratekeeper.testing.client import FakeProviderError
from ratekeeper.testing.settings import Settings

_STOP_TIMEOUT = 10.0


class ServerProcess:
    """A provider's server in a child process; the same interface as ``ServerThread``.

    Args:
        settings: What the provider does.
        host: Where to listen.
        port: The port; 0 lets the system choose.
    """

    def __init__(self, settings: Settings, host: str, port: int) -> None:
        self.port = port
        self._order = json.dumps({"settings": settings.to_json(), "host": host, "port": port})
        self._child: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start and return when requests are answered.

        Raises:
            FakeProviderError: The child did not start; the message is its own.
        """
        # The child imports what the parent imports, from wherever the parent found it.
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        self._child = subprocess.Popen(
            [sys.executable, "-c", "from ratekeeper.testing.child import main; main()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=env,
        )
        answer = self._greet(self._child)
        if "error" in answer:
            self.stop()
            raise FakeProviderError(f"the fake provider's process did not start: {answer['error']}")
        self.port = int(answer["port"])

    def stop(self) -> None:
        """End the child and wait for it."""
        child, self._child = self._child, None
        if child is None:
            return
        with child:
            if child.stdin:
                child.stdin.close()
            try:
                child.wait(_STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                child.kill()

    def _greet(self, child: subprocess.Popen[str]) -> dict[str, str]:
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            child.stdin.write(self._order + "\n")
            child.stdin.flush()
        except BrokenPipeError:
            return {"error": f"it ended with code {child.wait()}"}
        line = child.stdout.readline()
        answer: dict[str, str] = json.loads(line) if line else {"error": f"it ended with code {child.wait()}"}
        return answer


def main() -> None:
    """The child's whole life."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    order = json.loads(sys.stdin.readline())
    try:
        from ratekeeper.testing.server import ServerThread  # noqa: PLC0415  (an extra)

        server = ServerThread(Settings.from_json(order["settings"]), order["host"], order["port"])
        server.start()
    except (OSError, ImportError, RuntimeError) as error:
        print(json.dumps({"error": str(error)}), flush=True)
        return
    print(json.dumps({"port": str(server.port)}), flush=True)
    sys.stdin.read()
    server.stop()
