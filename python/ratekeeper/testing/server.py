"""The server thread: uvicorn on a socket of its own.

Owns one thread, one event loop and one listening socket, from ``start`` to ``stop``. Loaded only when a
provider starts, since it imports uvicorn.
"""

from __future__ import annotations

import logging
import socket
import threading

import uvicorn  # noqa: TID253

from ratekeeper.testing.app import make_app
from ratekeeper.testing.line import StreamCutError
from ratekeeper.testing.settings import Settings
from ratekeeper.testing.state import State

_BACKLOG = 2048
_START_TIMEOUT = 30.0


def _not_on_purpose(record: logging.LogRecord) -> bool:
    """Keep uvicorn quiet about the connections that a fault cuts."""
    return not (record.exc_info and isinstance(record.exc_info[1], StreamCutError))


def _listen(host: str, port: int) -> socket.socket:
    """A listening socket. It is made for TCP by name: only then does asyncio send small parts at once.

    Otherwise head and body of an answer meet Nagle's algorithm and a delayed acknowledgement: 40 ms each.
    """
    family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, kind, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


class _Server(uvicorn.Server):
    """Tells when it is ready, instead of being asked."""

    ready: threading.Event

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and say so."""
        await super().startup(sockets)
        self.ready.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Hang up on every client: whoever is still waited for sees a lost connection, no made-up answer."""
        for connection in list(self.server_state.connections):
            connection.transport.close()
        await super().shutdown(sockets)


class ServerThread:
    """A provider's server in a background thread.

    Args:
        settings: What the provider does.
        host: Where to listen.
        port: The port; 0 lets the system choose.

    Raises:
        OSError: The address cannot be listened on.
    """

    def __init__(self, settings: Settings, host: str, port: int) -> None:
        self._socket = _listen(host, port)
        self.port: int = self._socket.getsockname()[1]
        # Logging is left to the application under test: uvicorn's own set-up would change its loggers.
        config = uvicorn.Config(
            make_app(State(settings)),
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
            server_header=False,
            backlog=_BACKLOG,
            timeout_keep_alive=60,
        )
        self._server = _Server(config)
        self._server.ready = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="ratekeeper-fake-provider", daemon=True)

    def start(self) -> None:
        """Start and return when requests are answered.

        Raises:
            RuntimeError: The server did not start; its cause is chained.
        """
        logging.getLogger("uvicorn.error").addFilter(_not_on_purpose)
        self._thread.start()
        if not self._server.ready.wait(_START_TIMEOUT) or self._failure:
            raise RuntimeError("the fake provider did not start") from self._failure

    def stop(self) -> None:
        """Stop, cutting what is still running, and wait for the thread to end."""
        self._server.force_exit = self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join()
        self._socket.close()

    def _run(self) -> None:
        try:
            self._server.run(sockets=[self._socket])
        except BaseException as error:  # noqa: BLE001  (handed to the thread that waits in start)
            self._failure = error
        finally:
            self._server.ready.set()
