"""An application that real servers serve in several workers, and those who ask it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
from servers import free_port, until

PORT = "PORT"
#: How many ask at the same time.
AT_ONCE = 40


class Site:
    """The served application, which answers with the id of its process."""

    def __init__(self, program, port):
        self.program, self.address = program, f"http://127.0.0.1:{port}"
        self.pool = ThreadPoolExecutor(AT_ONCE)

    def look(self):
        """The id of a worker, or None if nobody answers."""
        try:
            return httpx.get(self.address).json()
        except httpx.TransportError:
            return None

    def workers(self):
        """The ids of all workers, as far as twenty looks tell."""
        return set(self.pool.map(lambda _: self.look(), range(20))) - {None}

    def ask(self, number, path="/ask"):
        """The id of the worker that answered, or None if the connection was lost."""
        try:
            answer = httpx.post(
                self.address + path,
                params={"question": f"Question {number}?"},
                headers={"x-tenant": f"tenant {number % 4}"},
                timeout=60,
            )
        except httpx.TransportError:
            return None
        assert answer.status_code == 200, answer.text
        return answer.json()["process"]

    def ask_many(self, count, path="/ask"):
        return list(self.pool.map(lambda number: self.ask(number, path), range(count)))


@contextmanager
def served(started, *command, workers):
    """The application under a server's command, in which PORT stands for a free one."""
    port = free_port()
    words = [word.replace(PORT, str(port)) for word in command]
    site = Site(started("-m", *words, "--workers", workers), port)
    with site.pool:
        until(lambda: len(site.workers()) == workers, "all workers answer", 60)
        yield site
    assert "Traceback" not in site.program.said, site.program.said
