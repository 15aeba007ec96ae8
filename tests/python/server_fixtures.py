"""Servers and lines as fixtures, and the stores that processes share; a conftest imports those that its tests use."""

from __future__ import annotations

import contextlib

import pytest
import servers as real
import wires

#: The stores under which processes are tried. Another one needs its name here, and nothing else.
STORES = ("sqlite", "redis")


@contextlib.contextmanager
def store_in(folder, kind):
    """The address of an empty store of a kind of `STORES`."""
    if kind == "sqlite":
        yield f"sqlite:///{folder}/quota.db"
    else:
        with real.Server(folder, kind) as server:
            yield server.url


class Servers:
    """Makes servers in the test's own folder; all are killed at its end."""

    def __init__(self, folder, stack):
        self._folder, self._stack, self._count = folder, stack, 0

    def server(self, kind="redis", password=None, **settings):
        """A server; see `servers.Server`."""
        return self._stack.enter_context(real.Server(self._new(), kind, password, **settings))

    def replica(self, of, **settings):
        """A replica of a server, which has caught up with it."""
        return self._stack.enter_context(of.replica(self._new(), **settings))

    def cluster(self, kind="redis", password=None, nodes=3):
        """A cluster that is ready; see `servers.Cluster`."""
        return self._stack.enter_context(real.Cluster(self._new(), kind, password, nodes))

    def watched(self, kind="redis", password=None, sentinels=1):
        """A server, its replica and their sentinels; see `servers.Watched`."""
        return self._stack.enter_context(real.Watched(self._new(), kind, password, sentinels))

    def wire(self, to):
        """A line to a server that can be slow, dead or cut; see `wires.Wire`."""
        return self._stack.enter_context(wires.Wire(to.port))

    def nowhere(self):
        """A port on which nothing is heard."""
        return self._stack.enter_context(wires.Nowhere())

    def _new(self):
        self._count += 1
        return self._folder / f"server{self._count}"


@pytest.fixture
def servers(tmp_path):
    """What makes servers; they live as long as the test."""
    with contextlib.ExitStack() as stack:
        yield Servers(tmp_path, stack)


@pytest.fixture(scope="session", params=real.KINDS)
def _standing_server(request, tmp_path_factory):
    with real.Server(tmp_path_factory.mktemp(request.param), request.param) as server:
        yield server


@pytest.fixture
def standing_server(_standing_server):
    """A server of each kind that stands for the whole session, empty; not to be stopped or reconfigured."""
    _standing_server.forget_all()
    _standing_server.command("CONFIG", "RESETSTAT")
    return _standing_server
