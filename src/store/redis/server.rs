//! Batches sent to a Redis server of a test's own.

#[path = "../../../tests/core/server.rs"]
mod process;

use std::time::Duration;

use redis::{Client, Cmd, Connection};

pub(super) use process::Server;

use super::state::State;
use super::step::{Op, Outcome, Reply, argument, reply, script};
use super::wire::decode;
use crate::clock::Time;

/// How long a process is believed to be there.
pub(super) const PRESENCE: Duration = Duration::from_secs(10);
/// The key of the clock.
pub(super) const CLOCK: &str = "{t}clock";

impl Server {
    /// A connection, over which the script can be run.
    pub(super) fn connect(&self) -> Connection {
        let mut connection = Client::open(self.url()).unwrap().get_connection().unwrap();
        script().load(&mut connection).unwrap();
        connection
    }
}

/// The command by which a process takes steps at a time of the server's clock.
pub(super) fn call(process: &str, keys: &[String], now: Time, ops: &[Op]) -> Cmd {
    let mut call = redis::cmd("EVALSHA");
    call.arg(script().get_hash()).arg(1 + keys.len()).arg(CLOCK).arg(keys);
    call.arg(argument(process, PRESENCE, ops)).arg(now.nanos() / 1_000);
    call
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
        call(self.process, &self.keys, now, ops)
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
