//! The file behind a `Ledger`: its writer in this process, what is told of it, forks and the interpreter's exit.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;

use super::super::convert::raise;
use crate::clock::unix_micros;
use crate::error::Result;
use crate::ledger::entry;
use crate::ledger::file::{Author, File};
use crate::ledger::writer::{Pushed, Writer, after_fork, before_fork, using};

/// All that may have something to write when the interpreter exits. Locked with the interpreter attached.
static LIVE: Mutex<Vec<Weak<Stored>>> = Mutex::new(Vec::new());
/// The interpreter is exiting: nobody will come and write later.
static IS_EXITING: AtomicBool = AtomicBool::new(false);

pub(super) struct Stored {
    path: PathBuf,
    flush: Duration,
    writer: Mutex<Option<Arc<Writer>>>,
    /// The turns of the writer's health of which people were told.
    told: AtomicU64,
    has_told_of_loss: AtomicBool,
}

impl Stored {
    pub(super) fn open(py: Python<'_>, path: PathBuf, flush: Duration) -> PyResult<Arc<Self>> {
        register(py)?;
        // Wherever the application goes later, and whatever process it becomes.
        let path = std::path::absolute(&path).unwrap_or(path);
        // Whatever is wrong with it is said now. The thread begins with the first entry: a process that only forks has none.
        read(py, || File::open(&path, flush.is_zero()).map(drop))?;
        let (writer, told) = (Mutex::new(None), AtomicU64::new(0));
        let stored = Arc::new(Self { path, flush, writer, told, has_told_of_loss: AtomicBool::new(false) });
        let mut live = LIVE.lock();
        live.retain(|known| known.strong_count() > 0);
        live.push(Arc::downgrade(&stored));
        Ok(stored)
    }

    /// This process's writer, if it has one; what a parent left is forgotten: its thread is not here, and its locks may be
    /// held for ever.
    fn known(&self) -> Option<Arc<Writer>> {
        let mut place = self.writer.lock();
        if place.as_ref().is_some_and(|writer| !writer.is_ours()) {
            std::mem::forget(place.take());
        }
        place.clone()
    }

    fn writer(&self, py: Python<'_>) -> PyResult<Arc<Writer>> {
        if let Some(writer) = self.known() {
            return Ok(writer);
        }
        let author = Author { pid: std::process::id(), started: started() };
        let writer = Writer::start(&self.path, self.flush, author).map_err(|error| raise(py, error))?;
        let writer = Arc::new(writer);
        self.told.store(0, Ordering::Relaxed);
        *self.writer.lock() = Some(writer.clone());
        register_in_process(py)?;
        Ok(writer)
    }

    /// Hands an entry to the writer.
    pub(super) fn put(&self, py: Python<'_>, entry: &Arc<entry::Entry>) -> PyResult<()> {
        let writer = self.writer(py)?;
        loop {
            match writer.push(entry) {
                Pushed::Full => py.detach(|| writer.wait_for_room()),
                Pushed::Lost => {
                    if !self.has_told_of_loss.swap(true, Ordering::Relaxed) {
                        self.tell(py, "lost", &writer)?;
                    }
                    break;
                }
                Pushed::Waiting(_) => {
                    if self.flush.is_zero() || IS_EXITING.load(Ordering::Relaxed) {
                        py.detach(|| writer.flush());
                    }
                    break;
                }
            }
        }
        self.tell_turns(py, &writer)
    }

    fn tell_turns(&self, py: Python<'_>, writer: &Writer) -> PyResult<()> {
        let turns = writer.turns();
        if self.told.swap(turns, Ordering::Relaxed) == turns {
            return Ok(());
        }
        let is_in_trouble = writer.health().trouble.is_some();
        if !is_in_trouble {
            self.has_told_of_loss.store(false, Ordering::Relaxed);
        }
        self.tell(py, if is_in_trouble { "failing" } else { "recovered" }, writer)
    }

    fn tell(&self, py: Python<'_>, what: &str, writer: &Writer) -> PyResult<()> {
        let health = writer.health();
        let why = health.trouble.unwrap_or_default();
        let module = py.import(intern!(py, "ratekeeper.costs.notices"))?;
        module.call_method1(what, (&self.path, why, health.waiting, health.lost)).map(drop)
    }

    pub(super) fn flush(&self, py: Python<'_>) -> PyResult<bool> {
        let Some(writer) = self.known() else { return Ok(true) };
        let is_written = py.detach(|| writer.flush());
        self.tell_turns(py, &writer)?;
        Ok(is_written)
    }

    pub(super) fn close(&self, py: Python<'_>) -> PyResult<()> {
        let Some(writer) = self.known() else { return Ok(()) };
        self.writer.lock().take();
        py.detach(|| writer.stop());
        let health = writer.health();
        if health.waiting + health.lost > 0 {
            return self.tell(py, "left", &writer);
        }
        Ok(())
    }

    pub(super) fn health<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let health = self.known().map(|writer| writer.health()).unwrap_or_default();
        let dict = PyDict::new(py);
        dict.set_item("path", &self.path)?;
        dict.set_item("written", health.written)?;
        dict.set_item("waiting", health.waiting)?;
        dict.set_item("lost", health.lost)?;
        dict.set_item("trouble", health.trouble)?;
        Ok(dict)
    }
}

impl Drop for Stored {
    fn drop(&mut self) {
        if let Some(writer) = self.writer.get_mut().take() {
            if writer.is_ours() {
                // It needs no interpreter, so waiting for it here cannot deadlock.
                writer.stop();
            } else {
                std::mem::forget(writer);
            }
        }
    }
}

/// Uses SQLite without the interpreter; no fork happens meanwhile.
pub(super) fn read<T: Send>(py: Python<'_>, act: impl FnOnce() -> Result<T> + Send) -> PyResult<T> {
    let done = py.detach(|| {
        let _using = using();
        act()
    });
    done.map_err(|error| raise(py, error))
}

/// Now, and never the same twice in one process.
fn started() -> i64 {
    static LAST: AtomicI64 = AtomicI64::new(0);
    let now = unix_micros();
    let last = LAST.fetch_max(now, Ordering::Relaxed);
    if last < now { now } else { LAST.fetch_add(1, Ordering::Relaxed) + 1 }
}

/// Hooks for forks and for the exit, once.
fn register(py: Python<'_>) -> PyResult<()> {
    static DONE: PyOnceLock<()> = PyOnceLock::new();
    DONE.get_or_try_init(py, || {
        let hooks = PyDict::new(py);
        hooks.set_item("before", wrap_pyfunction!(ledgers_before_fork, py)?)?;
        hooks.set_item("after_in_parent", wrap_pyfunction!(ledgers_in_parent, py)?)?;
        hooks.set_item("after_in_child", wrap_pyfunction!(ledgers_in_child, py)?)?;
        py.import("os")?.call_method("register_at_fork", (), Some(&hooks))?;
        py.import("atexit")?.call_method1("register", (wrap_pyfunction!(ledgers_at_exit, py)?,))?;
        Ok(())
    })
    .copied()
}

/// Children of multiprocessing leave without the interpreter's exit hooks, but run its own finalizers.
fn register_in_process(py: Python<'_>) -> PyResult<()> {
    let modules = py.import("sys")?.getattr("modules")?;
    let multiprocessing = modules.call_method1("get", ("multiprocessing.util",))?;
    if multiprocessing.is_none() {
        return Ok(());
    }
    let priority = PyDict::new(py);
    priority.set_item("exitpriority", 0)?;
    let at_exit = wrap_pyfunction!(ledgers_at_exit, py)?;
    multiprocessing.call_method("Finalize", (py.None(), at_exit), Some(&priority)).map(drop)
}

#[pyfunction]
fn ledgers_before_fork() {
    before_fork();
}

#[pyfunction]
fn ledgers_in_parent() {
    after_fork(false);
}

#[pyfunction]
fn ledgers_in_child() {
    after_fork(true);
}

#[pyfunction]
fn ledgers_at_exit(py: Python<'_>) -> PyResult<()> {
    IS_EXITING.store(true, Ordering::Relaxed);
    let live: Vec<Arc<Stored>> = LIVE.lock().iter().filter_map(Weak::upgrade).collect();
    for stored in live {
        stored.close(py)?;
    }
    Ok(())
}
