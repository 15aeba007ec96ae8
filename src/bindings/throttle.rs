//! Throttle: plain keyed rates.

use std::sync::Arc;
use std::time::Duration;

use pyo3::prelude::*;

use super::clock::{ManualClock, clock_of};
use super::convert::{duration, raise, text};
use super::engine::{Ask, Engine};
use super::hub::Hub;
use super::lease::Lease;
use super::quota::permits_of;
use super::waiter::Waiter;
use crate::error::Error;
use crate::throttle;

/// One rate, for each key apart.
#[pyclass(frozen, subclass, module = "ratekeeper._core")]
pub(super) struct Throttle {
    hub: Arc<Hub>,
}

impl Throttle {
    fn throttle(&self) -> &throttle::Throttle<Arc<Waiter>> {
        match &self.hub.engine {
            Engine::Throttle(throttle) => throttle,
            Engine::Limiter(_) => unreachable!("a throttle's hub has a throttle"),
        }
    }
}

#[pymethods]
impl Throttle {
    #[new]
    #[pyo3(signature = (rate, *, burst = None, clock = None))]
    fn new(
        py: Python<'_>,
        rate: &str,
        burst: Option<&Bound<'_, PyAny>>,
        clock: Option<&Bound<'_, ManualClock>>,
    ) -> PyResult<Self> {
        let burst = burst.map(|burst| permits_of("burst", burst)).transpose()?;
        let made = rate_of(rate)
            .and_then(|(amount, period)| throttle::Throttle::new(clock_of(clock), amount, period, burst))
            .map_err(|error| raise(py, error))?;
        let hub = Hub::new(Engine::Throttle(made), clock.is_some());
        if let Some(clock) = clock {
            clock.get().drive(&hub);
        }
        Ok(Self { hub })
    }

    /// A turn that starts when the key's rate has room.
    #[pyo3(signature = (key = None, *, timeout = None), text_signature = "(self, key='', *, timeout=None)")]
    fn acquire(&self, key: Option<&Bound<'_, PyAny>>, timeout: Option<&Bound<'_, PyAny>>) -> PyResult<Lease> {
        let timeout = timeout.map(|timeout| duration("timeout", timeout)).transpose()?;
        Ok(Lease::new(self.hub.clone(), Ask::Throttle { key: text("key", key)?.into() }, timeout))
    }

    /// Takes a turn if there is one now and nobody waits for it.
    #[pyo3(signature = (key = None), text_signature = "(self, key='')")]
    fn try_acquire(&self, py: Python<'_>, key: Option<&Bound<'_, PyAny>>) -> PyResult<bool> {
        let key = text("key", key)?;
        self.hub.leave_parent_behind(py);
        Ok(self.throttle().try_acquire(key))
    }

    fn __len__(&self) -> usize {
        self.throttle().len()
    }
}

/// "10/s", "100/minute", "5 / 2.5s".
fn rate_of(text: &str) -> crate::error::Result<(u32, Duration)> {
    let invalid = || {
        Error::invalid("rate", "a rate like \"10/s\", \"100/m\", \"1000/h\", \"5/2.5s\"", format!("{text:?}"))
    };
    let (amount, period) = text.split_once('/').ok_or_else(invalid)?;
    let amount: u32 = amount.trim().parse().map_err(|_| invalid())?;
    let period = period.trim();
    let unit_at = period.find(|c: char| !(c.is_ascii_digit() || c == '.')).ok_or_else(invalid)?;
    let (number, unit) = period.split_at(unit_at);
    let number: f64 = if number.is_empty() { 1.0 } else { number.parse().map_err(|_| invalid())? };
    let unit = match unit.trim() {
        "s" | "sec" | "second" | "seconds" => 1.0,
        "m" | "min" | "minute" | "minutes" => 60.0,
        "h" | "hour" | "hours" => 3600.0,
        "d" | "day" | "days" => 86400.0,
        _ => return Err(invalid()),
    };
    Ok((amount, Duration::try_from_secs_f64(number * unit).map_err(|_| invalid())?))
}
