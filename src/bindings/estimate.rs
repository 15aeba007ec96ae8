//! Estimator: what a prompt costs before it is sent, and how long its answer will be.
//!
//! Counting walks Python objects and takes no lock; the lock around what was learned is held for core calls alone.

mod media;
mod messages;
mod tools;
mod walk;

use parking_lot::Mutex;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyInt};

use self::walk::Walk;
use super::convert::raise;
use crate::error::Error;
use crate::estimate::{Learned, Report};

/// Tokens before the call, corrected per (model, caller) by what came back.
#[pyclass(frozen, module = "ratekeeper._core")]
pub(super) struct Estimator(Mutex<Learned>);

#[pymethods]
impl Estimator {
    #[new]
    fn new() -> Self {
        Self(Mutex::new(Learned::new()))
    }

    /// Uncorrected tokens of text, messages and tools.
    #[pyo3(signature = (content, tools = None))]
    #[expect(
        clippy::unused_self,
        reason = "a method, so that a counting function of the user's can stand in its place"
    )]
    fn count(&self, content: &Bound<'_, PyAny>, tools: Option<&Bound<'_, PyAny>>) -> PyResult<u64> {
        let mut walk = Walk::new();
        walk.content(content)?;
        if let Some(tools) = tools {
            walk.tools(tools)?;
        }
        Ok(walk.tokens())
    }

    /// `counted` corrected by what this model and caller had before: the best guess.
    #[pyo3(signature = (counted, *, model, caller = ""))]
    fn input_tokens(&self, counted: &Bound<'_, PyAny>, model: &str, caller: &str) -> PyResult<u64> {
        let counted = whole("counted", counted)?;
        Ok(self.0.lock().corrected(model, caller, counted))
    }

    /// The best guess and a margin that 19 of the last 20 calls would have needed: what to reserve.
    #[pyo3(signature = (counted, *, model, caller = ""))]
    fn input_reservation(&self, counted: &Bound<'_, PyAny>, model: &str, caller: &str) -> PyResult<u64> {
        let counted = whole("counted", counted)?;
        Ok(self.0.lock().reservation(model, caller, counted))
    }

    /// The 95th percentile of the last outputs, at most `max_tokens`.
    #[pyo3(signature = (*, model, caller = "", max_tokens = None))]
    fn output_tokens(
        &self,
        model: &str,
        caller: &str,
        max_tokens: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<u64> {
        let max_tokens = optional("max_tokens", max_tokens)?;
        Ok(self.0.lock().output(model, caller, max_tokens))
    }

    /// Learns from the real usage of one call.
    #[pyo3(signature = (*, model, caller = "", counted = None, input_tokens = None, output_tokens = None))]
    fn observe(
        &self,
        model: &str,
        caller: &str,
        counted: Option<&Bound<'_, PyAny>>,
        input_tokens: Option<&Bound<'_, PyAny>>,
        output_tokens: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let counted = optional("counted", counted)?;
        let input = counted.zip(optional("input_tokens", input_tokens)?);
        let output = optional("output_tokens", output_tokens)?;
        if input.is_some() || output.is_some() {
            self.0.lock().observe(model, caller, input, output);
        }
        Ok(())
    }

    /// What is known, per (model, caller).
    fn status<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyDict>>> {
        let reports = self.0.lock().report();
        reports.into_iter().map(|report| status(py, report)).collect()
    }
}

fn status(py: Python<'_>, report: Report) -> PyResult<Bound<'_, PyDict>> {
    let status = PyDict::new(py);
    status.set_item("model", report.model)?;
    status.set_item("caller", report.caller)?;
    status.set_item("calls", report.calls)?;
    status.set_item("factor", report.factor)?;
    status.set_item("mean_error", report.mean_error)?;
    status.set_item("error_p95", report.error_p95)?;
    status.set_item("margin", report.margin)?;
    status.set_item("output_p95", report.output_p95)?;
    Ok(status)
}

fn optional(field: &str, value: Option<&Bound<'_, PyAny>>) -> PyResult<Option<u64>> {
    value.map(|value| whole(field, value)).transpose()
}

/// A number of tokens; one that no machine word holds is as good as the largest.
fn whole(field: &str, value: &Bound<'_, PyAny>) -> PyResult<u64> {
    const EXPECTED: &str = "a whole number of tokens from 0";
    if !value.is_instance_of::<PyInt>() || value.is_instance_of::<PyBool>() {
        return Err(PyTypeError::new_err(format!(
            "{field}: expected {EXPECTED}, got {}",
            value.get_type().name()?
        )));
    }
    if value.lt(0)? {
        return Err(raise(value.py(), Error::invalid(field, EXPECTED, value)));
    }
    Ok(value.extract().unwrap_or(u64::MAX))
}
