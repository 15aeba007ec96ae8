//! A Redis server of a test's own, for the core's tests and for those of the script alike.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// A server that stops when it is dropped.
pub(crate) struct Server {
    process: Child,
    folder: PathBuf,
}

impl Server {
    /// One that takes connections already.
    #[allow(clippy::disallowed_methods, reason = "a server takes its time to start")]
    pub(crate) fn start() -> Self {
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
        let server = Self { process, folder };
        for _ in 0..500 {
            if UnixStream::connect(server.folder.join("socket")).is_ok() {
                return server;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("redis-server has not started within ten seconds");
    }

    /// Where it is.
    pub(crate) fn url(&self) -> String {
        format!("unix://{}", self.folder.join("socket").display())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        std::fs::remove_dir_all(&self.folder).unwrap();
    }
}
