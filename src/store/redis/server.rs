//! A Redis server of a test's own, and batches sent to it.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use redis::{Client, Cmd, Connection};

use super::state::State;
use super::step::{Op, Outcome, Reply, argument, reply, script};
use super::wire::decode;
use crate::clock::Time;

/// How long a process is believed to be there.
pub(super) const PRESENCE: Duration = Duration::from_secs(10);
/// The key of the clock.
pub(super) const CLOCK: &str = "{t}clock";

/// A server that stops when it is dropped.
pub(super) struct Server {
    process: Child,
    folder: PathBuf,
}

impl Server {
    pub(super) fn start() -> Self {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("ratekeeper-redis-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let process = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket"])
            .arg(folder.join("socket"))
            .current_dir(&folder)
            .stdout(Stdio::null())
            .spawn()
            .expect("no redis-server on this machine: run `make redis`, which gets one for the tests");
        Self { process, folder }
    }

    /// A connection, once the server is up.
    #[allow(clippy::disallowed_methods, reason = "a server takes its time to start")]
    pub(super) fn connect(&self) -> Connection {
        let url = format!("redis+unix://{}", self.folder.join("socket").display());
        let client = Client::open(url).unwrap();
        for _ in 0..500 {
            if let Ok(mut connection) = client.get_connection() {
                script().load(&mut connection).unwrap();
                return connection;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("redis-server has not started within ten seconds");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        std::fs::remove_dir_all(&self.folder).unwrap();
    }
}

/// Scopes on a server, as one process uses them.
pub(super) struct Scopes<'a> {
    pub(super) connection: Connection,
    pub(super) process: &'a str,
    pub(super) keys: Vec<String>,
}

impl<'a> Scopes<'a> {
    pub(super) fn of(server: &Server, process: &'a str, names: &[&str]) -> Self {
        let keys = names.iter().map(|name| format!("{{t}}{name}")).collect();
        Self { connection: server.connect(), process, keys }
    }

    /// The command that takes steps at a time of the server's clock.
    pub(super) fn call(&self, now: Time, ops: &[Op]) -> Cmd {
        let mut call = redis::cmd("EVALSHA");
        call.arg(script().get_hash()).arg(1 + self.keys.len()).arg(CLOCK).arg(&self.keys);
        call.arg(argument(self.process, PRESENCE, ops)).arg(now.nanos() / 1_000);
        call
    }

    /// Takes steps.
    pub(super) fn step(&mut self, now: Time, ops: &[Op]) -> Reply {
        let value = self.call(now, ops).query(&mut self.connection).unwrap();
        reply(value).unwrap()
    }

    /// Takes one step.
    pub(super) fn one(&mut self, now: Time, op: Op) -> Outcome {
        self.step(now, &[op]).outcomes[0]
    }

    /// The state of a scope as it is kept.
    pub(super) fn state(&mut self, scope: usize) -> State {
        let value: Vec<u8> = redis::cmd("GET").arg(&self.keys[scope]).query(&mut self.connection).unwrap();
        decode(self.keys[scope].as_str().into(), &value).unwrap()
    }
}
