//! Threads that wait: each is parked by itself, and one of them, the leader, keeps the time for all.
//!
//! The main thread waits for a lock of the interpreter, which handles signals meanwhile. The others park in native code: a daemon thread
//! that wakes while the interpreter shuts down would be ended inside a lock of the interpreter, by unwinding through this module's frames,
//! which aborts the process. The leader is the thread that came last, which is served last and so leads longest.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::{self, Thread};
use std::time::Duration;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use super::hub::Hub;
use super::waiter::{Waiter, Wake};
use crate::clock::Time;

/// A lock cannot be waited for longer than this; then the wait goes on.
const LONGEST_PARK: Duration = Duration::from_hours(1);

/// The threads parked for one hub.
#[derive(Default)]
pub(super) struct Parked {
    threads: BTreeMap<u64, Arc<Waiter>>,
    arrivals: u64,
    leader: Option<u64>,
    /// When the leader looks next.
    looks_at: Option<Time>,
}

impl Parked {
    fn enter(&mut self, waiter: Arc<Waiter>) -> u64 {
        self.arrivals += 1;
        self.threads.insert(self.arrivals, waiter);
        self.leader.get_or_insert(self.arrivals);
        self.arrivals
    }

    /// Takes a thread out; returns the new leader if the old one has gone.
    fn leave(&mut self, thread: u64) -> (Option<Arc<Waiter>>, Option<Arc<Waiter>>) {
        let gone = self.threads.remove(&thread);
        if self.leader != Some(thread) {
            return (gone, None);
        }
        let next = self.threads.last_key_value().map(|(id, waiter)| (*id, waiter.clone()));
        self.leader = next.as_ref().map(|(id, _)| *id);
        self.looks_at = None;
        (gone, next.map(|(_, waiter)| waiter))
    }

    fn lead(&mut self, thread: u64, wake_at: Option<Time>) -> bool {
        let leads = self.leader == Some(thread);
        if leads {
            self.looks_at = wake_at;
        }
        leads
    }

    /// The leader, if it would look later than `wake_at`.
    pub(super) fn leader_later_than(&self, wake_at: Time) -> Option<Arc<Waiter>> {
        let leader = self.threads.get(&self.leader?)?;
        self.looks_at.is_none_or(|looks_at| looks_at > wake_at).then(|| leader.clone())
    }
}

/// What one thread is parked on.
pub(super) enum Parker {
    /// The main thread: a `_thread.lock` that is held.
    Main(Py<PyAny>),
    /// Any other thread. The standard library's parking has no state beside the thread's own that a fork could find locked.
    Other(Thread),
}

impl Parker {
    fn new(py: Python<'_>) -> PyResult<Self> {
        static ALLOCATE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        if !is_main_thread(py)? {
            return Ok(Self::Other(thread::current()));
        }
        let lock = ALLOCATE.import(py, "_thread", "allocate_lock")?.call0()?;
        lock.call_method0(intern!(py, "acquire"))?;
        Ok(Self::Main(lock.unbind()))
    }

    pub(super) fn clone_ref(&self, py: Python<'_>) -> Self {
        match self {
            Self::Main(lock) => Self::Main(lock.clone_ref(py)),
            Self::Other(thread) => Self::Other(thread.clone()),
        }
    }

    fn park(&self, py: Python<'_>, timeout: Duration) -> PyResult<()> {
        match self {
            Self::Main(lock) => {
                lock.call_method1(py, intern!(py, "acquire"), (true, timeout.as_secs_f64())).map(drop)
            }
            Self::Other(_) => {
                py.detach(|| thread::park_timeout(timeout));
                Ok(())
            }
        }
    }

    pub(super) fn unpark(&self, py: Python<'_>) {
        match self {
            Self::Main(lock) => {
                let lock = lock.bind(py);
                // It may have been released already, and not been acquired again yet.
                let is_held = lock.call_method0(intern!(py, "locked")).and_then(|held| held.is_truthy());
                let release = || lock.call_method0(intern!(py, "release")).map(drop);
                if let Err(failure) = is_held.and_then(|held| if held { release() } else { Ok(()) }) {
                    failure.write_unraisable(py, Some(lock));
                }
            }
            Self::Other(thread) => thread.unpark(),
        }
    }
}

/// Parks this thread until something has come for `waiter`.
///
/// # Errors
/// What a signal handler raised, such as `KeyboardInterrupt`.
pub(super) fn park(py: Python<'_>, hub: &Hub, waiter: &Arc<Waiter>) -> PyResult<()> {
    let parker = Parker::new(py)?;
    waiter.set_wake(Wake::Thread(parker.clone_ref(py)));
    let thread = hub.parked.lock().enter(waiter.clone());
    // The leader may look later than this thread's deadline, or than a turn that its call has brought.
    hub.arm(py, hub.engine.wake_at());
    let outcome = park_on(py, &parker, hub, waiter, thread);
    let (gone, heir) = hub.parked.lock().leave(thread);
    drop(gone);
    if let Some(heir) = heir {
        heir.nudge(py);
    }
    outcome
}

fn park_on(py: Python<'_>, parker: &Parker, hub: &Hub, waiter: &Waiter, thread: u64) -> PyResult<()> {
    while !waiter.is_done() {
        let wake_at = hub.engine.wake_at().filter(|_| !hub.is_manual());
        let leads = hub.parked.lock().lead(thread, wake_at);
        let now = hub.engine.now();
        let timeout = match wake_at {
            Some(wake_at) if leads && wake_at <= now => {
                hub.pump(py);
                continue;
            }
            Some(wake_at) if leads => wake_at.since(now).min(LONGEST_PARK),
            _ => LONGEST_PARK,
        };
        parker.park(py, timeout)?;
    }
    Ok(())
}

/// Whether signals are handled on this thread.
fn is_main_thread(py: Python<'_>) -> PyResult<bool> {
    let threading = py.import(intern!(py, "threading"))?;
    let main = threading.call_method0(intern!(py, "main_thread"))?.getattr(intern!(py, "ident"))?;
    threading.call_method0(intern!(py, "get_ident"))?.eq(main)
}
