//! `Purse` and `Hold`: budgets of a call, reserved together and settled once.

use parking_lot::Mutex;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::convert::{lease_error, raise, undisturbed};
use crate::budget::{self, Ceiling, Outlay, Verdict, Window};
use crate::error::Error;

/// Held while the purses of a call are looked at together; never across a call into Python.
static TOGETHER: Mutex<()> = Mutex::new(());

/// One budget under one set of tags.
#[pyclass(frozen, subclass, weakref, module = "ratekeeper._core")]
pub(super) struct Purse(Mutex<budget::Purse>);

#[pymethods]
impl Purse {
    #[new]
    #[pyo3(signature = (*, pico_usd = None, tokens = None, calls = None, warn_at = 1.0))]
    fn new(pico_usd: Option<u64>, tokens: Option<u64>, calls: Option<u64>, warn_at: f64) -> Self {
        Self(Mutex::new(budget::Purse::new(Ceiling { pico_usd, tokens, calls }, warn_at)))
    }

    /// Sets the ceilings; None for any amount.
    #[pyo3(signature = (*, pico_usd = None, tokens = None, calls = None))]
    fn set_ceiling(&self, pico_usd: Option<u64>, tokens: Option<u64>, calls: Option<u64>) {
        self.0.lock().set_ceiling(Ceiling { pico_usd, tokens, calls });
    }

    /// Begins the window from `start` up to `end`, in seconds since the epoch.
    fn begin(&self, py: Python<'_>, start: f64, end: f64) -> PyResult<()> {
        if start.is_nan() || end.is_nan() || end <= start {
            return Err(raise(py, Error::invalid("end", "a moment after the start", end)));
        }
        self.0.lock().begin(Window { start, end });
        Ok(())
    }

    /// Adds what was taken without a reservation.
    #[pyo3(signature = (pico_usd = 0, tokens = 0, calls = 0))]
    fn charge(&self, pico_usd: u64, tokens: u64, calls: u64) {
        self.0.lock().charge(Outlay { pico_usd, tokens, calls });
    }

    /// Forgets what is reserved; for a forked child.
    fn forget_reserved(&self) {
        self.0.lock().forget_reserved();
    }

    /// Ceilings, what is spent and reserved, and the end of the window, by name.
    fn state<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let purse = self.0.lock().clone();
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

/// What a call holds of its budgets, until it is settled; one that is dropped keeps what it reserved.
#[pyclass(frozen, module = "ratekeeper._core")]
pub(super) struct Hold {
    purses: Vec<(Py<Purse>, u64)>,
    reserved: Outlay,
    is_open: Mutex<bool>,
}

#[pymethods]
impl Hold {
    /// Replaces the reservation by what was taken; the places of the purses that are now past their warning.
    #[pyo3(signature = (pico_usd, tokens, calls))]
    fn settle<'py>(
        &self,
        py: Python<'py>,
        pico_usd: u64,
        tokens: u64,
        calls: u64,
    ) -> PyResult<Option<Bound<'py, PyTuple>>> {
        let Some(warned) = self.end(Outlay { pico_usd, tokens, calls }) else {
            return Err(lease_error(py, "this hold on a budget is over: it was settled before"));
        };
        if warned.is_empty() { Ok(None) } else { PyTuple::new(py, warned).map(Some) }
    }

    /// What was reserved: pico-USD, tokens, calls.
    #[getter]
    const fn reserved(&self) -> (u64, u64, u64) {
        (self.reserved.pico_usd, self.reserved.tokens, self.reserved.calls)
    }
}

impl Hold {
    fn end(&self, taken: Outlay) -> Option<Vec<usize>> {
        if !std::mem::replace(&mut *self.is_open.lock(), false) {
            return None;
        }
        let _together = TOGETHER.lock();
        let settled = self.purses.iter().enumerate();
        let warned =
            settled.filter(|(_, (purse, turn))| purse.get().0.lock().settle(self.reserved, taken, *turn));
        Some(warned.map(|(place, _)| place).collect())
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        // Nobody knows what it took: it may have been all.
        Python::attach(|py| undisturbed(py, || drop(self.end(self.reserved))));
    }
}

/// Reserves in all of the purses or in none: a `Hold`, or the place of the purse without room and what it lacks.
#[pyfunction]
#[pyo3(signature = (purses, pico_usd, tokens, calls, now))]
pub(super) fn reserve<'py>(
    py: Python<'py>,
    purses: &Bound<'py, PyTuple>,
    pico_usd: u64,
    tokens: u64,
    calls: u64,
    now: f64,
) -> PyResult<Bound<'py, PyAny>> {
    let asked = Outlay { pico_usd, tokens, calls };
    let purses: Vec<Bound<'_, Purse>> = purses
        .iter()
        .map(|purse| purse.cast_into::<Purse>().map_err(PyErr::from))
        .collect::<PyResult<_>>()?;
    let is_twice =
        |(place, purse): (usize, &Bound<'_, Purse>)| purses[..place].iter().any(|other| other.is(purse));
    if purses.iter().enumerate().any(is_twice) {
        return Err(raise(py, Error::invalid("purses", "each purse once", "one of them twice")));
    }
    let together = TOGETHER.lock();
    let mut locked: Vec<_> = purses.iter().map(|purse| purse.get().0.lock()).collect();
    let mut open: Vec<&mut budget::Purse> = locked.iter_mut().map(|purse| &mut **purse).collect();
    let reserved = budget::reserve_all(&mut open, asked, now);
    let turns: Vec<u64> = open.iter().map(|purse| purse.turn()).collect();
    drop(locked);
    drop(together);
    match reserved {
        Ok(()) => {
            let purses = purses.into_iter().map(Bound::unbind).zip(turns).collect();
            Ok(Bound::new(py, Hold { purses, reserved: asked, is_open: Mutex::new(true) })?.into_any())
        }
        Err((place, verdict)) => {
            let (why, measure) = match verdict {
                Verdict::Fits | Verdict::Turns => ("turns", ""),
                Verdict::Waits(measure) => ("waits", measure.name()),
                Verdict::Exceeded(measure) => ("exceeded", measure.name()),
            };
            Ok((place, why, measure).into_pyobject(py)?.into_any())
        }
    }
}
