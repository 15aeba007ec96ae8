//! Stores by their URLs, and the signs of life of this process in them.
//!
//! A thread of Python says every few seconds that this process is there. It does so with the interpreter attached, as everybody
//! uses a store: so no fork finds a store in use, and the process ends when nobody is inside one.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use pyo3::exceptions::PyTypeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyString;

use super::clock::{ManualClock, clock_of};
use super::convert::raise;
use crate::error::Error;
use crate::store::purses::Purses;
use crate::store::retries::Retries;
use crate::store::{self, SqlitePurses, SqliteStore, Store};

const SQLITE: &str = "sqlite://";
/// Leases are nobody's in a store that is only looked at.
const PRESENCE: Duration = Duration::from_secs(10);
const EXPECTED: &str = "a URL such as \"sqlite:///var/lib/myapp/quota.db\", whose path is absolute";

/// The store that a URL names.
pub(super) fn open(
    py: Python<'_>,
    url: &Bound<'_, PyAny>,
    lease_ttl: Duration,
    clock: Option<&Bound<'_, ManualClock>>,
) -> PyResult<Arc<dyn Store>> {
    let url = url
        .cast::<PyString>()
        .map_err(|_| PyTypeError::new_err(format!("store: expected {EXPECTED}, got {}", url.get_type())))?;
    let path = path_of(url.to_str()?).map_err(|error| raise(py, error))?;
    let manual = clock.map(|clock| clock_of(Some(clock)));
    let store = SqliteStore::open(&path, lease_ttl, manual).map_err(|error| raise(py, error))?;
    start_pulse(py)?;
    Ok(Arc::new(store))
}

/// What processes share of budgets in the store that a URL names: purses, and retry budgets.
pub(super) fn open_purses(
    py: Python<'_>,
    url: &str,
    clock: Option<&Bound<'_, ManualClock>>,
) -> PyResult<(Arc<dyn Purses>, Arc<dyn Retries>)> {
    let path = path_of(url).map_err(|error| raise(py, error))?;
    let manual = clock.map(|clock| clock_of(Some(clock)));
    let purses = SqlitePurses::open(&path, manual).map_err(|error| raise(py, error))?;
    start_pulse(py)?;
    let purses = Arc::new(purses);
    Ok((purses.clone(), purses))
}

/// Opens a store, so that whoever names it hears of what is wrong before the first call.
#[pyfunction]
fn check_store(py: Python<'_>, store: &str) -> PyResult<()> {
    let opened = path_of(store).and_then(|path| SqliteStore::open(&path, PRESENCE, None));
    opened.map(drop).map_err(|error| raise(py, error))
}

/// The path in a URL, always from the root: a relative one would be another file, and another quota, in each working directory.
fn path_of(url: &str) -> Result<PathBuf, Error> {
    // What may be a password is not shown.
    let invalid = || {
        Error::invalid(
            "store",
            EXPECTED,
            format!("{:?}", url.split_once(':').map_or(url, |(scheme, _)| scheme)),
        )
    };
    let path = url.strip_prefix(SQLITE).filter(|path| path.starts_with('/')).ok_or_else(invalid)?;
    let path = path.trim_start_matches('/');
    if path.is_empty() || path.ends_with('/') || path.contains(['?', '#']) {
        return Err(invalid());
    }
    Ok(PathBuf::from(format!("/{path}")))
}

/// Has this process say that it is there, in a child of a fork too.
pub(super) fn keep_pulse(py: Python<'_>) {
    if let Err(failure) = start_pulse(py) {
        failure.write_unraisable(py, None);
    }
}

fn start_pulse(py: Python<'_>) -> PyResult<()> {
    py.import(intern!(py, "ratekeeper._pulse"))?.call_method0(intern!(py, "start")).map(drop)
}

#[pyfunction]
fn pulse_stores(py: Python<'_>) -> PyResult<()> {
    store::pulse_all().map_err(|error| raise(py, error))
}

#[pyfunction]
fn leave_stores(py: Python<'_>) -> PyResult<()> {
    store::leave_all().map_err(|error| raise(py, error))
}

extern "C" fn close_stores() {
    store::before_fork();
}

/// Has the system close all stores in the moment before a fork.
///
/// `os.register_at_fork` is too soon: what runs after it, such as the lock of `logging`, may let go of the interpreter, and another
/// thread opens a store again.
#[allow(unsafe_code)]
fn close_before_forks() -> PyResult<()> {
    // SAFETY: the handler lives as long as the process, for a module with native code is never unloaded. It takes locks that are
    // never held across a fork by the thread that forks, and does not unwind.
    match unsafe { libc::pthread_atfork(Some(close_stores), None, None) } {
        0 => Ok(()),
        code => Err(std::io::Error::from_raw_os_error(code).into()),
    }
}

pub(super) fn add_to(module: &Bound<'_, PyModule>) -> PyResult<()> {
    close_before_forks()?;
    module.add_function(wrap_pyfunction!(check_store, module)?)?;
    module.add_function(wrap_pyfunction!(pulse_stores, module)?)?;
    module.add_function(wrap_pyfunction!(leave_stores, module)?)
}
