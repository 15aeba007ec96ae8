//! Limits and quotas as Python values.

use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};

use super::convert::{raise, span, whole};
use crate::error::Error;
use crate::quota::{self, Dimension, MAX_AMOUNT};

const PERIODS: [(&str, Duration); 4] = [
    ("second", Duration::from_secs(1)),
    ("minute", Duration::from_mins(1)),
    ("hour", Duration::from_hours(1)),
    ("day", Duration::from_hours(24)),
];

/// One amount per period of one dimension.
#[pyclass(frozen, eq, hash, module = "ratekeeper._core", from_py_object)]
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Limit(quota::Limit);

#[pymethods]
impl Limit {
    #[new]
    #[pyo3(
        signature = (dimension, amount, per = None, *, burst = None),
        text_signature = "(dimension, amount, per='minute', *, burst=None)"
    )]
    fn new(
        dimension: &str,
        amount: &Bound<'_, PyAny>,
        per: Option<&Bound<'_, PyAny>>,
        burst: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let dimension = Dimension::from_name(dimension).map_err(|error| raise(amount.py(), error))?;
        let period = per.map_or(Ok(PERIODS[1].1), period)?;
        Ok(Self(limit("amount", dimension, amount, period, burst)?))
    }

    #[getter]
    fn dimension(&self) -> &'static str {
        self.0.dimension().name()
    }

    #[getter]
    fn amount(&self) -> u64 {
        self.0.amount()
    }

    #[getter]
    fn per(&self) -> f64 {
        self.0.period().as_secs_f64()
    }

    #[getter]
    fn burst(&self) -> u64 {
        self.0.burst()
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyTuple>)> {
        let limit = slf.get().0;
        let arguments =
            (limit.dimension().name(), limit.amount(), limit.period().as_secs_f64(), limit.burst());
        Ok((slf.getattr("_of")?, arguments.into_pyobject(slf.py())?))
    }

    #[staticmethod]
    fn _of(
        dimension: &str,
        amount: &Bound<'_, PyAny>,
        per: &Bound<'_, PyAny>,
        burst: &Bound<'_, PyAny>,
    ) -> PyResult<Self> {
        Self::new(dimension, amount, Some(per), Some(burst))
    }

    fn __repr__(&self) -> String {
        let (per, burst) = (self.0.period().as_secs_f64(), self.0.burst());
        format!("Limit({:?}, {}, per={per}, burst={burst})", self.dimension(), self.0.amount())
    }
}

/// What a provider grants.
#[pyclass(frozen, eq, hash, module = "ratekeeper._core", from_py_object)]
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Quota(pub(super) quota::Quota);

#[pymethods]
impl Quota {
    #[new]
    #[pyo3(signature = (*limits, concurrency = None, rps = None, rpm = None, rph = None, rpd = None, tps = None, tpm = None, tph = None,
        tpd = None, itps = None, itpm = None, itph = None, itpd = None, otps = None, otpm = None, otph = None, otpd = None))]
    #[allow(
        clippy::too_many_arguments,
        clippy::similar_names,
        reason = "one keyword per dimension and period, as people write them"
    )]
    fn new(
        py: Python<'_>,
        limits: Vec<Limit>,
        concurrency: Option<&Bound<'_, PyAny>>,
        rps: Option<&Bound<'_, PyAny>>,
        rpm: Option<&Bound<'_, PyAny>>,
        rph: Option<&Bound<'_, PyAny>>,
        rpd: Option<&Bound<'_, PyAny>>,
        tps: Option<&Bound<'_, PyAny>>,
        tpm: Option<&Bound<'_, PyAny>>,
        tph: Option<&Bound<'_, PyAny>>,
        tpd: Option<&Bound<'_, PyAny>>,
        itps: Option<&Bound<'_, PyAny>>,
        itpm: Option<&Bound<'_, PyAny>>,
        itph: Option<&Bound<'_, PyAny>>,
        itpd: Option<&Bound<'_, PyAny>>,
        otps: Option<&Bound<'_, PyAny>>,
        otpm: Option<&Bound<'_, PyAny>>,
        otph: Option<&Bound<'_, PyAny>>,
        otpd: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let named = [
            (Dimension::Requests, [("rps", rps), ("rpm", rpm), ("rph", rph), ("rpd", rpd)]),
            (Dimension::Tokens, [("tps", tps), ("tpm", tpm), ("tph", tph), ("tpd", tpd)]),
            (Dimension::InputTokens, [("itps", itps), ("itpm", itpm), ("itph", itph), ("itpd", itpd)]),
            (Dimension::OutputTokens, [("otps", otps), ("otpm", otpm), ("otph", otph), ("otpd", otpd)]),
        ];
        let mut all: Vec<quota::Limit> = limits.into_iter().map(|limit| limit.0).collect();
        for (dimension, keywords) in named {
            for ((keyword, amount), (_, period)) in keywords.into_iter().zip(PERIODS) {
                if let Some(amount) = amount {
                    all.push(limit(keyword, dimension, amount, period, None)?);
                }
            }
        }
        let concurrency = concurrency.map(|permits| permits_of("concurrency", permits)).transpose()?;
        quota::Quota::new(all, concurrency).map(Self).map_err(|error| raise(py, error))
    }

    #[getter]
    fn limits<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, self.0.limits().iter().map(|limit| Limit(*limit)))
    }

    #[getter]
    fn concurrency(&self) -> Option<u32> {
        self.0.concurrency()
    }

    /// The same limits, each burst smaller by what `seconds` of its rate give, but at least 1.
    fn with_headroom(&self, seconds: &Bound<'_, PyAny>) -> PyResult<Self> {
        Ok(Self(self.0.with_headroom(super::convert::duration("seconds", seconds)?)))
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyTuple>)> {
        let py = slf.py();
        let arguments = (slf.get().limits(py)?, slf.get().concurrency()).into_pyobject(py)?;
        Ok((slf.getattr("_of")?, arguments))
    }

    #[staticmethod]
    fn _of(py: Python<'_>, limits: Vec<Limit>, concurrency: Option<u32>) -> PyResult<Py<PyAny>> {
        let keywords = PyDict::new(py);
        keywords.set_item("concurrency", concurrency)?;
        py.get_type::<Self>().call(PyTuple::new(py, limits)?, Some(&keywords)).map(Bound::unbind)
    }

    fn __repr__(&self) -> String {
        let limits = self.0.limits().iter().map(|limit| Limit(*limit).__repr__());
        let concurrency = self.0.concurrency().map(|permits| format!("concurrency={permits}"));
        format!("Quota({})", limits.chain(concurrency).collect::<Vec<_>>().join(", "))
    }
}

/// A number of permits.
pub(super) fn permits_of(field: &str, value: &Bound<'_, PyAny>) -> PyResult<u32> {
    // The conversion cannot fail within that range.
    whole(field, value, 1..=i64::from(u32::MAX)).map(|permits| u32::try_from(permits).unwrap_or(u32::MAX))
}

fn limit(
    field: &str,
    dimension: Dimension,
    value: &Bound<'_, PyAny>,
    period: Duration,
    burst: Option<&Bound<'_, PyAny>>,
) -> PyResult<quota::Limit> {
    let from_one = |field, value| whole(field, value, 1..=MAX_AMOUNT.cast_signed()).map(i64::cast_unsigned);
    let (amount, burst) = (from_one(field, value)?, burst.map(|burst| from_one("burst", burst)).transpose()?);
    quota::Limit::new(dimension, amount, period, burst).map_err(|error| raise(value.py(), error))
}

fn period(per: &Bound<'_, PyAny>) -> PyResult<Duration> {
    let Ok(name) = per.cast::<PyString>() else { return span("per", per) };
    let name = name.to_str()?;
    let found = PERIODS.iter().find(|(known, _)| *known == name).map(|(_, period)| *period);
    found.ok_or_else(|| {
        let expected = "second, minute, hour, day, a number of seconds or a timedelta";
        raise(per.py(), Error::invalid("per", expected, format!("{name:?}")))
    })
}
