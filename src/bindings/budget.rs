//! `Purse`: one budget under one set of tags, kept here, or in a store for all processes.

use std::sync::Arc;

use parking_lot::Mutex;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::convert::raise;
use super::stores::{open_purses, policy_of};
use crate::budget::{self, Ceiling, Outlay, Window};
use crate::error::{Error, Result};
use crate::store::purses::{Asked, Purses};

/// One budget under one set of tags.
#[pyclass(frozen, subclass, weakref, module = "ratekeeper._core")]
pub(super) struct Purse {
    /// Its state; of one in a store, as it was last seen there.
    pub(super) state: Mutex<budget::Purse>,
    pub(super) shared: Option<Shared>,
}

/// A purse in a store.
pub(super) struct Shared {
    pub(super) purses: Arc<dyn Purses>,
    pub(super) store: String,
    pub(super) asked: Mutex<Asked>,
    /// How far the store's clock is ahead of the caller's, in seconds.
    pub(super) skew: Mutex<f64>,
}

#[pymethods]
impl Purse {
    #[new]
    #[pyo3(
        signature = (*, pico_usd = None, tokens = None, calls = None, warn_at = 1.0, store = None, store_lost = None, key = ""),
        text_signature = "(*, pico_usd=None, tokens=None, calls=None, warn_at=1.0, store=None, store_lost='share', key='')"
    )]
    #[allow(clippy::too_many_arguments, reason = "keywords of the Python constructor")]
    fn new(
        py: Python<'_>,
        pico_usd: Option<u64>,
        tokens: Option<u64>,
        calls: Option<u64>,
        warn_at: f64,
        store: Option<String>,
        store_lost: Option<&Bound<'_, PyAny>>,
        key: &str,
    ) -> PyResult<Self> {
        let ceiling = Ceiling { pico_usd, tokens, calls };
        let shared = store.map(|store| -> PyResult<Shared> {
            let asked =
                Asked { key: key.into(), ceiling, warn_at, window: Window::EVER, is_first_word: true };
            let (purses, _) = open_purses(py, &store, policy_of(py, store_lost)?, None)?;
            Ok(Shared { purses, store, asked: Mutex::new(asked), skew: Mutex::default() })
        });
        Ok(Self { state: Mutex::new(budget::Purse::new(ceiling, warn_at)), shared: shared.transpose()? })
    }

    /// Sets the ceilings; None for any amount.
    #[pyo3(signature = (*, pico_usd = None, tokens = None, calls = None))]
    fn set_ceiling(
        &self,
        py: Python<'_>,
        pico_usd: Option<u64>,
        tokens: Option<u64>,
        calls: Option<u64>,
    ) -> PyResult<()> {
        let ceiling = Ceiling { pico_usd, tokens, calls };
        if let Some(shared) = &self.shared {
            let asked = Asked { ceiling, ..shared.asked.lock().clone() };
            shared.step(py, |purses| purses.set_ceiling(&asked))?;
            shared.asked.lock().ceiling = ceiling;
        }
        self.state.lock().set_ceiling(ceiling);
        Ok(())
    }

    /// Begins the window from `start` up to `end`, in seconds since the epoch.
    fn begin(&self, py: Python<'_>, start: f64, end: f64) -> PyResult<()> {
        if start.is_nan() || end.is_nan() || end <= start {
            return Err(raise(py, Error::invalid("end", "a moment after the start", end)));
        }
        if let Some(shared) = &self.shared {
            shared.asked.lock().window = Window { start, end };
        }
        self.state.lock().begin(Window { start, end });
        Ok(())
    }

    /// Adds what was taken without a reservation.
    #[pyo3(signature = (pico_usd = 0, tokens = 0, calls = 0))]
    fn charge(&self, py: Python<'_>, pico_usd: u64, tokens: u64, calls: u64) -> PyResult<()> {
        let taken = Outlay { pico_usd, tokens, calls };
        if let Some(shared) = &self.shared {
            let asked = shared.asked.lock().clone();
            let now = if asked.window == Window::EVER { 0.0 } else { asked.window.start };
            shared.step(py, |purses| purses.charge(&asked, taken, now))?;
        }
        self.state.lock().charge(taken);
        Ok(())
    }

    /// Forgets what is reserved; for a forked child. What is in a store stays the parent's.
    fn forget_reserved(&self) {
        if self.shared.is_none() {
            self.state.lock().forget_reserved();
        }
    }

    /// Looks how a purse in a store stands now.
    fn refresh(&self, py: Python<'_>) -> PyResult<()> {
        let Some(shared) = &self.shared else { return Ok(()) };
        let asked = shared.asked.lock().clone();
        let found = shared.step(py, |purses| purses.read(&asked))?;
        *self.state.lock() = found;
        Ok(())
    }

    /// Whether all processes of a store share it.
    #[getter]
    const fn is_shared(&self) -> bool {
        self.shared.is_some()
    }

    /// Whether asking for it may take longer than an event loop should stand still.
    #[getter]
    pub(super) fn is_remote(&self) -> bool {
        self.shared.as_ref().is_some_and(|shared| shared.purses.is_remote())
    }

    /// How far the clock that its windows go by is ahead of this machine's, in seconds.
    #[getter]
    fn skew(&self) -> f64 {
        self.shared.as_ref().map_or(0.0, |shared| *shared.skew.lock())
    }

    /// Ceilings, what is spent and reserved, and the end of the window, by name; in a store, as last seen.
    fn state<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let purse = self.state.lock().clone();
        let state = PyDict::new(py);
        let (ceiling, spent, reserved) = (purse.ceiling(), purse.spent(), purse.reserved());
        state.set_item("limit", (ceiling.pico_usd, ceiling.tokens, ceiling.calls))?;
        state.set_item("spent", (spent.pico_usd, spent.tokens, spent.calls))?;
        state.set_item("reserved", (reserved.pico_usd, reserved.tokens, reserved.calls))?;
        let Window { start, end } = purse.window();
        state.set_item("window", if end.is_finite() { Some((start, end)) } else { None })?;
        Ok(state)
    }
}

impl Shared {
    fn step<T: Send>(
        &self,
        py: Python<'_>,
        step: impl FnOnce(&dyn Purses) -> Result<T> + Send,
    ) -> PyResult<T> {
        attached_or_not(py, &*self.purses, step).map_err(|error| raise(py, error))
    }

    /// What to ask for at `now`; None if the window has to be worked out first.
    pub(super) fn ask(&self, now: f64) -> Option<Asked> {
        let asked = self.asked.lock();
        asked.window.contains(now + *self.skew.lock()).then(|| asked.clone())
    }
}

/// A step of a store that is here takes microseconds; for another one the interpreter is let go.
pub(super) fn attached_or_not<T: Send>(
    py: Python<'_>,
    purses: &dyn Purses,
    step: impl FnOnce(&dyn Purses) -> Result<T> + Send,
) -> Result<T> {
    if purses.is_remote() { py.detach(|| step(purses)) } else { step(purses) }
}
