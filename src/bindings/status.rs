//! A limiter's state as plain dictionaries, ready for JSON.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use super::stores::condition_of;
use crate::clock::Time;
use crate::limiter::{Head, Status};
use crate::store::LimitStatus;

/// The fields of a `Status` but `within`.
pub(super) fn status_of<'py>(py: Python<'py>, status: &Status) -> PyResult<Bound<'py, PyDict>> {
    let limits = PyList::empty(py);
    for limit in &status.scope.limits {
        limits.append(limit_of(py, limit, status.now)?)?;
    }
    let waiting_by_tenant = PyDict::new(py);
    for (tenant, count) in &status.waiting {
        waiting_by_tenant.set_item(&**tenant, count)?;
    }
    let dict = PyDict::new(py);
    dict.set_item("name", &*status.scope.name)?;
    dict.set_item("limits", limits)?;
    dict.set_item("concurrency", status.scope.concurrency)?;
    dict.set_item("adapted_concurrency", status.scope.adapted_concurrency)?;
    let paused_for = status.scope.paused_until.map(|until| until.since(status.now).as_secs_f64());
    dict.set_item("paused_for", paused_for)?;
    dict.set_item("in_flight", status.scope.in_flight)?;
    dict.set_item("waiting", status.waiting.values().sum::<usize>())?;
    dict.set_item("waiting_by_tenant", waiting_by_tenant)?;
    let store = status.store.as_ref().map(|store| condition_of(py, store)).transpose()?;
    dict.set_item("store", store)?;
    dict.set_item("head", status.head.as_ref().map(|head| head_of(py, head, status.now)).transpose()?)?;
    Ok(dict)
}

fn limit_of<'py>(py: Python<'py>, status: &LimitStatus, now: Time) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("dimension", status.limit.dimension().name())?;
    dict.set_item("per", status.limit.period().as_secs_f64())?;
    dict.set_item("limit", status.limit.amount())?;
    dict.set_item("burst", status.limit.burst())?;
    dict.set_item("remaining", status.remaining)?;
    dict.set_item("reset", status.full_at.since(now).as_secs_f64())?;
    dict.set_item("source", status.source.name())?;
    dict.set_item("configured", status.configured)?;
    dict.set_item("age", status.since.map(|since| now.since(since).as_secs_f64()))?;
    Ok(dict)
}

fn head_of<'py>(py: Python<'py>, head: &Head, now: Time) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("tenant", &*head.tenant)?;
    dict.set_item("scope", &*head.scope)?;
    dict.set_item("dimension", head.dimension.name())?;
    dict.set_item("ready_in", head.ready_at.map(|ready_at| ready_at.since(now).as_secs_f64()))?;
    Ok(dict)
}
