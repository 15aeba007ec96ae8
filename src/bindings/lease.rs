//! The Python object that is asked for, waited for, held and ended: one object, one allocation, its own awaitable.

use std::sync::Arc;
use std::time::Duration;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;

use super::claim::Claim;
use super::convert::{amount, duration, event_loop_blocked, raise, undisturbed};
use super::engine::{Ask, Ending};
use super::hub::Hub;
use super::loops::running_loop;
use super::told::{LearnedLimit, dimension_of, period_of, told_of};
use crate::error::Result;
use crate::pace::{Refusal, Setback, Told};
use crate::quota::Amounts;
use crate::retry::{Hint, Kind};

/// A claim on a quota: asked for, waited for, held, and then settled, closed or released.
#[pyclass(frozen, module = "ratekeeper._core")]
pub(super) struct Lease(Claim);

impl Lease {
    pub(super) fn new(hub: Arc<Hub>, ask: Ask, timeout: Option<Duration>) -> Self {
        Self(Claim::new(hub, ask, timeout))
    }

    /// A lease that is held already.
    ///
    /// # Errors
    /// `QuotaExceeded` if it would have to wait.
    pub(super) fn held(py: Python<'_>, hub: Arc<Hub>, ask: Ask) -> Result<Self> {
        Claim::held(py, hub, ask).map(Self)
    }

    /// The amounts that are given, and of the others what was reserved.
    fn amounts_or_reserved(
        &self,
        requests: Option<&Bound<'_, PyAny>>,
        tokens: Option<&Bound<'_, PyAny>>,
        input_tokens: Option<&Bound<'_, PyAny>>,
        output_tokens: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Amounts> {
        let reserved = self.0.reserved();
        Ok(Amounts {
            requests: amount("requests", requests, reserved.requests)?,
            tokens: amount("tokens", tokens, reserved.tokens)?,
            input_tokens: amount("input_tokens", input_tokens, reserved.input_tokens)?,
            output_tokens: amount("output_tokens", output_tokens, reserved.output_tokens)?,
        })
    }
}

#[pymethods]
impl Lease {
    fn __enter__(slf: Py<Self>, py: Python<'_>) -> PyResult<Py<Self>> {
        Self::wait(slf, py)
    }

    #[pyo3(signature = (_kind, _error, _trace, /))]
    fn __exit__(
        &self,
        py: Python<'_>,
        _kind: &Bound<'_, PyAny>,
        _error: &Bound<'_, PyAny>,
        _trace: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        self.0.close(py)
    }

    fn __aenter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    #[pyo3(signature = (_kind, _error, _trace, /))]
    fn __aexit__(
        &self,
        py: Python<'_>,
        _kind: &Bound<'_, PyAny>,
        _error: &Bound<'_, PyAny>,
        _trace: &Bound<'_, PyAny>,
    ) -> PyResult<Py<Done>> {
        static DONE: PyOnceLock<Py<Done>> = PyOnceLock::new();
        self.0.close(py)?;
        DONE.get_or_try_init(py, || Py::new(py, Done)).map(|done| done.clone_ref(py))
    }

    fn __await__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__<'py>(slf: &Bound<'py, Self>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let (claim, py) = (&slf.get().0, slf.py());
        let is_held = if claim.is_waiting() { claim.resume(py).map(|()| true)? } else { claim.begin(py)? };
        if is_held {
            stop_iteration(slf);
            return Ok(None);
        }
        claim.future(py).inspect_err(|_| claim.abandon(py)).map(Some)
    }

    #[pyo3(signature = (kind, value = None, _trace = None, /))]
    fn throw(
        &self,
        py: Python<'_>,
        kind: Bound<'_, PyAny>,
        value: Option<Bound<'_, PyAny>>,
        _trace: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        self.0.abandon(py);
        Err(PyErr::from_value(value.filter(|value| !value.is_none()).unwrap_or(kind)))
    }

    /// Blocks this thread until the lease is held, and returns it.
    fn wait(slf: Py<Self>, py: Python<'_>) -> PyResult<Py<Self>> {
        let claim = &slf.get().0;
        if !claim.begin(py)? {
            if running_loop(py).is_some() {
                claim.abandon(py);
                return Err(event_loop_blocked(py));
            }
            claim.park(py)?;
        }
        Ok(slf)
    }

    /// Replaces the reserved amounts by the real ones and frees the permit.
    #[pyo3(
        signature = (*, requests = None, tokens = None, input_tokens = None, output_tokens = None),
        text_signature = "(self, *, requests=None, tokens=None, input_tokens=None, output_tokens=None)"
    )]
    fn settle(
        &self,
        py: Python<'_>,
        requests: Option<&Bound<'_, PyAny>>,
        tokens: Option<&Bound<'_, PyAny>>,
        input_tokens: Option<&Bound<'_, PyAny>>,
        output_tokens: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let mut actual = self.amounts_or_reserved(requests, tokens, input_tokens, output_tokens)?;
        if tokens.is_none() && input_tokens.is_some() && output_tokens.is_some() {
            actual.tokens = actual.input_tokens.saturating_add(actual.output_tokens);
        }
        self.0.end(py, "settled", &Ending::Answered(&actual))
    }

    /// Takes over what the answer to the call tells of the provider's limits.
    fn learn(&self, py: Python<'_>, limits: Vec<LearnedLimit>) -> PyResult<bool> {
        let told: Vec<Told> = limits.into_iter().filter_map(told_of).collect();
        self.0.learn(py, &told)
    }

    /// Ends the lease of a call that failed; what it ran into concerns everybody in its scope.
    #[pyo3(signature = (kind, *, dimension = None, per = None, retry_after = None, patience = 120.0, random = 0.0, requests = None,
        tokens = None, input_tokens = None, output_tokens = None))]
    #[allow(clippy::too_many_arguments, reason = "keywords of a Python method")]
    fn fail(
        &self,
        py: Python<'_>,
        kind: &str,
        dimension: Option<&str>,
        per: Option<f64>,
        retry_after: Option<f64>,
        patience: f64,
        random: f64,
        requests: Option<&Bound<'_, PyAny>>,
        tokens: Option<&Bound<'_, PyAny>>,
        input_tokens: Option<&Bound<'_, PyAny>>,
        output_tokens: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let setback = match Kind::from_name(kind).map_err(|error| raise(py, error))? {
            Kind::RateLimit => Setback::Refused(Refusal {
                dimension: dimension.and_then(dimension_of),
                period: per.and_then(period_of),
                retry_after: match retry_after.map_or(Hint::None, Hint::from_provider) {
                    Hint::AtLeast(wait) => Some(wait),
                    Hint::None | Hint::Exactly(_) => None,
                },
                patience: Duration::try_from_secs_f64(patience).unwrap_or(Duration::MAX),
                random,
            }),
            Kind::Overload => Setback::Overloaded,
            _ => Setback::Other,
        };
        let kept = self.amounts_or_reserved(requests, tokens, input_tokens, output_tokens)?;
        self.0.end(py, "failed", &Ending::Failed(Some(&kept), setback))
    }

    /// A lease for another attempt of the same call, with its place in the queue and what is left of its timeout.
    #[pyo3(signature = (*, within = None))]
    fn again(&self, within: Option<&Bound<'_, PyAny>>) -> PyResult<Self> {
        let within = within.map(|within| duration("within", within)).transpose()?;
        Ok(Self(self.0.again(within)))
    }

    /// Frees the permit and keeps what was reserved; gives up a wait. Does nothing if the lease has ended.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        self.0.close(py)
    }

    /// Gives everything back: the call was never sent.
    fn release(&self, py: Python<'_>) -> PyResult<()> {
        self.0.end(py, "released", &Ending::Failed(Some(&Amounts::default()), Setback::Other))
    }

    /// Sets the expiry anew.
    fn renew(&self, py: Python<'_>) -> PyResult<()> {
        self.0.renew(py)
    }

    #[getter]
    fn state(&self) -> &'static str {
        self.0.name()
    }

    #[getter]
    fn waited(&self) -> f64 {
        self.0.waited().as_secs_f64()
    }

    #[getter]
    fn amounts<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let amounts = self.0.reserved();
        let dict = PyDict::new(py);
        dict.set_item("requests", amounts.requests)?;
        dict.set_item("tokens", amounts.tokens)?;
        dict.set_item("input_tokens", amounts.input_tokens)?;
        dict.set_item("output_tokens", amounts.output_tokens)?;
        Ok(dict)
    }

    fn __repr__(&self) -> String {
        format!("<Lease {}>", self.state())
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if !self.0.is_live() {
            return;
        }
        // Fails only while the interpreter shuts down, when nobody is left to be given anything.
        Python::try_attach(|py| {
            undisturbed(py, || {
                if let Err(failure) = self.0.close(py) {
                    failure.write_unraisable(py, None);
                }
            });
        });
    }
}

/// Sets `StopIteration(lease)`, for an `__next__` that then returns None.
///
/// A `PyErr` would do the same, but is normalised on its way: 150 ns on every `await` that need not wait.
#[allow(unsafe_code)]
fn stop_iteration(lease: &Bound<'_, Lease>) {
    // SAFETY: the interpreter is attached, as `lease` proves; both pointers are of live objects, and the call takes its own
    // references. A lease is neither a tuple nor an exception, so it is the exception's value as it stands. Returning
    // NULL with an exception set is what the `tp_iternext` slot is specified to do.
    unsafe { ffi::PyErr_SetObject(ffi::PyExc_StopIteration, lease.as_ptr()) }
}

/// What `__aexit__` returns: an awaitable that is done.
#[pyclass(frozen, module = "ratekeeper._core")]
struct Done;

#[pymethods]
impl Done {
    fn __await__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    #[allow(clippy::unused_self)]
    fn __next__(&self) -> Option<()> {
        None
    }
}
