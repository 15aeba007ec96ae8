"""A few lines of RESP, the protocol of Redis: enough for a test to ask a server what it saw.

Owns one connection. No pool, no reconnecting: what goes wrong is told.
"""

from __future__ import annotations

import socket


class ServerError(Exception):
    """What a server answered instead of a result."""


class Connection:
    """One connection to the server at (host, port); whatever it does ends within `timeout` seconds a step."""

    def __init__(self, address, timeout, password=None):
        self._socket = socket.create_connection(address, timeout)
        self._answers = self._socket.makefile("rb")
        if password:
            self.command("AUTH", password)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._answers.close()
        self._socket.close()

    def command(self, *words):
        """Sends a command and gives its answer."""
        self.send(*words)
        return self.answer()

    def send(self, *words):
        """Sends a command."""
        encoded = [word if isinstance(word, bytes) else str(word).encode() for word in words]
        parts = [b"*%d\r\n" % len(encoded), *(b"$%d\r\n%s\r\n" % (len(word), word) for word in encoded)]
        self._socket.sendall(b"".join(parts))

    def answer(self):
        """The next answer: text (bytes where it is none), a number, a list or None.

        Raises:
            ServerError: It is an error.
            ConnectionError: The server has hung up.
        """
        kind, said = self._line()
        if kind == b"-":
            raise ServerError(said.decode())
        if kind == b"+":
            return said.decode()
        if kind == b":":
            return int(said)
        if int(said) < 0:
            return None
        if kind == b"$":
            return _text(self._exactly(int(said) + 2)[:-2])
        assert kind == b"*", f"an answer of the kind {kind!r}"
        return [self._element() for _ in range(int(said))]

    def _element(self):
        """Within a list an error is an element like others."""
        try:
            return self.answer()
        except ServerError as error:
            return error

    def _line(self):
        line = self._answers.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("the server has hung up")
        return line[:1], line[1:-2]

    def _exactly(self, count):
        read = self._answers.read(count)
        if len(read) < count:
            raise ConnectionError("the server has hung up")
        return read


def _text(value):
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value
