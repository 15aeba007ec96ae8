//! `Hold`: what a call has reserved in all its budgets together, and settles once. Some of them may be kept in a store.

use parking_lot::Mutex;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use super::budget::{Purse, Shared, attached_or_not};
use super::convert::{lease_error, raise, undisturbed};
use super::hub::forks;
use crate::budget::{self, Outlay, Verdict};
use crate::error::{Error, Result};
use crate::store::purses::{Answer, Asked, Claimed};

/// Held while the purses of a call that are kept here are looked at together; never across a call into Python or a store.
static TOGETHER: Mutex<()> = Mutex::new(());

/// A purse and its place among those of the call.
type Placed = (usize, Py<Purse>);

/// What a call holds of its budgets, until it is settled; one that is dropped keeps what it reserved.
#[pyclass(frozen, module = "ratekeeper._core")]
pub(super) struct Hold {
    /// The purses kept here, with their turns and places.
    here: Vec<(usize, Py<Purse>, u64)>,
    /// Those in a store, with their places.
    there: Option<(Vec<Placed>, Claimed)>,
    reserved: Outlay,
    is_open: Mutex<bool>,
    forks: u64,
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
        let warned = self.end(py, Outlay { pico_usd, tokens, calls }).map_err(|error| raise(py, error))?;
        let Some(warned) = warned else {
            return Err(lease_error(py, "this hold on a budget is over: it was settled before"));
        };
        if warned.is_empty() { Ok(None) } else { PyTuple::new(py, warned).map(Some) }
    }

    /// What was reserved: pico-USD, tokens, calls.
    #[getter]
    const fn reserved(&self) -> (u64, u64, u64) {
        (self.reserved.pico_usd, self.reserved.tokens, self.reserved.calls)
    }

    /// Whether to settle it may take longer than an event loop should stand still.
    #[getter]
    fn is_remote(&self) -> bool {
        let first = self.there.as_ref().and_then(|(purses, _)| purses.first());
        first.is_some_and(|(_, purse)| purse.get().is_remote())
    }
}

impl Hold {
    /// Settles it in the store first: what could not be reached there is settled nowhere, and can be again.
    fn end(&self, py: Python<'_>, taken: Outlay) -> Result<Option<Vec<usize>>> {
        if !std::mem::replace(&mut *self.is_open.lock(), false) {
            return Ok(None);
        }
        let mut warned = match self.end_there(py, taken) {
            Ok(warned) => warned,
            Err(error) => {
                *self.is_open.lock() = true;
                return Err(error);
            }
        };
        let _together = TOGETHER.lock();
        let settled = self.here.iter();
        let settled =
            settled.filter(|(_, purse, turn)| purse.get().state.lock().settle(self.reserved, taken, *turn));
        warned.extend(settled.map(|(place, ..)| *place));
        warned.sort_unstable();
        Ok(Some(warned))
    }

    fn end_there(&self, py: Python<'_>, taken: Outlay) -> Result<Vec<usize>> {
        // In a forked child it is the parent's.
        let Some((purses, claimed)) = self.there.as_ref().filter(|_| self.forks == forks()) else {
            return Ok(Vec::new());
        };
        let shared: Vec<&Shared> =
            purses.iter().filter_map(|(_, purse)| purse.get().shared.as_ref()).collect();
        let Some(first) = shared.first() else { return Ok(Vec::new()) };
        let asked: Vec<Asked> = shared.iter().map(|shared| shared.asked.lock().clone()).collect();
        let settled =
            attached_or_not(py, &*first.purses, |store| store.settle(&asked, claimed, self.reserved, taken))?;
        let mut warned = Vec::new();
        for ((place, purse), (is_warned, state)) in purses.iter().zip(settled) {
            *purse.get().state.lock() = state;
            warned.extend(is_warned.then_some(*place));
        }
        Ok(warned)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        // Nobody knows what it took: it may have been all. What a store does not hear of stays reserved there.
        Python::attach(|py| undisturbed(py, || drop(self.end(py, self.reserved))));
    }
}

/// The purses of a claim: those kept here, and those in a store.
struct Claim<'py> {
    here: Vec<(usize, Bound<'py, Purse>)>,
    there: Vec<(usize, Bound<'py, Purse>)>,
    asked: Outlay,
    now: f64,
}

/// Why nothing is reserved: the place, and the verdict.
type Refusal = (usize, Verdict);

impl<'py> Claim<'py> {
    fn of(purses: &Bound<'py, PyTuple>, asked: Outlay, now: f64) -> PyResult<Self> {
        let py = purses.py();
        let purses: Vec<Bound<'_, Purse>> = purses
            .iter()
            .map(|purse| purse.cast_into::<Purse>().map_err(PyErr::from))
            .collect::<PyResult<_>>()?;
        let is_twice =
            |(place, purse): (usize, &Bound<'_, Purse>)| purses[..place].iter().any(|other| other.is(purse));
        if purses.iter().enumerate().any(is_twice) {
            return Err(raise(py, Error::invalid("purses", "each purse once", "one of them twice")));
        }
        let (there, here): (Vec<_>, Vec<_>) =
            purses.into_iter().enumerate().partition(|(_, purse)| purse.get().shared.is_some());
        let store = |(_, purse): &(usize, Bound<'_, Purse>)| {
            purse.get().shared.as_ref().map(|shared| shared.store.clone())
        };
        if there.windows(2).any(|two| store(&two[0]) != store(&two[1])) {
            return Err(raise(py, Error::invalid("purses", "those of one store", "those of several")));
        }
        Ok(Self { here, there, asked, now })
    }

    /// Takes from those that are kept here; their turns, or why not.
    fn take_here(&self) -> std::result::Result<Vec<u64>, Refusal> {
        let _together = TOGETHER.lock();
        let mut locked: Vec<_> = self.here.iter().map(|(_, purse)| purse.get().state.lock()).collect();
        let mut open: Vec<&mut budget::Purse> = locked.iter_mut().map(|purse| &mut **purse).collect();
        budget::reserve_all(&mut open, self.asked, self.now)
            .map_err(|(place, verdict)| (self.here[place].0, verdict))?;
        Ok(open.iter().map(|purse| purse.turn()).collect())
    }

    fn give_back_here(&self, turns: &[u64]) {
        let _together = TOGETHER.lock();
        for ((_, purse), turn) in self.here.iter().zip(turns) {
            purse.get().state.lock().settle(self.asked, Outlay::default(), *turn);
        }
    }

    /// What to ask of the store, or the place of the purse whose window has to be worked out first.
    fn ask(&self) -> std::result::Result<Vec<Asked>, Refusal> {
        let shared = self.there.iter();
        shared
            .filter_map(|(place, purse)| Some((place, purse.get().shared.as_ref()?)))
            .map(|(place, shared)| shared.ask(self.now).ok_or((*place, Verdict::Turns)))
            .collect()
    }

    fn take_there(&self, py: Python<'_>, asked: &[Asked]) -> Result<std::result::Result<Claimed, Refusal>> {
        let Some(first) = self.there.first().and_then(|(_, purse)| purse.get().shared.as_ref()) else {
            return Ok(Ok(Claimed { process: 0, turns: Vec::new() }));
        };
        let now = self.now + *first.skew.lock();
        let outlay = self.asked;
        let answer = attached_or_not(py, &*first.purses, |store| store.claim(asked, outlay, now))?;
        let shared = self.there.iter().filter_map(|(_, purse)| purse.get().shared.as_ref());
        Ok(match answer {
            Answer::Held(claimed) => {
                shared.for_each(|shared| shared.asked.lock().is_first_word = false);
                Ok(claimed)
            }
            Answer::Refused(place, verdict, state) => {
                shared.for_each(|shared| shared.asked.lock().is_first_word = false);
                let (place, purse) = &self.there[place];
                *purse.get().state.lock() = *state;
                Err((*place, verdict))
            }
            Answer::Elsewhen(place, store_now) => {
                shared.for_each(|shared| *shared.skew.lock() = store_now - self.now);
                Err((self.there[place].0, Verdict::Turns))
            }
        })
    }

    fn take(&self, py: Python<'_>) -> Result<std::result::Result<Hold, Refusal>> {
        let asked = match self.ask() {
            Ok(asked) => asked,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let turns = match self.take_here() {
            Ok(turns) => turns,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let taken = self.take_there(py, &asked);
        if !matches!(taken, Ok(Ok(_))) {
            self.give_back_here(&turns);
        }
        Ok(taken?.map(|claimed| self.hold(&turns, claimed)))
    }

    fn hold(&self, turns: &[u64], claimed: Claimed) -> Hold {
        let here = self.here.iter().zip(turns);
        let there = self.there.iter().map(|(place, purse)| (*place, purse.clone().unbind()));
        Hold {
            here: here.map(|((place, purse), turn)| (*place, purse.clone().unbind(), *turn)).collect(),
            there: (!self.there.is_empty()).then(|| (there.collect(), claimed)),
            reserved: self.asked,
            is_open: Mutex::new(true),
            forks: forks(),
        }
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
    let claim = Claim::of(purses, Outlay { pico_usd, tokens, calls }, now)?;
    match claim.take(py).map_err(|error| raise(py, error))? {
        Ok(hold) => Ok(Bound::new(py, hold)?.into_any()),
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
