//! `Entry`: one attempt, read-only.

use std::sync::Arc;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyTuple, PyType};

use crate::ledger::entry;

/// One attempt as it was booked.
#[pyclass(frozen, module = "ratekeeper._core")]
#[derive(Clone)]
pub(in crate::bindings) struct Entry(pub(super) Arc<entry::Entry>);

#[allow(clippy::cast_precision_loss, reason = "shown as seconds")]
fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

#[pymethods]
impl Entry {
    #[getter]
    fn number(&self) -> u64 {
        self.0.number
    }

    #[getter]
    #[allow(clippy::cast_precision_loss, reason = "microseconds of the next centuries fit")]
    fn at(&self) -> f64 {
        self.0.at as f64 / 1e6
    }

    #[getter]
    fn time<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let module = py.import(intern!(py, "ratekeeper.costs.times"))?;
        module.call_method1(intern!(py, "time_of"), (self.0.at,))
    }

    #[getter]
    fn scope(&self) -> &str {
        self.fixed(0)
    }

    #[getter]
    pub(super) fn model(&self) -> &str {
        self.fixed(1)
    }

    #[getter]
    fn price(&self) -> &str {
        self.fixed(2)
    }

    #[getter]
    fn tier(&self) -> &str {
        self.fixed(3)
    }

    #[getter]
    fn tags<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let tags = PyDict::new(py);
        for (name, value) in &self.0.label.tags {
            tags.set_item(&**name, value.as_deref())?;
        }
        Ok(tags)
    }

    #[getter]
    fn usage<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        static USAGE: PyOnceLock<Py<PyType>> = PyOnceLock::new();
        let Some(usage) = &self.0.facts.usage else { return Ok(None) };
        let class = USAGE.import(py, "ratekeeper.providers", "Usage")?;
        let known = class.getattr(intern!(py, "_fields"))?.len()?;
        let mut fields: Vec<Bound<'py, PyAny>> = Vec::with_capacity(known);
        for count in usage.counts {
            fields.push(count.into_pyobject(py)?.into_any());
        }
        fields.push(self.tier().into_pyobject(py)?.into_any());
        fields.truncate(known);
        class.call1(PyTuple::new(py, fields)?).map(Some)
    }

    #[getter]
    fn pico_usd(&self) -> Option<u64> {
        self.0.facts.pico_usd
    }

    #[getter]
    fn usd<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let Some(pico_usd) = self.0.facts.pico_usd else { return Ok(None) };
        let module = py.import(intern!(py, "ratekeeper.costs.spend"))?;
        module.call_method1(intern!(py, "usd_of"), (pico_usd,)).map(Some)
    }

    #[getter]
    fn waited(&self) -> f64 {
        seconds(self.0.facts.waited)
    }

    #[getter]
    fn duration(&self) -> f64 {
        seconds(self.0.facts.duration)
    }

    #[getter]
    fn outcome(&self) -> &'static str {
        self.0.facts.outcome.name()
    }

    #[getter]
    fn attempt(&self) -> u32 {
        self.0.facts.attempt
    }

    #[getter]
    fn estimated(&self) -> bool {
        self.0.facts.estimated
    }

    fn __repr__(&self) -> String {
        let tokens = self.0.facts.usage.map_or_else(|| "unknown".into(), |usage| usage.tokens().to_string());
        format!("<Entry {}: {} {}, {tokens} tokens>", self.0.number, self.model(), self.outcome())
    }
}

impl Entry {
    fn fixed(&self, place: usize) -> &str {
        self.0.label.fixed[place].as_deref().unwrap_or_default()
    }
}
