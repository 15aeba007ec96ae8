"""A TCP line between a client and a server that can be slow, dead, or cut while it is in use.

Owns the line's threads and sockets, on this machine only. Knows nothing of what is said on it.
"""

from __future__ import annotations

import contextlib
import queue
import socket
import struct
import threading
import time

_HOST = "127.0.0.1"
_CHUNK = 65_536
#: Closing at once, with a reset, instead of an orderly end.
_WITH_RESET = struct.pack("ii", 1, 0)


class Wire:
    """Listens on a port of its own and passes everything on, both ways.

    Args:
        port: Where the server listens, on this machine.

    Attributes:
        port: Where clients connect.
        delay: Seconds that a question and its answer take on the line, together; half of it each way.
        is_dead: Whether the line swallows what is on it. As on a real one nothing is lost to a connection that outlives that:
            what was swallowed arrives when the line is back. New connections are accepted, and not answered.
        connections: How many connections were made so far.
    """

    def __init__(self, port):
        self._server = (_HOST, port)
        self.delay, self.is_dead, self.connections = 0.0, False, 0
        self._cut_after = None
        self._lines, self._lock = [], threading.Lock()
        self._listener = socket.create_server((_HOST, 0), backlog=128)
        self.port = self._listener.getsockname()[1]
        self._is_closed = False
        _thread(self._accept)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._is_closed = True
        # Closing alone leaves a thread in `accept`.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.reset()

    def url(self, of):
        """The address of the server `of` by this line."""
        return of.url.replace(f":{of.port}/", f":{self.port}/")

    def reset(self):
        """Resets all connections at once; new ones can be made."""
        with self._lock:
            lines, self._lines = self._lines, []
        for line in lines:
            line.reset()

    def reset_in_next_answer(self, after=1):
        """Resets the connection on which the server answers next, when so many bytes of the answer have passed.

        With 0 the server has done what it was asked, and the client hears nothing of it.
        """
        with self._lock:
            self._cut_after = after

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:  # closed
                return
            self.connections += 1
            try:
                server = socket.create_connection(self._server)
            except OSError:  # nobody listens there; nor, it seems, here
                _reset(client)
                continue
            line = _Line(self, client, server)
            with self._lock:
                self._lines.append(line)
            line.start()
            if self._is_closed:
                line.reset()

    def allowance(self, is_answer):
        """How many bytes of an answer may pass before its connection is reset; None for all."""
        if not is_answer:
            return None
        with self._lock:
            allowed, self._cut_after = self._cut_after, None
        return allowed


class _Line:
    """One connection: two sockets, and two threads each way, so that a delay holds nothing up but what it delays."""

    def __init__(self, wire, client, server):
        self._wire, self._client, self._server = wire, client, server
        self._is_over, self._open_ways, self._lock = False, 2, threading.Lock()
        for end in (client, server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def start(self):
        for source, target, is_answer in (
            (self._client, self._server, False),
            (self._server, self._client, True),
        ):
            under_way = queue.SimpleQueue()
            _thread(self._take, source, under_way)
            _thread(self._bring, target, under_way, is_answer)

    def _take(self, source, under_way):
        while True:
            try:
                chunk = source.recv(_CHUNK)
            except OSError:
                chunk = b""
            under_way.put((time.monotonic() + self._wire.delay / 2, chunk))
            if not chunk:
                return

    def _bring(self, target, under_way, is_answer):
        while True:
            due, chunk = under_way.get()
            time.sleep(max(0.0, due - time.monotonic()))
            while self._wire.is_dead and not self._is_over:
                time.sleep(0.005)
            allowed = self._wire.allowance(is_answer) if chunk else None
            try:
                target.sendall(chunk[:allowed])
                if not chunk:
                    target.shutdown(socket.SHUT_WR)
            except OSError:  # whom it is for has gone
                return self.reset()
            if allowed is not None:
                return self.reset()
            if not chunk:
                return self._hang_up()

    def _hang_up(self):
        """One side has nothing more to say; when neither has, the connection is over."""
        with self._lock:
            self._open_ways -= 1
            if self._open_ways:
                return
        self._client.close()
        self._server.close()

    def reset(self):
        self._is_over = True
        for end in (self._client, self._server):
            _reset(end)


class Nowhere:
    """A port on which no connection is ever made or refused, as where a firewall drops what comes."""

    def __init__(self):
        # The one place in its queue is taken, and nobody accepts: the system drops who else knocks.
        self._listener = socket.create_server((_HOST, 0), backlog=0)
        self.port = self._listener.getsockname()[1]
        self._taken = []
        for _ in range(4):
            knocking = socket.socket()
            knocking.setblocking(False)
            knocking.connect_ex((_HOST, self.port))
            self._taken.append(knocking)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for end in (*self._taken, self._listener):
            end.close()


def _reset(end):
    # Another thread may have closed it.
    with contextlib.suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _WITH_RESET)
    # Wakes the thread that waits in `recv`.
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RD)
    end.close()


def _thread(function, *arguments):
    threading.Thread(target=function, args=arguments, daemon=True).start()
