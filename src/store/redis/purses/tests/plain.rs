//! A real server for the tests of purses, and plain ways to it.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use redis::{Connection, Script, Value};

use super::super::Call;
use crate::error::{Error, Result};

/// A server of its own, on a socket in a folder of its own.
pub(super) struct Server {
    process: Child,
    folder: PathBuf,
}

impl Server {
    pub(super) fn start(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("ratekeeper-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let mut command = Command::new("redis-server");
        command.args(["--port", "0", "--save", "", "--unixsocket"]).arg(folder.join("redis.sock"));
        let process =
            command.current_dir(&folder).stdout(Stdio::null()).spawn().expect("redis-server is installed");
        Self { process, folder }
    }

    pub(super) fn link(&self) -> Arc<Plain> {
        let client =
            redis::Client::open(format!("unix://{}", self.folder.join("redis.sock").display())).unwrap();
        let connection = (0..500).find_map(|_| {
            let connection = client.get_connection().ok();
            if connection.is_none() {
                pause();
            }
            connection
        });
        Arc::new(Plain(Mutex::new(connection.expect("the server answers within five seconds"))))
    }
}

#[allow(clippy::disallowed_methods, reason = "a real server starts in real time")]
fn pause() {
    std::thread::sleep(Duration::from_millis(10));
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        std::fs::remove_dir_all(&self.folder).unwrap();
    }
}

pub(super) struct Plain(pub(super) Mutex<Connection>);

impl Call for Plain {
    fn call(&self, script: &'static Script, keys: Vec<String>, argument: Vec<u8>) -> Result<Value> {
        let mut invocation = script.prepare_invoke();
        for key in &keys {
            invocation.key(key);
        }
        let answer = invocation.arg(argument).invoke(&mut *self.0.lock());
        answer.map_err(|error| Error::shared(self.shown(), error.to_string()))
    }

    fn shown(&self) -> &'static str {
        "a server"
    }
}

/// A way to a server that can be cut.
pub(super) struct Cut {
    pub(super) link: Arc<Plain>,
    pub(super) is_cut: Arc<AtomicBool>,
}

impl Call for Cut {
    fn call(&self, script: &'static Script, keys: Vec<String>, argument: Vec<u8>) -> Result<Value> {
        if self.is_cut.load(Ordering::Relaxed) {
            return Err(Error::shared(self.shown(), "it is away"));
        }
        self.link.call(script, keys, argument)
    }

    fn shown(&self) -> &'static str {
        "a server"
    }
}
