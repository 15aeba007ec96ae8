//! `RateLimiter`: a scope of a tree, with the caps of its tenants.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyMapping};

use super::clock::{ManualClock, clock_of};
use super::convert::{amount, duration, number, raise, span, text, whole};
use super::engine::{Ask, Engine};
use super::hub::Hub;
use super::lease::Lease;
use super::quota::Quota;
use super::scopes::{DEPTH_CHECKED, Scopes};
use super::status::status_of;
use super::stores;
use super::waiter::Waiter;
use crate::error::Error;
use crate::limiter::Limiter;
use crate::quota::Amounts;
use crate::scope::{MAX_DEPTH, Path};
use crate::store::MemoryStore;

/// The lease's time to live unless told otherwise: the longest that the providers' SDKs wait for an answer by default.
const LEASE_TTL: Duration = Duration::from_mins(10);
/// Weights beyond this are typing errors.
const WEIGHTS: RangeInclusive<f64> = 0.01..=1000.0;
/// Head starts beyond this are typing errors.
const PRIORITIES: RangeInclusive<i64> = -10..=10;

/// All limits of a quota decided at once, with one fair queue for threads and event loops.
#[pyclass(frozen, module = "ratekeeper._core")]
pub(super) struct RateLimiter {
    hub: Arc<Hub>,
    scopes: Arc<Scopes>,
    quota: Mutex<Quota>,
    within: Option<Py<Self>>,
}

impl RateLimiter {
    fn limiter(&self) -> &Limiter<Arc<Waiter>> {
        limiter_of(&self.hub)
    }

    #[allow(clippy::too_many_arguments, reason = "the dimensions of one call")]
    fn ask(
        &self,
        requests: Option<&Bound<'_, PyAny>>,
        tokens: Option<&Bound<'_, PyAny>>,
        input_tokens: Option<&Bound<'_, PyAny>>,
        output_tokens: Option<&Bound<'_, PyAny>>,
        tenant: Option<&Bound<'_, PyAny>>,
        priority: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Ask> {
        let tenant = text("tenant", tenant)?;
        let input_tokens = amount("input_tokens", input_tokens, 0)?;
        let output_tokens = amount("output_tokens", output_tokens, 0)?;
        let tokens = amount("tokens", tokens, input_tokens + output_tokens)?;
        let amounts =
            Amounts { requests: amount("requests", requests, 1)?, tokens, input_tokens, output_tokens };
        let priority = priority.map_or(Ok(0), |steps| whole("priority", steps, PRIORITIES))?;
        let priority = i8::try_from(priority).expect("the range of priorities is that of a few steps");
        let tenant = Some(tenant).filter(|tenant| !tenant.is_empty()).map(Into::into);
        Ok(Ask::Limiter { scopes: self.scopes.clone(), tenant, priority, amounts })
    }
}

#[pymethods]
impl RateLimiter {
    #[new]
    #[pyo3(
        signature = (quota, *, name = "default", within = None, tenants = None, weights = None, lease_ttl = None, careful = false, clock = None, store = None, store_lost = None),
        text_signature = "(quota, *, name='default', within=None, tenants=None, weights=None, lease_ttl=600.0, careful=False, clock=None, store=None, store_lost='share')"
    )]
    #[allow(clippy::too_many_arguments, reason = "keywords of the Python constructor")]
    pub(super) fn new(
        py: Python<'_>,
        quota: Quota,
        name: &str,
        within: Option<Py<Self>>,
        tenants: Option<&Bound<'_, PyAny>>,
        weights: Option<&Bound<'_, PyAny>>,
        lease_ttl: Option<&Bound<'_, PyAny>>,
        careful: bool,
        clock: Option<&Bound<'_, ManualClock>>,
        store: Option<&Bound<'_, PyAny>>,
        store_lost: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let given = [
            ("lease_ttl", lease_ttl.is_some()),
            ("clock", clock.is_some()),
            ("store", store.is_some()),
            ("store_lost", store_lost.is_some()),
        ];
        if let Some((given, _)) = given.iter().find(|(_, is_given)| *is_given && within.is_some()) {
            return Err(raise(
                py,
                Error::invalid(*given, "nothing beside `within`, whose own is used", "a value"),
            ));
        }
        let tenants = tenants.map_or_else(|| Ok(HashMap::new()), tenants_of)?;
        let weights = weights.map_or_else(|| Ok(Vec::new()), weights_of)?;
        let outer = within.as_ref().map(Py::get);
        let around = outer.map(|outer| outer.scopes.clone());
        let depth = 1 + usize::from(!tenants.is_empty()) + around.as_ref().map_or(0, |around| around.depth());
        if depth > MAX_DEPTH {
            let expected = format!("at most {MAX_DEPTH} limiters and tenant caps inside each other");
            return Err(raise(py, Error::invalid("within", expected, depth)));
        }
        let hub = if let Some(outer) = outer {
            outer.hub.clone()
        } else {
            let lease_ttl = lease_ttl.map_or(Ok(LEASE_TTL), |ttl| span("lease_ttl", ttl))?;
            new_hub(py, lease_ttl, clock, (store, store_lost))?
        };
        let name =
            around.as_ref().map_or_else(|| name.to_owned(), |around| format!("{}/{name}", around.name));
        let limiter = limiter_of(&hub);
        if limiter.known(&name).is_some() {
            let expected = "a name that no other limiter of this tree has";
            return Err(raise(py, Error::invalid("name", expected, format!("{name:?}"))));
        }
        let scope = limiter.configure(&name, &quota.0).map_err(|error| raise(py, error))?;
        if careful {
            limiter.be_careful(scope).map_err(|error| raise(py, error))?;
        }
        let path = match &around {
            Some(around) => around.path.with(scope).expect(DEPTH_CHECKED),
            None => Path::of(scope),
        };
        let class = limiter.class(path);
        for (tenant, weight) in weights {
            limiter.set_weight(&tenant, weight);
        }
        let scopes = Arc::new(Scopes { name, scope, path, class, tenants, outer: around });
        Ok(Self { hub, scopes, quota: Mutex::new(quota), within })
    }

    #[getter]
    fn name(&self) -> &str {
        &self.scopes.name
    }

    #[getter]
    pub(super) fn quota(&self) -> Quota {
        self.quota.lock().clone()
    }

    /// A lease that starts when all dimensions have room.
    #[pyo3(
        signature = (*, requests = None, tokens = None, input_tokens = None, output_tokens = None, tenant = None, priority = None, timeout = None),
        text_signature = "(self, *, requests=1, tokens=None, input_tokens=0, output_tokens=0, tenant=None, priority=0, timeout=None)"
    )]
    #[allow(clippy::too_many_arguments, reason = "the dimensions of one call")]
    pub(super) fn acquire(
        &self,
        requests: Option<&Bound<'_, PyAny>>,
        tokens: Option<&Bound<'_, PyAny>>,
        input_tokens: Option<&Bound<'_, PyAny>>,
        output_tokens: Option<&Bound<'_, PyAny>>,
        tenant: Option<&Bound<'_, PyAny>>,
        priority: Option<&Bound<'_, PyAny>>,
        timeout: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Lease> {
        let ask = self.ask(requests, tokens, input_tokens, output_tokens, tenant, priority)?;
        let timeout = timeout.map(|timeout| duration("timeout", timeout)).transpose()?;
        Ok(Lease::new(self.hub.clone(), ask, timeout))
    }

    /// A lease that is held already, or None if the call would have to wait.
    #[pyo3(
        signature = (*, requests = None, tokens = None, input_tokens = None, output_tokens = None, tenant = None),
        text_signature = "(self, *, requests=1, tokens=None, input_tokens=0, output_tokens=0, tenant=None)"
    )]
    pub(super) fn try_acquire(
        &self,
        py: Python<'_>,
        requests: Option<&Bound<'_, PyAny>>,
        tokens: Option<&Bound<'_, PyAny>>,
        input_tokens: Option<&Bound<'_, PyAny>>,
        output_tokens: Option<&Bound<'_, PyAny>>,
        tenant: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Option<Lease>> {
        let ask = self.ask(requests, tokens, input_tokens, output_tokens, tenant, None)?;
        match Lease::held(py, self.hub.clone(), ask) {
            Ok(lease) => Ok(Some(lease)),
            Err(Error::QuotaExceeded(_) | Error::Paused(_)) => Ok(None),
            Err(error) => Err(raise(py, error)),
        }
    }

    /// Sets the quota anew: what is used stays used.
    pub(super) fn set_quota(&self, py: Python<'_>, quota: Quota) -> PyResult<()> {
        self.hub.leave_parent_behind(py);
        self.limiter().configure(&self.scopes.name, &quota.0).map_err(|error| raise(py, error))?;
        *self.quota.lock() = quota;
        self.hub.pump(py);
        Ok(())
    }

    /// Sets a tenant's share relative to the others', which have 1.
    fn set_weight(&self, tenant: &Bound<'_, PyAny>, weight: &Bound<'_, PyAny>) -> PyResult<()> {
        self.limiter().set_weight(text("tenant", Some(tenant))?, number("weight", weight, &WEIGHTS)?);
        Ok(())
    }

    /// The limiter as it stands.
    pub(super) fn status<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        self.hub.leave_parent_behind(py);
        let look = || self.limiter().status(self.scopes.scope);
        let status = if self.hub.remote().is_some() { py.detach(look) } else { look() };
        let status = status.map_err(|error| raise(py, error))?;
        let status = status_of(py, &status)?;
        let within = self.within.as_ref().map(|outer| outer.get().status(py)).transpose()?;
        status.set_item("within", within)?;
        Ok(status)
    }

    fn __repr__(&self) -> String {
        format!("<RateLimiter {}>", self.scopes.name)
    }
}

/// A hub with a limiter in this process's memory, or in a store.
fn new_hub(
    py: Python<'_>,
    lease_ttl: Duration,
    clock: Option<&Bound<'_, ManualClock>>,
    (store, lost): (Option<&Bound<'_, PyAny>>, Option<&Bound<'_, PyAny>>),
) -> PyResult<Arc<Hub>> {
    if store.is_none() && lost.is_some() {
        return Err(raise(py, Error::invalid("store_lost", "a `store` beside it", "none")));
    }
    let shared = store.map(|store| stores::open(py, store, lease_ttl, lost, clock)).transpose()?;
    let is_shared = shared.is_some();
    let store = shared.unwrap_or_else(|| Arc::new(MemoryStore::new(clock_of(clock), lease_ttl)));
    let hub = Hub::sharing(Engine::Limiter(Limiter::new(store)), clock.is_some(), is_shared);
    if let Some(clock) = clock {
        clock.get().drive(&hub);
    }
    Ok(hub)
}

fn limiter_of(hub: &Hub) -> &Limiter<Arc<Waiter>> {
    match &hub.engine {
        Engine::Limiter(limiter) => limiter,
        Engine::Throttle(_) => unreachable!("a rate limiter's hub has a limiter"),
    }
}

fn tenants_of(tenants: &Bound<'_, PyAny>) -> PyResult<HashMap<String, Quota>> {
    entries("tenants", tenants)?
        .into_iter()
        .map(|(tenant, quota)| {
            if tenant.is_empty() {
                let expected = "names of tenants, or \"*\" for those without an entry";
                return Err(raise(tenants.py(), Error::invalid("tenants", expected, "an empty name")));
            }
            let field = format!("tenants[{tenant:?}]: expected a Quota");
            let quota = quota.extract::<Quota>().map_err(|_| PyTypeError::new_err(field))?;
            Ok((tenant, quota))
        })
        .collect()
}

fn weights_of(weights: &Bound<'_, PyAny>) -> PyResult<Vec<(String, f64)>> {
    entries("weights", weights)?
        .into_iter()
        .map(|(tenant, weight)| {
            let field = format!("weights[{tenant:?}]");
            Ok((tenant, number(&field, &weight, &WEIGHTS)?))
        })
        .collect()
}

/// The entries of a mapping whose keys are tenants' names.
fn entries<'py>(field: &str, mapping: &Bound<'py, PyAny>) -> PyResult<Vec<(String, Bound<'py, PyAny>)>> {
    let wrong = || PyTypeError::new_err(format!("{field}: expected a mapping with tenants' names as keys"));
    let items = mapping.cast::<PyMapping>().map_err(|_| wrong())?.items()?;
    items.iter().map(|item| item.extract().map_err(|_| wrong())).collect()
}
