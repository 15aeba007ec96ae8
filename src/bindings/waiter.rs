//! One waiting call: what came of it, and how its caller is woken.
//! Holds no place in any queue; the engine holds the waiter.

use std::sync::Arc;

use parking_lot::Mutex;
use pyo3::prelude::*;

use super::engine::Grant;
use super::loops::Driver;
use super::threads::Parker;
use crate::error::Result;

/// How a caller is woken.
pub(super) enum Wake {
    /// It is about to wait, and looks for itself first.
    NotYet,
    /// A thread that is parked.
    Thread(Parker),
    /// A task that waits for this future of that loop.
    Loop(Arc<Driver>, Py<PyAny>),
}

enum Outcome {
    Pending,
    Done(Result<Grant>),
    /// Its caller has gone; what still comes is handed on.
    Gone,
}

struct State {
    wake: Wake,
    outcome: Outcome,
}

/// One waiting call.
pub(super) struct Waiter(Mutex<State>);

impl Waiter {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(State { wake: Wake::NotYet, outcome: Outcome::Pending })))
    }

    pub(super) fn set_wake(&self, wake: Wake) {
        let before = std::mem::replace(&mut self.0.lock().wake, wake);
        drop(before);
    }

    pub(super) fn is_done(&self) -> bool {
        matches!(self.0.lock().outcome, Outcome::Done(_))
    }

    /// Takes what came of it, if anything has come.
    pub(super) fn collect(&self) -> Option<Result<Grant>> {
        let mut state = self.0.lock();
        match std::mem::replace(&mut state.outcome, Outcome::Gone) {
            Outcome::Done(result) => Some(result),
            other => {
                state.outcome = other;
                None
            }
        }
    }

    /// Says that nobody waits any more, and takes what had come.
    pub(super) fn abandon(&self) -> Option<Result<Grant>> {
        match std::mem::replace(&mut self.0.lock().outcome, Outcome::Gone) {
            Outcome::Done(result) => Some(result),
            Outcome::Pending | Outcome::Gone => None,
        }
    }

    /// Tells the caller; gives the result back if nobody is there to take it.
    pub(super) fn complete(
        self: &Arc<Self>,
        py: Python<'_>,
        result: Result<Grant>,
    ) -> std::result::Result<(), Result<Grant>> {
        let told = {
            let mut state = self.0.lock();
            if let Outcome::Gone = state.outcome {
                return Err(result);
            }
            state.outcome = Outcome::Done(result);
            match &state.wake {
                Wake::NotYet => return Ok(()),
                Wake::Thread(parker) => Wake::Thread(parker.clone_ref(py)),
                Wake::Loop(driver, future) => Wake::Loop(driver.clone(), future.clone_ref(py)),
            }
        };
        let is_reached = match told {
            Wake::NotYet => true,
            Wake::Thread(parker) => {
                parker.unpark(py);
                true
            }
            Wake::Loop(driver, future) => driver.deliver(py, self, future),
        };
        if is_reached {
            return Ok(());
        }
        // The future leads to the task, and the task to the lease that waits: let go of it, or none of them is ever collected.
        self.set_wake(Wake::NotYet);
        self.abandon().map_or(Ok(()), Err)
    }

    /// Makes a parked thread look around, though nothing has come for it.
    pub(super) fn nudge(&self, py: Python<'_>) {
        let parker = match &self.0.lock().wake {
            Wake::Thread(parker) => parker.clone_ref(py),
            Wake::NotYet | Wake::Loop(..) => return,
        };
        parker.unpark(py);
    }
}
