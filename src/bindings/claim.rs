//! What a lease object does: asks, waits, holds, ends. Its state is under a lock that is never held across a call into Python.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use pyo3::exceptions::PyTypeError;
use pyo3::intern;
use pyo3::prelude::*;

use super::convert::{lease_error, raise};
use super::engine::{Ask, Ending, Grant, Place, Start};
use super::hub::{Hub, forks};
use super::loops::{Driver, running_loop};
use super::threads;
use super::waiter::{Waiter, Wake};
use crate::clock::Time;
use crate::error::{Ended, Error, Result};
use crate::pace::{Setback, Told};
use crate::quota::Amounts;

struct Wait {
    waiter: Arc<Waiter>,
    place: Place,
    since: Time,
    driver: Option<Arc<Driver>>,
}

enum Phase {
    New,
    /// In a box, for most claims never wait.
    Waiting(Box<Wait>),
    Held(Grant),
    Ended(&'static str),
}

/// What came of asking.
enum Asked {
    Held,
    Waits,
    /// Polling will tell.
    MaybeNow,
}

struct State {
    phase: Phase,
    waited: Duration,
    /// When the call first came, as far as anybody needs to know.
    arrived: Option<Time>,
    forks: u64,
}

/// A claim on a quota, through all its life.
pub(super) struct Claim {
    hub: Arc<Hub>,
    ask: Ask,
    timeout: Option<Duration>,
    state: Mutex<State>,
    /// Whether it has ended: then closing it, which every `with` does, need not look any closer.
    is_over: AtomicBool,
}

impl Claim {
    pub(super) fn new(hub: Arc<Hub>, ask: Ask, timeout: Option<Duration>) -> Self {
        Self::in_phase(hub, ask, timeout, Phase::New)
    }

    /// A claim that is held already.
    ///
    /// # Errors
    /// `QuotaExceeded` if it would have to wait.
    pub(super) fn held(py: Python<'_>, hub: Arc<Hub>, ask: Ask) -> Result<Self> {
        let grant = hub.try_start(py, &ask)?;
        Ok(Self::in_phase(hub, ask, None, Phase::Held(grant)))
    }

    /// A claim for another attempt of the same call, with its place in the queue and what it has not waited yet, or less.
    pub(super) fn again(&self, within: Option<Duration>) -> Self {
        let (arrived, waited) = {
            let state = self.state.lock();
            (state.arrived, state.waited)
        };
        let left = self.timeout.map(|timeout| timeout.saturating_sub(waited));
        let timeout = [left, within].into_iter().flatten().min();
        let claim = Self::new(self.hub.clone(), self.ask.clone(), timeout);
        claim.state.lock().arrived = arrived;
        claim
    }

    fn in_phase(hub: Arc<Hub>, ask: Ask, timeout: Option<Duration>, phase: Phase) -> Self {
        let state = State { phase, waited: Duration::ZERO, arrived: None, forks: forks() };
        Self { hub, ask, timeout, state: Mutex::new(state), is_over: AtomicBool::new(false) }
    }

    /// Asks, unless it is held; tells whether it is held now.
    ///
    /// # Errors
    /// A `LeaseError` if it is over, or if somebody waits for it already.
    pub(super) fn begin(&self, py: Python<'_>) -> PyResult<bool> {
        self.hub.prepare(py);
        let asked = {
            let mut state = self.state.lock();
            match &state.phase {
                Phase::New => self.ask_engine(&mut state),
                Phase::Held(_) => return Ok(true),
                Phase::Waiting(_) => {
                    drop(state);
                    return Err(waited_for(py));
                }
                Phase::Ended(how) => {
                    let text = format!("a lease is used once, and this one was {how}: acquire() another");
                    drop(state);
                    return Err(lease_error(py, &text));
                }
            }
        };
        match asked {
            Ok(Asked::Held) => return Ok(true),
            Ok(Asked::MaybeNow) => self.hub.pump(py),
            Ok(Asked::Waits) => {}
            Err(error) => return Err(raise(py, error)),
        }
        self.collect(py)
    }

    fn ask_engine(&self, state: &mut State) -> Result<Asked> {
        let engine = &self.hub.engine;
        state.forks = forks();
        let place = state.arrived;
        let since = self.timeout.map(|_| engine.now());
        state.arrived = place.or(since);
        let deadline = since.zip(self.timeout).map(|(since, timeout)| since + timeout);
        let mut waiter = None;
        let start = engine.start(&self.ask, deadline, place, || waiter.insert(Waiter::new()).clone());
        let (phase, answer) = match start {
            Ok(Start::Now(grant)) => (Phase::Held(grant), Ok(Asked::Held)),
            Ok(Start::Later { place, poll_now }) => {
                let waiter = waiter.expect("whoever is queued has a waiter");
                let since = since.unwrap_or_else(|| engine.now());
                let wait = Wait { waiter, place, since, driver: None };
                let answer = if poll_now { Asked::MaybeNow } else { Asked::Waits };
                (Phase::Waiting(Box::new(wait)), Ok(answer))
            }
            Err(error) => (Phase::Ended("refused"), Err(error)),
        };
        state.phase = phase;
        answer
    }

    /// Whether somebody waits for it.
    pub(super) fn is_waiting(&self) -> bool {
        matches!(self.state.lock().phase, Phase::Waiting(_))
    }

    /// Goes on after the wait for the future.
    ///
    /// # Errors
    /// Why it was refused, or a `LeaseError` if nothing has come yet: then it is somebody else who waits.
    pub(super) fn resume(&self, py: Python<'_>) -> PyResult<()> {
        if self.collect(py)? { Ok(()) } else { Err(waited_for(py)) }
    }

    /// Takes what came of the wait; tells whether it is held now.
    fn collect(&self, py: Python<'_>) -> PyResult<bool> {
        let result = match &self.state.lock().phase {
            Phase::Waiting(wait) => wait.waiter.collect(),
            Phase::Held(_) => return Ok(true),
            Phase::New | Phase::Ended(_) => return Ok(false),
        };
        let Some(result) = result else { return Ok(false) };
        let now = self.hub.engine.now();
        let (phase, answer) = match result {
            Ok(grant) => (Phase::Held(grant), Ok(true)),
            Err(error) => (Phase::Ended("refused"), Err(error)),
        };
        let before = std::mem::replace(&mut self.state.lock().phase, phase);
        if let Phase::Waiting(wait) = before {
            self.state.lock().waited = now.since(wait.since);
            leave(py, &wait);
        }
        answer.map_err(|error| raise(py, error))
    }

    /// Parks this thread until it is held.
    pub(super) fn park(&self, py: Python<'_>) -> PyResult<()> {
        let waiter = match &self.state.lock().phase {
            Phase::Waiting(wait) => wait.waiter.clone(),
            _ => return Ok(()),
        };
        threads::park(py, &self.hub, &waiter).inspect_err(|_| self.abandon(py))?;
        self.collect(py).map(drop)
    }

    /// The future for which the running task waits.
    ///
    /// # Errors
    /// If another task or thread waits for this lease already, or no loop runs here.
    pub(super) fn future<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let running = running_loop(py).ok_or_else(|| {
            PyTypeError::new_err("await a lease in a task of a running asyncio event loop, or use wait()")
        })?;
        let future = running.call_method0(intern!(py, "create_future"))?;
        // What asyncio.Future.__await__ does before it yields itself to the task.
        future.setattr(intern!(py, "_asyncio_future_blocking"), true)?;
        let driver = self.hub.driver(&running);
        let waiter = match &mut self.state.lock().phase {
            Phase::Waiting(wait) if wait.driver.is_none() => {
                wait.driver = Some(driver.clone());
                Some(wait.waiter.clone())
            }
            _ => None,
        };
        let waiter = waiter.ok_or_else(|| waited_for(py))?;
        driver.enter();
        waiter.set_wake(Wake::Loop(driver, future.clone().unbind()));
        if waiter.is_done() {
            future.call_method1(intern!(py, "set_result"), (py.None(),))?;
        }
        self.hub.arm(py, self.hub.engine.wake_at());
        Ok(future)
    }

    /// Gives up waiting; what comes nevertheless is handed on.
    pub(super) fn abandon(&self, py: Python<'_>) {
        let (wait, is_own) = {
            let mut state = self.state.lock();
            match std::mem::replace(&mut state.phase, Phase::Ended("cancelled")) {
                Phase::Waiting(wait) => (wait, state.forks == forks()),
                other => {
                    state.phase = other;
                    return;
                }
            }
        };
        if is_own {
            drop(self.hub.engine.cancel(&wait.place));
            if let Some(Ok(grant)) = wait.waiter.abandon() {
                self.hub.hand_on(py, grant);
            }
            leave(py, &wait);
            self.hub.given_back(py);
        }
    }

    /// Ends a held lease.
    pub(super) fn end(&self, py: Python<'_>, how: &'static str, ending: &Ending<'_>) -> PyResult<()> {
        let ended = {
            let mut state = self.state.lock();
            match &state.phase {
                // The parent of a fork holds it and will end it; this process was given a clean slate.
                Phase::Held(_) if state.forks != forks() => {
                    state.phase = Phase::Ended(how);
                    return Ok(());
                }
                Phase::Held(grant) => {
                    self.is_over.store(true, Ordering::Relaxed);
                    let ended = self.hub.engine.end(grant, ending);
                    if let Ok(Some(granted_at)) = ended {
                        let waited = u64::try_from(state.waited.as_nanos()).unwrap_or(u64::MAX);
                        let came = Time::from_nanos(granted_at.nanos().saturating_sub(waited));
                        state.arrived = state.arrived.or(Some(came));
                    }
                    let is_expired = matches!(ended, Err(Error::LeaseEnded(_)));
                    state.phase = Phase::Ended(if is_expired { "expired" } else { how });
                    ended
                }
                phase => {
                    let text = not_held(phase);
                    drop(state);
                    return Err(lease_error(py, &text));
                }
            }
        };
        self.hub.given_back(py);
        ended.map(drop).map_err(|error| raise(py, of_held(error)))
    }

    /// Takes over what the answer to the call tells of the provider's limits.
    pub(super) fn learn(&self, py: Python<'_>, told: &[Told]) -> PyResult<bool> {
        let has_changed = self.while_held(py, |grant| self.hub.engine.learn(grant, told))?;
        self.hub.given_back(py);
        Ok(has_changed)
    }

    /// Ends it whatever its state: a held lease keeps what was reserved, a waiting one gives up.
    pub(super) fn close(&self, py: Python<'_>) -> PyResult<()> {
        if self.is_over.load(Ordering::Relaxed) {
            return Ok(());
        }
        let is_held = match &self.state.lock().phase {
            Phase::New | Phase::Ended(_) => return Ok(()),
            Phase::Waiting(_) => false,
            Phase::Held(_) => true,
        };
        if !is_held {
            self.abandon(py);
            return Ok(());
        }
        // A lease that expired unsettled has lost its permit already, which is all that closing is for.
        self.end(py, "closed", &Ending::Failed(None, Setback::Other))
            .or_else(|error| if self.name() == "expired" { Ok(()) } else { Err(error) })
    }

    /// Sets the expiry anew.
    pub(super) fn renew(&self, py: Python<'_>) -> PyResult<()> {
        self.while_held(py, |grant| self.hub.engine.renew(grant).map(|()| false)).map(drop)
    }

    fn while_held(&self, py: Python<'_>, act: impl FnOnce(&Grant) -> Result<bool>) -> PyResult<bool> {
        let done = {
            let state = self.state.lock();
            match &state.phase {
                Phase::Held(_) if state.forks != forks() => return Ok(false),
                Phase::Held(grant) => Ok(act(grant)),
                phase => Err(not_held(phase)),
            }
        };
        match done {
            Ok(done) => done.map_err(|error| raise(py, of_held(error))),
            Err(text) => Err(lease_error(py, &text)),
        }
    }

    /// What was asked for.
    pub(super) fn reserved(&self) -> Amounts {
        match &self.ask {
            Ask::Limiter { amounts, .. } => *amounts,
            Ask::Throttle { .. } => Amounts { requests: 1, ..Amounts::default() },
        }
    }

    /// The name of its state.
    pub(super) fn name(&self) -> &'static str {
        match &self.state.lock().phase {
            Phase::New => "new",
            Phase::Waiting(_) => "waiting",
            Phase::Held(_) => "held",
            Phase::Ended(how) => how,
        }
    }

    /// How long it waited.
    pub(super) fn waited(&self) -> Duration {
        self.state.lock().waited
    }

    /// Whether ending it would change anything.
    pub(super) fn is_live(&mut self) -> bool {
        !matches!(self.state.get_mut().phase, Phase::New | Phase::Ended(_))
    }
}

/// What is held and yet over can only have expired, however long ago.
fn of_held(error: Error) -> Error {
    if let Error::LeaseEnded(_) = error { Error::LeaseEnded(Ended::Expired) } else { error }
}

fn waited_for(py: Python<'_>) -> PyErr {
    lease_error(py, "a lease is waited for once, and somebody does already: acquire() another")
}

fn leave(py: Python<'_>, wait: &Wait) {
    if let Some(driver) = &wait.driver {
        driver.leave(py);
    }
}

fn not_held(phase: &Phase) -> String {
    match phase {
        Phase::New => {
            "this lease is not held yet: enter it with `with`, `async with`, `await` or wait()".into()
        }
        Phase::Waiting(_) => "this lease is not held yet: somebody waits for it".into(),
        Phase::Held(_) => "this lease is held".into(),
        Phase::Ended(how) => format!("this lease is over: it was {how}"),
    }
}
