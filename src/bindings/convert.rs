//! Values across the border: durations in, errors out.

use std::ops::RangeInclusive;
use std::time::Duration;

use pyo3::exceptions::PyTypeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDelta, PyDict, PyFloat, PyInt, PyString};

use crate::error::Error;
use crate::quota::MAX_AMOUNT;

/// The longest time anybody waits or holds: above it a number is a typing error.
const LONGEST: f64 = 2_678_400.0;
const DURATION: &str = "seconds from 0 to 2678400 (31 days) or a timedelta";

/// Seconds as float or int, or a timedelta.
pub(super) fn duration(field: &str, value: &Bound<'_, PyAny>) -> PyResult<Duration> {
    let seconds = if value.is_instance_of::<PyDelta>() {
        value.call_method0(intern!(value.py(), "total_seconds"))?.extract::<f64>()?
    } else {
        float(field, value, DURATION)?
    };
    if (0.0..=LONGEST).contains(&seconds) {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err(raise(value.py(), Error::invalid(field, DURATION, seconds)))
    }
}

/// Like [`duration`], but longer than nothing.
pub(super) fn span(field: &str, value: &Bound<'_, PyAny>) -> PyResult<Duration> {
    let span = duration(field, value)?;
    if span.is_zero() {
        return Err(raise(value.py(), Error::invalid(field, "a duration above 0", "0")));
    }
    Ok(span)
}

/// A text, or "" where it is not given.
pub(super) fn text<'a>(field: &str, value: Option<&'a Bound<'_, PyAny>>) -> PyResult<&'a str> {
    let Some(value) = value else { return Ok("") };
    value.cast::<PyString>().map_err(|_| wrong_type(field, "a str", value))?.to_str()
}

/// A number in that range.
pub(super) fn number(field: &str, value: &Bound<'_, PyAny>, range: &RangeInclusive<f64>) -> PyResult<f64> {
    let expected = format!("a number from {} to {}", range.start(), range.end());
    let number = float(field, value, &expected)?;
    let is_within = range.contains(&number);
    if is_within { Ok(number) } else { Err(raise(value.py(), Error::invalid(field, expected, number))) }
}

/// An amount of requests or tokens, or what stands for it where it is not given.
pub(super) fn amount(field: &str, value: Option<&Bound<'_, PyAny>>, default: u64) -> PyResult<u64> {
    value.map_or(Ok(default), |value| {
        whole(field, value, 0..=MAX_AMOUNT.cast_signed()).map(i64::cast_unsigned)
    })
}

/// A whole number in that range; a bool is none.
pub(super) fn whole(field: &str, value: &Bound<'_, PyAny>, range: RangeInclusive<i64>) -> PyResult<i64> {
    if let Ok(number) = value.extract::<i64>()
        && range.contains(&number)
        && !value.is_instance_of::<PyBool>()
    {
        return Ok(number);
    }
    let expected = format!("a whole number from {} to {}", range.start(), range.end());
    if value.is_instance_of::<PyInt>() && !value.is_instance_of::<PyBool>() {
        return Err(raise(value.py(), Error::invalid(field, expected, value.repr()?)));
    }
    Err(wrong_type(field, &expected, value))
}

fn float(field: &str, value: &Bound<'_, PyAny>, expected: &str) -> PyResult<f64> {
    let is_number = value.is_instance_of::<PyFloat>() || value.is_instance_of::<PyInt>();
    if !is_number || value.is_instance_of::<PyBool>() {
        return Err(wrong_type(field, expected, value));
    }
    // An int beyond all floats.
    value.extract::<f64>().map_err(|_| raise(value.py(), Error::invalid(field, expected, "a larger number")))
}

fn wrong_type(field: &str, expected: &str, value: &Bound<'_, PyAny>) -> PyErr {
    let found = value.get_type().name().map_or_else(|_| "something else".into(), |name| name.to_string());
    PyTypeError::new_err(format!("{field}: expected {expected}, got {found}"))
}

/// The package's exception for an error of the core.
pub(super) fn raise(py: Python<'_>, error: Error) -> PyErr {
    exception(py, error).unwrap_or_else(|failure| failure)
}

/// The package's error for a wait that would have stopped the running event loop.
pub(super) fn event_loop_blocked(py: Python<'_>) -> PyErr {
    let text = "this call has to wait, and waiting here would stop the event loop that runs on this thread: \
                use `async with`, `await`, or the framework's async methods";
    build(py, "EventLoopBlockedError", text, None).unwrap_or_else(|failure| failure)
}

fn exception(py: Python<'_>, error: Error) -> PyResult<PyErr> {
    let text = error.to_string();
    let attributes = PyDict::new(py);
    let class = match error {
        Error::Invalid { field, .. } => {
            attributes.set_item("field", field)?;
            "ConfigError"
        }
        Error::QuotaExceeded(ref shortage) | Error::Paused(ref shortage) => {
            attributes.set_item("scope", &*shortage.scope)?;
            attributes.set_item("dimension", shortage.dimension.name())?;
            attributes.set_item("retry_after", shortage.retry_after.map(|wait| wait.as_secs_f64()))?;
            if matches!(error, Error::Paused(_)) { "PausedError" } else { "QuotaExceededError" }
        }
        Error::NeverFits(misfit) => {
            attributes.set_item("scope", &*misfit.scope)?;
            attributes.set_item("dimension", misfit.dimension.name())?;
            attributes.set_item("amount", misfit.amount)?;
            attributes.set_item("limit", misfit.limit)?;
            "NeverFitsError"
        }
        Error::Store { store, .. } => {
            attributes.set_item("store", store)?;
            "StoreError"
        }
        Error::LeaseEnded(_) => return build(py, "LeaseError", &text, None),
    };
    build(py, class, &text, Some(&attributes))
}

/// A `LeaseError` with that text.
pub(super) fn lease_error(py: Python<'_>, text: &str) -> PyErr {
    build(py, "LeaseError", text, None).unwrap_or_else(|failure| failure)
}

fn build(py: Python<'_>, class: &str, text: &str, attributes: Option<&Bound<'_, PyDict>>) -> PyResult<PyErr> {
    let class = py.import(intern!(py, "ratekeeper.errors"))?.getattr(class)?;
    Ok(PyErr::from_value(class.call((text,), attributes)?))
}

/// Does something in a destructor: an exception on its way past is neither seen nor lost.
pub(super) fn undisturbed(py: Python<'_>, act: impl FnOnce()) {
    let raised = PyErr::take(py);
    act();
    if let Some(raised) = raised {
        raised.restore(py);
    }
}
