//! `RetryPolicy` and `RetryBudget`: values in, one decision out. The waiting is done in Python.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use super::clock::{ManualClock, clock_of};
use super::convert::{duration, raise, span};
use super::quota::permits_of;
use super::stores::{open_purses, policy_of};
use crate::clock::Clock;
use crate::error::Error;
use crate::retry::{self, Decision, Hint, Jitter, Kind, Policy, Progress, Reason};
use crate::store::retries::Retries;

/// When to try again: how often, for how long, and how the waits grow.
#[pyclass(frozen, eq, hash, module = "ratekeeper._core")]
#[derive(PartialEq, Eq, Hash)]
pub(super) struct RetryPolicy(Policy);

#[pymethods]
impl RetryPolicy {
    #[new]
    #[pyo3(
        signature = (attempts = Given::Default, timeout = Given::Default, wait_initial = None, wait_max = None, jitter = "full"),
        text_signature = "(attempts=10, timeout=120.0, wait_initial=1.0, wait_max=30.0, jitter='full')"
    )]
    fn new(
        py: Python<'_>,
        attempts: Given<'_>,
        timeout: Given<'_>,
        wait_initial: Option<&Bound<'_, PyAny>>,
        wait_max: Option<&Bound<'_, PyAny>>,
        jitter: &str,
    ) -> PyResult<Self> {
        let defaults = Policy::default();
        let attempts = attempts.or(defaults.attempts(), |attempts| permits_of("attempts", attempts))?;
        let timeout = timeout.or(defaults.timeout(), |timeout| span("timeout", timeout))?;
        let wait_initial =
            wait_initial.map_or(Ok(defaults.wait_initial()), |wait| span("wait_initial", wait))?;
        let wait_max = wait_max.map_or(Ok(defaults.wait_max()), |wait| span("wait_max", wait))?;
        Jitter::from_name(jitter)
            .and_then(|jitter| Policy::new(attempts, timeout, wait_initial, wait_max, jitter))
            .map(Self)
            .map_err(|error| raise(py, error))
    }

    #[getter]
    fn attempts(&self) -> Option<u32> {
        self.0.attempts()
    }

    #[getter]
    fn timeout(&self) -> Option<f64> {
        self.0.timeout().map(|timeout| timeout.as_secs_f64())
    }

    #[getter]
    fn wait_initial(&self) -> f64 {
        self.0.wait_initial().as_secs_f64()
    }

    #[getter]
    fn wait_max(&self) -> f64 {
        self.0.wait_max().as_secs_f64()
    }

    #[getter]
    fn jitter(&self) -> &'static str {
        self.0.jitter().name()
    }

    /// Seconds to wait before the next attempt, or why there is none.
    #[pyo3(signature = (kind, *, attempt, elapsed, random, last_wait = 0.0, retry_after = None, wait = None, budget = None, queued = false))]
    #[allow(clippy::too_many_arguments, reason = "one keyword for each thing that is known of a failure")]
    fn decide<'py>(
        &self,
        py: Python<'py>,
        kind: &str,
        attempt: u32,
        elapsed: f64,
        random: f64,
        last_wait: f64,
        retry_after: Option<f64>,
        wait: Option<&Bound<'_, PyAny>>,
        budget: Option<&Bound<'_, RetryBudget>>,
        queued: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        let kind = kind_of(py, kind)?;
        let hint = match wait {
            Some(wait) => Hint::Exactly(duration("wait", wait)?),
            None => retry_after.map_or(Hint::None, Hint::from_provider),
        };
        let progress = Progress { attempt, elapsed: seconds(elapsed), last_wait: seconds(last_wait) };
        let mut decision = self.0.decide(kind, hint, &progress, random);
        if let (Some(budget), Decision::RetryAfter(_)) = (budget, decision)
            && !budget.get().try_take_kind(py, kind, queued)?
        {
            decision = Decision::GiveUp(Reason::Budget);
        }
        match decision {
            Decision::RetryAfter(wait) => Ok(wait.as_secs_f64().into_pyobject(py)?.into_any()),
            Decision::GiveUp(reason) => Ok(reason.name().into_pyobject(py)?.into_any()),
        }
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyTuple>)> {
        let policy = slf.get();
        let arguments =
            (policy.attempts(), policy.timeout(), policy.wait_initial(), policy.wait_max(), policy.jitter());
        Ok((slf.get_type().into_any(), arguments.into_pyobject(slf.py())?))
    }

    fn __repr__(&self) -> String {
        let none = || "None".to_owned();
        format!(
            "RetryPolicy(attempts={}, timeout={}, wait_initial={:?}, wait_max={:?}, jitter='{}')",
            self.attempts().map_or_else(none, |attempts| attempts.to_string()),
            self.timeout().map_or_else(none, |timeout| format!("{timeout:?}")),
            self.wait_initial(),
            self.wait_max(),
            self.jitter(),
        )
    }
}

/// How many retries whoever shares it can afford just now.
#[pyclass(frozen, module = "ratekeeper._core")]
pub(super) struct RetryBudget {
    state: Kept,
    clock: Arc<dyn Clock>,
}

/// Where the state of a retry budget is.
enum Kept {
    Here(Mutex<retry::RetryBudget>),
    Shared(Arc<dyn Retries>, String),
}

#[pymethods]
impl RetryBudget {
    #[new]
    #[pyo3(
        signature = (capacity = None, *, clock = None, store = None, store_lost = None, scope = ""),
        text_signature = "(capacity=100, *, clock=None, store=None, store_lost='share', scope='')"
    )]
    fn new(
        py: Python<'_>,
        capacity: Option<&Bound<'_, PyAny>>,
        clock: Option<&Bound<'_, ManualClock>>,
        store: Option<&str>,
        store_lost: Option<&Bound<'_, PyAny>>,
        scope: &str,
    ) -> PyResult<Self> {
        let capacity = capacity.map_or(Ok(retry::CAPACITY), |capacity| permits_of("capacity", capacity))?;
        let state = retry::RetryBudget::new(capacity).map_err(|error| raise(py, error))?;
        let state = match store {
            None => Kept::Here(Mutex::new(state)),
            Some(_) if capacity != retry::CAPACITY => {
                let expected = format!("{} in a store", retry::CAPACITY);
                return Err(raise(py, Error::invalid("capacity", expected, capacity)));
            }
            Some(store) => {
                let policy = policy_of(py, store_lost)?;
                Kept::Shared(open_purses(py, store, policy, clock)?.1, scope.to_owned())
            }
        };
        Ok(Self { state, clock: clock_of(clock) })
    }

    #[getter]
    fn capacity(&self) -> u32 {
        match &self.state {
            Kept::Here(state) => state.lock().capacity(),
            Kept::Shared(..) => retry::CAPACITY,
        }
    }

    #[getter]
    fn balance(&self, py: Python<'_>) -> PyResult<u32> {
        match &self.state {
            Kept::Here(state) => Ok(state.lock().balance()),
            Kept::Shared(retries, scope) => shared(py, &**retries, || retries.balance(scope)),
        }
    }

    /// Pays for one retry after a failure of that kind; False, and nothing changes, if it cannot be afforded.
    #[pyo3(signature = (kind, *, queued = false))]
    fn try_take(&self, py: Python<'_>, kind: &str, queued: bool) -> PyResult<bool> {
        self.try_take_kind(py, kind_of(py, kind)?, queued)
    }

    /// A call has succeeded, after that failure or at its first attempt.
    #[pyo3(signature = (last_failure = None, *, queued = false))]
    fn succeeded(&self, py: Python<'_>, last_failure: Option<&str>, queued: bool) -> PyResult<()> {
        let last_failure = last_failure.map(|kind| kind_of(py, kind)).transpose()?;
        match &self.state {
            Kept::Here(state) => state.lock().succeeded(last_failure, queued),
            Kept::Shared(retries, scope) => {
                shared(py, &**retries, || retries.succeeded(scope, last_failure, queued))?;
            }
        }
        Ok(())
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(format!("<RetryBudget: {} of {}>", self.balance(py)?, self.capacity()))
    }
}

impl RetryBudget {
    fn try_take_kind(&self, py: Python<'_>, kind: Kind, queued: bool) -> PyResult<bool> {
        match &self.state {
            Kept::Here(state) => Ok(state.lock().try_take(kind, queued, self.clock.now())),
            Kept::Shared(retries, scope) => shared(py, &**retries, || retries.try_take(scope, kind, queued)),
        }
    }
}

/// One step of a store: without the interpreter, if that may take long.
fn shared<T: Send>(
    py: Python<'_>,
    retries: &dyn Retries,
    step: impl FnOnce() -> crate::error::Result<T> + Send,
) -> PyResult<T> {
    let done = if retries.is_remote() { py.detach(step) } else { step() };
    done.map_err(|error| raise(py, error))
}

/// An argument for which None means something other than leaving it out.
enum Given<'py> {
    Default,
    Value(Bound<'py, PyAny>),
}

impl<'py> FromPyObject<'_, 'py> for Given<'py> {
    type Error = Infallible;

    fn extract(value: Borrowed<'_, 'py, PyAny>) -> Result<Self, Infallible> {
        Ok(Self::Value(value.to_owned()))
    }
}

impl<'py> Given<'py> {
    fn or<T>(
        self,
        default: Option<T>,
        read: impl FnOnce(&Bound<'py, PyAny>) -> PyResult<T>,
    ) -> PyResult<Option<T>> {
        match self {
            Self::Default => Ok(default),
            Self::Value(value) if value.is_none() => Ok(None),
            Self::Value(value) => read(&value).map(Some),
        }
    }
}

/// Seconds that were measured, or added up: where they make no sense, the time is up.
fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}

fn kind_of(py: Python<'_>, name: &str) -> PyResult<Kind> {
    Kind::from_name(name).map_err(|error| raise(py, error))
}
