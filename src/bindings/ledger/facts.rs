//! The fields of an entry, from Python: read once, checked, and named where they are wrong.

use std::borrow::Cow;
use std::ops::RangeInclusive;

use pyo3::exceptions::PyTypeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDateTime, PyDict, PyMapping, PyMappingProxy, PyString, PyTuple};

use super::super::convert::{number, raise, text, whole};
use crate::error::Error;
use crate::ledger::entry::{COUNTS, Facts, Outcome, Usage};
use crate::quota::MAX_AMOUNT;

/// The place of the tier in a `providers.Usage`, after all counts.
const TIER: usize = COUNTS.len();
/// The longest wait or call that is believed.
const LONGEST: RangeInclusive<f64> = 0.0..=2_678_400.0;
/// The years 1 to 9999, in seconds since 1970.
const YEARS: RangeInclusive<f64> = -62_135_596_800.0..=253_402_300_799.0;

pub(super) fn facts_of(
    usage: &Bound<'_, PyAny>,
    pico_usd: &Bound<'_, PyAny>,
    waited: Option<&Bound<'_, PyAny>>,
    duration: Option<&Bound<'_, PyAny>>,
    outcome: Option<&Bound<'_, PyAny>>,
    attempt: Option<&Bound<'_, PyAny>>,
    estimated: bool,
) -> PyResult<Facts> {
    let pico_usd = if pico_usd.is_none() {
        None
    } else {
        Some(whole("pico_usd", pico_usd, 0..=i64::MAX)?.cast_unsigned())
    };
    let attempt = attempt.map_or(Ok(1), |attempt| whole("attempt", attempt, 1..=1_000_000))?;
    Ok(Facts {
        usage: usage_of(usage)?,
        pico_usd,
        waited: micros("waited", waited)?,
        duration: micros("duration", duration)?,
        outcome: outcome.map_or(Ok(Outcome::Answered), outcome_of)?,
        attempt: u32::try_from(attempt).expect("it is within the range"),
        estimated,
    })
}

/// A `providers.Usage`, or whatever has the same fields.
fn usage_of(usage: &Bound<'_, PyAny>) -> PyResult<Option<Usage>> {
    if usage.is_none() {
        return Ok(None);
    }
    let mut counts = [0; COUNTS.len()];
    if let Ok(fields) = usage.cast::<PyTuple>() {
        for ((count, name), value) in counts.iter_mut().zip(COUNTS).zip(fields.iter_borrowed()) {
            *count = count_of(name, &value)?;
        }
    } else {
        for (place, (count, name)) in counts.iter_mut().zip(COUNTS).enumerate() {
            match usage.getattr_opt(name)? {
                Some(value) => *count = count_of(name, &value)?,
                None if place < 2 => {
                    let found = usage.get_type().name()?;
                    return Err(PyTypeError::new_err(format!("usage: expected a Usage, got {found}")));
                }
                None => {}
            }
        }
    }
    Ok(Some(Usage { counts }))
}

fn count_of(name: &str, value: &Bound<'_, PyAny>) -> PyResult<u64> {
    whole(name, value, 0..=MAX_AMOUNT.cast_signed()).map(i64::cast_unsigned)
}

/// The service tier of a usage; empty if it has none.
pub(super) fn tier_of<'a>(usage: &'a Bound<'_, PyAny>) -> PyResult<Cow<'a, str>> {
    if let Ok(fields) = usage.cast::<PyTuple>() {
        if fields.len() <= TIER {
            return Ok("".into());
        }
        return Ok(text("tier", Some(&fields.get_item(TIER)?))?.to_owned().into());
    }
    match usage.getattr_opt(intern!(usage.py(), "tier"))? {
        Some(tier) => Ok(text("tier", Some(&tier))?.to_owned().into()),
        None => Ok("".into()),
    }
}

fn outcome_of(outcome: &Bound<'_, PyAny>) -> PyResult<Outcome> {
    let name = text("outcome", Some(outcome))?;
    Outcome::named(name).ok_or_else(|| {
        let names = Outcome::ALL.map(Outcome::name).join(", ");
        raise(outcome.py(), Error::invalid("outcome", format!("one of {names}"), format!("{name:?}")))
    })
}

fn micros(field: &str, seconds: Option<&Bound<'_, PyAny>>) -> PyResult<u64> {
    let Some(seconds) = seconds else { return Ok(0) };
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is within the range")]
    Ok((number(field, seconds, &LONGEST)? * 1e6).round() as u64)
}

/// Seconds since 1970, or a datetime, in microseconds.
pub(super) fn micros_of(field: &str, at: &Bound<'_, PyAny>) -> PyResult<i64> {
    let seconds = if at.is_instance_of::<PyDateTime>() {
        at.call_method0(intern!(at.py(), "timestamp"))?.extract()?
    } else {
        number(field, at, &YEARS)?
    };
    #[allow(clippy::cast_possible_truncation, reason = "it is within the range")]
    Ok((seconds * 1e6).round() as i64)
}

/// The tags of a call, held while their texts are borrowed.
pub(super) struct Tags<'py>(Vec<(Bound<'py, PyString>, Bound<'py, PyString>)>);

impl<'py> Tags<'py> {
    pub(super) fn of(tags: Option<&Bound<'py, PyAny>>) -> PyResult<Self> {
        let Some(tags) = tags.filter(|tags| !tags.is_none()) else { return Ok(Self(Vec::new())) };
        let dict = match tags.cast::<PyDict>() {
            Ok(dict) => dict.clone(),
            Err(_) => dict_of(tags)?,
        };
        let mut pairs = Vec::with_capacity(dict.len());
        for (name, value) in dict {
            pairs.push((as_text("tags", &name)?, as_text("tags", &value)?));
        }
        Ok(Self(pairs))
    }

    /// In the order of their names.
    pub(super) fn sorted(&self) -> PyResult<Vec<(&str, &str)>> {
        let mut sorted = Vec::with_capacity(self.0.len());
        for (name, value) in &self.0 {
            sorted.push((name.to_str()?, value.to_str()?));
        }
        sorted.sort_unstable();
        Ok(sorted)
    }
}

/// Of the read-only mapping that `tags` gives, or of any other.
fn dict_of<'py>(tags: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyDict>> {
    if let Ok(proxy) = tags.cast::<PyMappingProxy>()
        && let Ok(dict) = proxy.call_method0(intern!(tags.py(), "copy"))?.cast_into::<PyDict>()
    {
        return Ok(dict);
    }
    let mapping = tags.cast::<PyMapping>().map_err(|_| {
        PyTypeError::new_err("tags: expected a mapping of texts to texts, such as {\"job\": \"42\"}")
    })?;
    let dict = PyDict::new(tags.py());
    dict.update(mapping)?;
    Ok(dict)
}

fn as_text<'py>(field: &str, value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyString>> {
    text(field, Some(value))?;
    Ok(value.cast::<PyString>()?.clone())
}
