//! Every store in virtual time, for whoever tests what all of them promise; and the two that processes share.

use std::path::{Path as FilePath, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use ratekeeper::clock::{Clock, ManualClock};
use ratekeeper::error::Result;
use ratekeeper::quota::Amounts;
use ratekeeper::scope::Path;
use ratekeeper::store::{Decision, LeaseId, MemoryStore, Policy, RedisStore, SqliteStore, Store};

use crate::server::Server;
use crate::world::tokens;

/// A file that is not there yet.
pub(crate) fn new_file() -> PathBuf {
    static FILES: AtomicU32 = AtomicU32::new(0);
    let folder = std::env::temp_dir().join(format!("ratekeeper-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder.join(format!("{}.db", FILES.fetch_add(1, Ordering::Relaxed)))
}

pub(crate) fn store_with(path: &FilePath, policy: Policy, clock: &Arc<ManualClock>) -> SqliteStore {
    SqliteStore::open(path, Duration::from_secs(10), policy, Some(clock.clone() as Arc<dyn Clock>)).unwrap()
}

/// The server of all tests that run just now.
fn server() -> Arc<Server> {
    static SERVER: Mutex<Weak<Server>> = Mutex::new(Weak::new());
    let mut running = SERVER.lock().unwrap();
    running.upgrade().unwrap_or_else(|| {
        let server = Arc::new(Server::start());
        *running = Arc::downgrade(&server);
        server
    })
}

/// Where state is kept.
enum Keeping {
    InMemory,
    InFile(PathBuf),
    OnServer { url: String, _server: Arc<Server> },
}

/// A state that nobody has used, and the time.
pub(crate) struct Common {
    keeping: Keeping,
    pub clock: Arc<ManualClock>,
}

impl Common {
    fn kept(keeping: Keeping) -> Self {
        Self { keeping, clock: Arc::default() }
    }

    pub(crate) fn in_memory() -> Self {
        Self::kept(Keeping::InMemory)
    }

    pub(crate) fn in_file() -> Self {
        Self::kept(Keeping::InFile(new_file()))
    }

    pub(crate) fn on_server() -> Self {
        static PREFIXES: AtomicU32 = AtomicU32::new(0);
        let server = server();
        let prefix = PREFIXES.fetch_add(1, Ordering::Relaxed);
        Self::kept(Keeping::OnServer { url: format!("{}?prefix=t{prefix}", server.url()), _server: server })
    }

    /// Those that several processes can use.
    pub(crate) fn shared() -> [Self; 2] {
        [Self::in_file(), Self::on_server()]
    }

    /// The store of one more process; of the one process there is, in memory.
    pub(crate) fn process(&self, lease_ttl: Duration) -> Arc<dyn Store> {
        let clock = self.clock.clone() as Arc<dyn Clock>;
        match &self.keeping {
            Keeping::InMemory => Arc::new(MemoryStore::new(clock, lease_ttl)),
            Keeping::InFile(file) => {
                Arc::new(SqliteStore::open(file, lease_ttl, Policy::Share, Some(clock)).unwrap())
            }
            Keeping::OnServer { url, .. } => {
                // Closed, so that a machine too busy to answer in time makes a test fail, and not decide something else.
                let open =
                    || RedisStore::open(url, lease_ttl, Policy::Closed, Some(clock.clone()), |wait| wait());
                (0..9).find_map(|_| open().ok()).unwrap_or_else(|| open().unwrap())
            }
        }
    }
}

/// Asks as one who waits if there is no room, and so has a place in line.
pub(crate) fn ask(store: &dyn Store, path: &Path, amounts: &Amounts) -> Result<Decision> {
    if let Some(remote) = store.remote() {
        return remote.ask(&[(*path, *amounts)]).remove(0);
    }
    let decision = store.reserve(path, amounts)?;
    if let Decision::Wait(blocked) = &decision {
        store.wait(blocked, amounts)?;
    }
    Ok(decision)
}

/// What is ended, learned, left or set is told at once, except to a store that is a round trip away: it hears of it with the next question.
pub(crate) fn tell(store: &dyn Store) {
    if let Some(remote) = store.remote() {
        assert!(remote.ask(&[]).is_empty());
    }
}

pub(crate) fn granted(store: &dyn Store, path: &Path, amount: u64) -> LeaseId {
    match ask(store, path, &tokens(amount)).unwrap() {
        Decision::Granted(lease) => lease,
        other => panic!("expected a grant, got {other:?}"),
    }
}

pub(crate) fn waits(store: &dyn Store, path: &Path, amount: u64) -> bool {
    matches!(ask(store, path, &tokens(amount)), Ok(Decision::Wait(_)))
}
