//! `PriceTable`, `Price` and `Cost`: names and usage in, money out as whole pico-USD or as `Decimal`.
//!
//! A look-up takes one lock for a moment, and never across a call into Python.

use std::collections::HashMap;
use std::sync::Arc;

use pyo3::exceptions::PyTypeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDateTime, PyDict, PyFloat, PyInt, PyString, PyTuple, PyTzInfo, PyTzInfoAccess};

use super::convert::{raise, whole};
use crate::clock::unix_micros;
use crate::prices::moment::{Moment, When};
use crate::prices::rates::{self, Bill, Counts, Kind, MAX_TOKENS};
use crate::prices::table::Model;
use crate::prices::{Book, COMPILED, bounds, names};

const DAY: i64 = 86_400;
/// The years 0 to 9999, which a calendar has.
const TIMES: std::ops::RangeInclusive<f64> = -62_000_000_000.0..=253_402_300_799.0;
const PICO_PER_USD: u128 = 1_000_000_000_000;
/// Pico-USD a token in a dollar a million tokens.
const PICO_PER_MTOK: u128 = 1_000_000;
/// The fields of `Usage`, in its order.
const FIELDS: [&str; 9] = [
    "usage.input_tokens",
    "usage.output_tokens",
    "usage.cache_read_tokens",
    "usage.cache_write_tokens",
    "usage.reasoning_tokens",
    "usage.cache_write_1h_tokens",
    "usage.input_audio_tokens",
    "usage.output_audio_tokens",
    "usage.cache_read_audio_tokens",
];

/// What models cost: the compiled-in prices, or another table, below the users' own rows.
#[pyclass(frozen, subclass, module = "ratekeeper._core")]
pub(super) struct PriceTable(Book);

#[pymethods]
impl PriceTable {
    #[new]
    #[pyo3(signature = (own = "", other = None, *, deployments = None, fallback = None))]
    fn new(
        py: Python<'_>,
        own: &str,
        other: Option<String>,
        deployments: Option<HashMap<String, String>>,
        fallback: Option<&str>,
    ) -> PyResult<Self> {
        let book = Book::new(own.to_owned(), other, deployments.unwrap_or_default(), fallback);
        book.map(Self).map_err(|error| raise(py, error))
    }

    /// How the compiled-in prices call a provider; a name that they do not know stays as it is.
    #[staticmethod]
    fn provider_of(provider: &str) -> String {
        names::home_of(&COMPILED, provider).unwrap_or_else(|| provider.trim().to_lowercase())
    }

    /// The names of all models, with their providers in front.
    fn names(&self) -> Vec<String> {
        self.0.names()
    }

    /// The price of a model, or None if nobody knows it.
    #[pyo3(signature = (model, provider = "", at = None))]
    fn find(
        &self,
        py: Python<'_>,
        model: &str,
        provider: &str,
        at: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Option<Price>> {
        let at = Moment::from_unix(seconds(at)?);
        let found = self.priced(py, model, provider)?;
        Ok(found.map(|(model, is_fallback)| Price { model, at, is_fallback }))
    }

    /// What a usage costs, or None for tokens that nobody has a price for.
    #[pyo3(signature = (usage, model, provider = "", *, at = None))]
    fn cost(
        &self,
        py: Python<'_>,
        usage: &Bound<'_, PyAny>,
        model: &str,
        provider: &str,
        at: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Option<Cost>> {
        let tier = tier(usage)?;
        let counts = counts(usage, &tier)?;
        counts.check().map_err(|error| raise(py, error))?;
        let at = Moment::from_unix(seconds(at)?);
        let Some((model, is_fallback)) = self.priced(py, model, provider)? else { return Ok(None) };
        let bill = rates::bill(&model.segments, &counts, at).map_err(|error| raise(py, error))?;
        Ok(bill.map(|bill| Cost { bill, price: Price { model, at, is_fallback } }))
    }

    /// Pico-USD that no usage within these bounds can pass, or None for a model that nobody knows.
    #[pyo3(signature = (model, provider = "", input_tokens = 0, output_tokens = 0, *, tier = None, at = None))]
    #[expect(clippy::too_many_arguments, reason = "keywords of Python")]
    fn worst<'py>(
        &self,
        py: Python<'py>,
        model: &str,
        provider: &str,
        #[pyo3(from_py_with = input_tokens_of)] input_tokens: u64,
        #[pyo3(from_py_with = output_tokens_of)] output_tokens: u64,
        tier: Option<&str>,
        at: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let now = seconds(at)?;
        let Some((model, _)) = self.priced(py, model, provider)? else { return Ok(None) };
        let (at, next) = (Moment::from_unix(now), Moment::from_unix(now + DAY));
        let most = bounds::worst(&model.segments, input_tokens, output_tokens, tier, at, next);
        integer(py, most).map(Some)
    }

    /// The most output tokens that one answer can have, or None where that is not known.
    #[pyo3(signature = (model, provider = ""))]
    fn max_output(&self, py: Python<'_>, model: &str, provider: &str) -> PyResult<Option<u64>> {
        let found = self.0.find(model, provider).map_err(|error| raise(py, error))?;
        Ok(found.and_then(|model| model.max_output))
    }
}

impl PriceTable {
    /// The model's price, or that of all that nobody knows.
    fn priced(&self, py: Python<'_>, model: &str, provider: &str) -> PyResult<Option<(Arc<Model>, bool)>> {
        let found = self.0.find(model, provider).map_err(|error| raise(py, error))?;
        Ok(found.map(|model| (model, false)).or_else(|| Some((self.0.fallback()?.clone(), true))))
    }
}

/// What a model costs at one time.
#[pyclass(frozen, module = "ratekeeper._core")]
#[derive(Clone)]
pub(super) struct Price {
    model: Arc<Model>,
    at: Moment,
    is_fallback: bool,
}

#[pymethods]
impl Price {
    /// The provider and the model's name there.
    #[getter]
    fn id(&self) -> String {
        let Model { provider, name, .. } = &*self.model;
        if provider.is_empty() { name.clone() } else { format!("{provider}/{name}") }
    }

    #[getter]
    fn source(&self) -> &str {
        &self.model.source
    }

    #[getter]
    fn date(&self) -> &str {
        &self.model.date
    }

    /// The day since which this price holds, where it changed.
    #[getter]
    fn since(&self) -> Option<String> {
        match rates::standard(&self.model.segments, self.at)?.when {
            When::Since(date) if date <= self.at.date => {
                Some(format!("{}-{:02}-{:02}", date / 10_000, date / 100 % 100, date % 100))
            }
            _ => None,
        }
    }

    /// The hours of the day, in UTC, in which this price holds, where it goes by them.
    #[getter]
    fn hours(&self) -> Option<String> {
        let clock = |time: u32| format!("{:02}:{:02}", time / 100, time % 100);
        match rates::standard(&self.model.segments, self.at)?.when {
            When::Daily(from, until) if self.is_in_force(from, until) => {
                Some(format!("{}-{}", clock(from), clock(until)))
            }
            _ => None,
        }
    }

    #[getter]
    fn is_fallback(&self) -> bool {
        self.is_fallback
    }

    #[getter]
    fn max_output(&self) -> Option<u64> {
        self.model.max_output
    }

    /// The service tiers that have rates of their own at this time.
    #[getter]
    fn tiers(&self) -> Vec<&str> {
        let mut tiers = Vec::new();
        for segment in &self.model.segments {
            let tier = segment.tier.as_str();
            if ![rates::FILLER, ""].contains(&tier) && segment.when.holds(self.at) && !tiers.contains(&tier) {
                tiers.push(tier);
            }
        }
        tiers
    }

    /// Dollars a million tokens by kind, for a service tier and a size of the input.
    #[pyo3(signature = (tier = "", input_tokens = 0))]
    fn rates<'py>(
        &self,
        py: Python<'py>,
        tier: &str,
        #[pyo3(from_py_with = input_tokens_of)] input_tokens: u64,
    ) -> PyResult<Bound<'py, PyDict>> {
        let shown = PyDict::new(py);
        let in_force = rates::in_force(&self.model.segments, tier, self.at);
        for kind in Kind::ALL {
            if let Some(rate) = in_force[kind as usize] {
                shown.set_item(kind.name(), shown_rate(py, kind, rate.at(input_tokens))?)?;
            }
        }
        Ok(shown)
    }

    /// The sizes of the input, in tokens, above which other rates hold.
    #[getter]
    fn steps(&self) -> Vec<u64> {
        let in_force = rates::in_force(&self.model.segments, "", self.at);
        let mut sizes: Vec<u64> =
            in_force.iter().flatten().flat_map(|rate| rate.steps.iter().map(|(size, _)| *size)).collect();
        sizes.sort_unstable();
        sizes.dedup();
        sizes
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let rates = self.rates(py, "", 0)?;
        let shown: Vec<String> = rates.iter().map(|(kind, rate)| format!("{kind} {rate}")).collect();
        let Model { source, date, .. } = &*self.model;
        Ok(format!("<price {}: {} USD a million tokens; {source}, {date}>", self.id(), shown.join(", ")))
    }
}

impl Price {
    fn is_in_force(&self, from: u32, until: u32) -> bool {
        When::Daily(from, until).holds(self.at)
    }
}

/// What a usage costs.
#[pyclass(frozen, module = "ratekeeper._core")]
pub(super) struct Cost {
    bill: Bill,
    price: Price,
}

#[pymethods]
impl Cost {
    /// Whole pico-USD, 10**-12 of a dollar.
    #[getter]
    fn pico_usd<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        integer(py, self.bill.total)
    }

    /// Dollars.
    #[getter]
    fn usd<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        decimal(py, self.bill.total, PICO_PER_USD)
    }

    #[getter]
    fn price(&self) -> Price {
        self.price.clone()
    }

    /// What it is made of: kind, tokens, dollars a million of them, dollars.
    #[getter]
    fn lines<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyTuple>>> {
        let line = |line: &rates::Line| {
            let usd = decimal(py, u128::from(line.tokens) * u128::from(line.rate), PICO_PER_USD)?;
            (line.kind.name(), line.tokens, shown_rate(py, line.kind, line.rate)?, usd).into_pyobject(py)
        };
        self.bill.lines.iter().map(line).collect()
    }

    fn __repr__(&self) -> String {
        format!("<cost {} USD by {}>", digits(self.bill.total, PICO_PER_USD), self.price.id())
    }
}

/// Seconds since 1970 of a time, which is now unless given; a datetime without a zone is one of UTC.
fn seconds(at: Option<&Bound<'_, PyAny>>) -> PyResult<i64> {
    let Some(at) = at else { return Ok(unix_micros().div_euclid(1_000_000)) };
    let py = at.py();
    let number = if let Ok(time) = at.cast::<PyDateTime>() {
        let aware = if time.get_tzinfo().is_none() {
            let zone = PyDict::new(py);
            zone.set_item("tzinfo", PyTzInfo::utc(py)?)?;
            time.call_method(intern!(py, "replace"), (), Some(&zone))?
        } else {
            time.clone().into_any()
        };
        aware.call_method0(intern!(py, "timestamp"))?.extract::<f64>()?
    } else if at.is_instance_of::<PyFloat>() || at.is_instance_of::<PyInt>() {
        at.extract::<f64>().unwrap_or(f64::NAN)
    } else {
        let kind = at.get_type().name()?;
        return Err(PyTypeError::new_err(format!(
            "at: expected a datetime or seconds since 1970, got {kind}"
        )));
    };
    if TIMES.contains(&number) {
        #[expect(clippy::cast_possible_truncation, reason = "in the range of the calendar")]
        return Ok(number.floor() as i64);
    }
    Err(raise(py, crate::error::Error::invalid("at", "a time of the calendar", number)))
}

/// The counts of a `Usage`, which is a tuple in the order of its fields.
fn counts<'a>(usage: &Bound<'_, PyAny>, tier: &'a str) -> PyResult<Counts<'a>> {
    let usage = fields(usage)?;
    let mut counts = [0; FIELDS.len()];
    for (at, field) in FIELDS.iter().enumerate() {
        counts[at] = tokens(field, &usage.get_item(at)?)?;
    }
    let [input, output, cache_read, cache_write, reasoning, cache_write_1h, input_audio, output_audio, heard] =
        counts;
    Ok(Counts {
        input,
        output,
        cache_read,
        cache_write,
        reasoning,
        cache_write_1h,
        input_audio,
        output_audio,
        cache_read_audio: heard,
        tier,
    })
}

fn tier(usage: &Bound<'_, PyAny>) -> PyResult<String> {
    let tier = fields(usage)?.get_item(FIELDS.len())?;
    let text = tier.cast::<PyString>();
    Ok(text.map_err(|_| PyTypeError::new_err("usage.tier: expected a str"))?.to_str()?.to_owned())
}

fn fields<'a, 'py>(usage: &'a Bound<'py, PyAny>) -> PyResult<&'a Bound<'py, PyTuple>> {
    if let Ok(fields) = usage.cast::<PyTuple>()
        && fields.len() == FIELDS.len() + 1
    {
        return Ok(fields);
    }
    let kind = usage.get_type().name()?;
    let text =
        format!("usage: expected a ratekeeper.Usage, got {kind}; estimate_cost() reads what others write");
    Err(PyTypeError::new_err(text))
}

fn input_tokens_of(value: &Bound<'_, PyAny>) -> PyResult<u64> {
    tokens("input_tokens", value)
}

fn output_tokens_of(value: &Bound<'_, PyAny>) -> PyResult<u64> {
    tokens("output_tokens", value)
}

fn tokens(field: &str, value: &Bound<'_, PyAny>) -> PyResult<u64> {
    whole(field, value, 0..=MAX_TOKENS.cast_signed()).map(i64::cast_unsigned)
}

fn integer(py: Python<'_>, number: u128) -> PyResult<Bound<'_, PyAny>> {
    Ok(match u64::try_from(number) {
        Ok(number) => number.into_pyobject(py)?.into_any(),
        Err(_) => number.into_pyobject(py)?.into_any(),
    })
}

/// A rate as people know it: dollars a million tokens, and dollars a call.
fn shown_rate(py: Python<'_>, kind: Kind, rate: u64) -> PyResult<Bound<'_, PyAny>> {
    decimal(py, u128::from(rate), if kind == Kind::Request { PICO_PER_USD } else { PICO_PER_MTOK })
}

fn decimal(py: Python<'_>, pico: u128, per: u128) -> PyResult<Bound<'_, PyAny>> {
    py.import(intern!(py, "decimal"))?.getattr(intern!(py, "Decimal"))?.call1((digits(pico, per),))
}

/// A number of `per`-th parts, exactly, without zeros at its end.
fn digits(parts: u128, per: u128) -> String {
    let width = per.ilog10() as usize;
    let text = format!("{}.{:0width$}", parts / per, parts % per);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
