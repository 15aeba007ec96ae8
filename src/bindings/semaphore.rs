//! Semaphore: a limiter that counts nothing but calls in flight.

use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::clock::ManualClock;
use super::convert::raise;
use super::lease::Lease;
use super::limiter::RateLimiter;
use super::quota::{Quota, permits_of};
use crate::quota;

/// How long a permit is held unless told otherwise: a kickoff takes longer than a model call.
const LEASE_TTL: Duration = Duration::from_hours(1);

/// Permits in fair order, for threads and event loops alike.
#[pyclass(frozen, module = "ratekeeper._core")]
pub(super) struct Semaphore(RateLimiter);

#[pymethods]
impl Semaphore {
    #[new]
    #[pyo3(
        signature = (permits, *, name = "semaphore", lease_ttl = None, clock = None),
        text_signature = "(permits, *, name='semaphore', lease_ttl=3600.0, clock=None)"
    )]
    fn new(
        permits: &Bound<'_, PyAny>,
        name: &str,
        lease_ttl: Option<&Bound<'_, PyAny>>,
        clock: Option<&Bound<'_, ManualClock>>,
    ) -> PyResult<Self> {
        let py = permits.py();
        let default = LEASE_TTL.into_pyobject(py)?.into_any();
        let lease_ttl = Some(lease_ttl.unwrap_or(&default));
        RateLimiter::new(py, quota_of(permits)?, name, None, None, None, lease_ttl, false, clock, None, None)
            .map(Self)
    }

    /// A permit that starts when one is free.
    #[pyo3(
        signature = (*, tenant = None, priority = None, timeout = None),
        text_signature = "(self, *, tenant=None, priority=0, timeout=None)"
    )]
    fn acquire(
        &self,
        tenant: Option<&Bound<'_, PyAny>>,
        priority: Option<&Bound<'_, PyAny>>,
        timeout: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Lease> {
        self.0.acquire(None, None, None, None, tenant, priority, timeout)
    }

    /// A permit that is held already, or None if none is free.
    #[pyo3(signature = (*, tenant = None), text_signature = "(self, *, tenant=None)")]
    fn try_acquire(&self, py: Python<'_>, tenant: Option<&Bound<'_, PyAny>>) -> PyResult<Option<Lease>> {
        self.0.try_acquire(py, None, None, None, None, tenant)
    }

    /// Sets how many permits there are. Held ones stay held.
    fn resize(&self, permits: &Bound<'_, PyAny>) -> PyResult<()> {
        self.0.set_quota(permits.py(), quota_of(permits)?)
    }

    #[getter]
    fn permits(&self) -> Option<u32> {
        self.0.quota().0.concurrency()
    }

    #[getter]
    fn in_use(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.field(py, "in_flight")
    }

    #[getter]
    fn waiting(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.field(py, "waiting")
    }

    fn __repr__(&self) -> String {
        format!("<Semaphore of {}>", self.permits().unwrap_or_default())
    }
}

impl Semaphore {
    fn field(&self, py: Python<'_>, name: &str) -> PyResult<Py<PyAny>> {
        let status: Bound<'_, PyDict> = self.0.status(py)?;
        status.as_any().get_item(name).map(Bound::unbind)
    }
}

fn quota_of(permits: &Bound<'_, PyAny>) -> PyResult<Quota> {
    let count = permits_of("permits", permits)?;
    quota::Quota::new(Vec::new(), Some(count)).map(Quota).map_err(|error| raise(permits.py(), error))
}
