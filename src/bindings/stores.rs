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
use pyo3::types::{PyDict, PyString};

use super::agent;
use super::clock::{ManualClock, clock_of};
use super::convert::{raise, text};
use super::sigterm::end_by_sigterm;
use crate::clock::Clock;
use crate::error::Error;
use crate::store::purses::Purses;
use crate::store::retries::Retries;
use crate::store::{self, Condition, Policy, RedisStore, SqliteStore, Store, TurnKind};

const SQLITE: &str = "sqlite:///";
/// Leases are nobody's in a store that is only looked at.
const LOOKED_AT: Duration = Duration::from_secs(10);
const EXPECTED: &str = "a URL such as \"redis://host:6379/0\" or \"sqlite:////var/lib/myapp/quota.db\" (with three slashes from the working directory)";

/// The store that a URL names.
pub(super) fn open(
    py: Python<'_>,
    url: &Bound<'_, PyAny>,
    lease_ttl: Duration,
    lost: Option<&Bound<'_, PyAny>>,
    clock: Option<&Bound<'_, ManualClock>>,
) -> PyResult<Arc<dyn Store>> {
    let url = url
        .cast::<PyString>()
        .map_err(|_| PyTypeError::new_err(format!("store: expected {EXPECTED}, got {}", url.get_type())))?;
    let url = url.to_str()?;
    let (policy, manual) = (policy_of(py, lost)?, clock.map(|clock| clock_of(Some(clock))));
    if RedisStore::is_named_by(url) {
        return open_redis(py, url, lease_ttl, policy, manual);
    }
    let path = path_of(url).map_err(|error| raise(py, error))?;
    let store = SqliteStore::open(&path, lease_ttl, policy, manual).map_err(|error| raise(py, error))?;
    start_pulse(py)?;
    Ok(Arc::new(store))
}

fn open_redis(
    py: Python<'_>,
    url: &str,
    lease_ttl: Duration,
    policy: Policy,
    clock: Option<Arc<dyn Clock>>,
) -> PyResult<Arc<dyn Store>> {
    let store = RedisStore::open(url, lease_ttl, policy, clock, |wait| py.detach(wait));
    let store = store.map_err(|error| raise(py, error))?;
    start_pulse(py)?;
    Ok(store)
}

/// What processes share of budgets in the store that a URL names: purses, and retry budgets.
pub(super) fn open_purses(
    py: Python<'_>,
    url: &str,
    policy: Policy,
    clock: Option<&Bound<'_, ManualClock>>,
) -> PyResult<(Arc<dyn Purses>, Arc<dyn Retries>)> {
    let manual = clock.map(|clock| clock_of(Some(clock)));
    if RedisStore::is_named_by(url) {
        let purses = store::purses_at(url, policy).map_err(|error| raise(py, error))?;
        start_pulse(py)?;
        return Ok((purses.clone(), purses));
    }
    let path = path_of(url).map_err(|error| raise(py, error))?;
    let purses = store::purses_in(&path, policy, manual).map_err(|error| raise(py, error))?;
    start_pulse(py)?;
    Ok((purses.clone(), purses))
}

/// Opens a store, so that whoever names it hears of what is wrong before the first call.
#[pyfunction]
#[pyo3(signature = (store, store_lost = None), text_signature = "(store, store_lost='share')")]
fn check_store(py: Python<'_>, store: &str, store_lost: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
    let policy = policy_of(py, store_lost)?;
    if RedisStore::is_named_by(store) {
        let opened = RedisStore::open(store, LOOKED_AT, policy, None, |wait| py.detach(wait));
        return opened.map(drop).map_err(|error| raise(py, error));
    }
    let checked = path_of(store).and_then(|path| SqliteStore::check(&path, policy));
    checked.map_err(|error| raise(py, error))
}

/// What is done while a store is lost.
pub(super) fn policy_of(py: Python<'_>, lost: Option<&Bound<'_, PyAny>>) -> PyResult<Policy> {
    let Some(lost) = lost else { return Ok(Policy::default()) };
    let name = text("store_lost", Some(lost))?;
    Policy::from_name(name).ok_or_else(|| {
        let expected = "\"share\", \"open\" or \"closed\"";
        raise(py, Error::invalid("store_lost", expected, format!("{name:?}")))
    })
}

/// The path in a URL, as `SQLAlchemy` reads it: with three slashes from the working directory, with four from the root.
fn path_of(url: &str) -> Result<PathBuf, Error> {
    // What may be a password is not shown.
    let is_plain = |scheme: &str| scheme.chars().all(|c| c.is_ascii_alphanumeric() || c == '+');
    let scheme = url.split_once("://").map(|(scheme, _)| scheme).filter(|scheme| is_plain(scheme));
    let got = || scheme.map_or_else(|| "one without a scheme".to_owned(), |scheme| format!("{scheme}://…"));
    let invalid = || Error::invalid("store", EXPECTED, got());
    let path = url.strip_prefix(SQLITE).ok_or_else(invalid)?;
    if path.is_empty() || path.ends_with('/') || path.contains(['?', '#']) {
        return Err(invalid());
    }
    std::path::absolute(path).map_err(|_| invalid())
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
fn pulse_stores(py: Python<'_>) {
    store::pulse_all();
    // That a server is lost is said by `store_turns`.
    py.detach(store::pulse_purses).ok();
}

/// Which stores were lost and came back since this was last asked.
#[pyfunction]
fn store_turns(py: Python<'_>) -> PyResult<Vec<Bound<'_, PyDict>>> {
    let turns = store::turns().into_iter().chain(store::redis_turns());
    let dicts = turns.map(|turn| {
        let dict = condition_of(py, &turn.condition)?;
        dict.set_item("is_back", turn.kind == TurnKind::Back)?;
        dict.set_item("why", turn.why)?;
        Ok(dict)
    });
    dicts.collect()
}

/// The fields of a `StoreStatus`.
pub(super) fn condition_of<'py>(py: Python<'py>, condition: &Condition) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("url", &condition.url)?;
    dict.set_item("state", if condition.is_lost { "lost" } else { "ok" })?;
    dict.set_item("since", condition.lasting.as_secs_f64())?;
    dict.set_item("processes", condition.processes)?;
    dict.set_item("policy", condition.policy.name())?;
    dict.set_item("losses", condition.losses)?;
    dict.set_item("decided_alone", condition.decided_alone)?;
    Ok(dict)
}

#[pyfunction]
#[pyo3(signature = (*, ending = false))]
fn leave_stores(py: Python<'_>, ending: bool) -> PyResult<()> {
    if ending {
        store::end_redis();
    }
    agent::stop_all(py);
    let left = [py.detach(store::leave_purses), py.detach(store::leave_all_redis), store::leave_all()];
    left.into_iter().collect::<Result<(), Error>>().map_err(|error| raise(py, error))?;
    // At once: nobody gets hold of the interpreter in between, and of a lease in a file.
    if ending { end_by_sigterm() } else { Ok(()) }
}

extern "C" fn close_stores() {
    store::before_fork();
    store::close_gate();
}

extern "C" fn open_stores() {
    store::open_gate();
}

/// Has the system close all stores in the moment before a fork, and open the gate after it.
///
/// `os.register_at_fork` is too soon: what runs after it, such as the lock of `logging`, may let go of the interpreter, and another
/// thread opens a store again.
#[allow(unsafe_code)]
fn close_before_forks() -> PyResult<()> {
    // SAFETY: the handler lives as long as the process, for a module with native code is never unloaded. It takes locks that are
    // never held across a fork by the thread that forks, and does not unwind.
    match unsafe { libc::pthread_atfork(Some(close_stores), Some(open_stores), Some(open_stores)) } {
        0 => Ok(()),
        code => Err(std::io::Error::from_raw_os_error(code).into()),
    }
}

pub(super) fn add_to(module: &Bound<'_, PyModule>) -> PyResult<()> {
    close_before_forks()?;
    module.add_function(wrap_pyfunction!(check_store, module)?)?;
    module.add_function(wrap_pyfunction!(pulse_stores, module)?)?;
    module.add_function(wrap_pyfunction!(store_turns, module)?)?;
    module.add_function(wrap_pyfunction!(leave_stores, module)?)
}
