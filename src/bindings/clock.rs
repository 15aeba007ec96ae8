//! A clock for tests, which moves only when told to.

use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use pyo3::prelude::*;

use super::convert::duration;
use super::hub::Hub;
use crate::clock::{self, Clock, SystemClock};

/// A clock that moves only when told to; waiting calls start as it advances.
#[pyclass(frozen, module = "ratekeeper._core")]
#[derive(Default)]
pub(super) struct ManualClock {
    clock: Arc<clock::ManualClock>,
    hubs: Mutex<Vec<Weak<Hub>>>,
}

impl ManualClock {
    /// Lets a hub know of every advance.
    pub(super) fn drive(&self, hub: &Arc<Hub>) {
        let mut hubs = self.hubs.lock();
        hubs.retain(|known| known.strong_count() > 0);
        hubs.push(Arc::downgrade(hub));
    }
}

#[pymethods]
impl ManualClock {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    /// Moves the clock on by seconds or a timedelta, and starts every call whose time has come.
    fn advance(&self, py: Python<'_>, seconds: &Bound<'_, PyAny>) -> PyResult<()> {
        self.clock.advance(duration("seconds", seconds)?);
        let hubs: Vec<Arc<Hub>> = self.hubs.lock().iter().filter_map(Weak::upgrade).collect();
        for hub in hubs {
            hub.pump(py);
        }
        Ok(())
    }

    #[getter]
    fn now(&self) -> f64 {
        self.clock.now().since(clock::Time::ZERO).as_secs_f64()
    }
}

/// The clock to be used: the given one, or the machine's.
pub(super) fn clock_of(manual: Option<&Bound<'_, ManualClock>>) -> Arc<dyn Clock> {
    match manual {
        Some(manual) => manual.get().clock.clone(),
        None => Arc::new(SystemClock),
    }
}
