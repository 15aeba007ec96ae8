//! Questions in, sums out.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString, PyTuple};

use crate::ledger::query::{Field, Groups, Query};
use crate::ledger::sum::Sum;

/// Pairs of a group's texts and its sum.
pub(super) type Answer<'py> = Bound<'py, PyList>;

/// The question; limits in microseconds, `wanted` from column to text.
pub(super) fn query_of(
    by: Option<&Bound<'_, PyList>>,
    since: Option<i64>,
    until: Option<i64>,
    wanted: &Bound<'_, PyDict>,
) -> PyResult<Query> {
    let mut query = Query {
        since: since.unwrap_or(i64::MIN),
        until: until.unwrap_or(i64::MAX),
        wanted: Vec::with_capacity(wanted.len()),
        by: Vec::new(),
    };
    for name in by.into_iter().flatten() {
        query.by.push(Field::named(name.cast::<PyString>()?.to_str()?));
    }
    for (name, text) in wanted {
        let field = Field::named(name.cast::<PyString>()?.to_str()?);
        query.wanted.push((field, text.cast::<PyString>()?.to_str()?.into()));
    }
    Ok(query)
}

/// The answer as Python reads it: a folded text is None.
pub(super) fn answer_of(py: Python<'_>, groups: Groups) -> PyResult<Answer<'_>> {
    let answer = PyList::empty(py);
    for (texts, sum) in groups {
        let texts = PyTuple::new(py, texts.iter().map(Option::as_deref))?;
        answer.append((texts, sum_of(py, &sum)?))?;
    }
    Ok(answer)
}

/// In the order of the fields of Python's `Spend`.
fn sum_of<'py>(py: Python<'py>, sum: &Sum) -> PyResult<Bound<'py, PyTuple>> {
    let numbers =
        [sum.calls, sum.failed, sum.refused, sum.abandoned, sum.estimated, sum.unmetered, sum.unpriced]
            .into_iter()
            .chain([sum.unpriced_tokens])
            .chain(sum.counts);
    let mut items: Vec<Bound<'py, PyAny>> = Vec::with_capacity(24);
    for number in numbers {
        items.push(number.into_pyobject(py)?.into_any());
    }
    items.push(sum.pico_usd.into_pyobject(py)?.into_any());
    for micros in [sum.waited, sum.duration] {
        #[allow(clippy::cast_precision_loss, reason = "shown as seconds")]
        let seconds = micros as f64 / 1e6;
        items.push(seconds.into_pyobject(py)?.into_any());
    }
    items.push(sum.folded.into_pyobject(py)?.into_any());
    PyTuple::new(py, items)
}
