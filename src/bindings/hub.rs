//! An engine with all who wait for it: threads and any number of event loops.
//! It wakes them and keeps the timers; who is next is the engine's decision.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::agent::Agent;
use super::engine::{Ask, Engine, Grant};
use super::loops::{Driver, running_loop};
use super::stores;
use super::threads::Parked;
use crate::clock::Time;
use crate::error::Result;
use crate::store::Remote;

/// How often this process is the child of a fork.
static FORKS: AtomicU64 = AtomicU64::new(0);

/// An engine, its timers and its waiting callers.
pub(super) struct Hub {
    pub(super) engine: Engine,
    pub(super) parked: Mutex<Parked>,
    /// Whether time only moves when told to: then no timer is needed, nor would it help.
    is_manual: bool,
    /// Whether other processes share the engine's state, and have to be told that this one is there.
    is_shared: bool,
    /// Who asks, where the engine's state is a round trip away.
    agent: Option<Agent>,
    drivers: Mutex<HashMap<usize, Arc<Driver>>>,
    forks: AtomicU64,
    me: Weak<Self>,
}

impl Hub {
    pub(super) fn new(engine: Engine, is_manual: bool) -> Arc<Self> {
        Self::sharing(engine, is_manual, false)
    }

    /// A hub whose engine's state other processes share too.
    pub(super) fn sharing(engine: Engine, is_manual: bool, is_shared: bool) -> Arc<Self> {
        let agent = engine.remote().is_some().then(Agent::default);
        Arc::new_cyclic(|me| Self {
            engine,
            agent,
            parked: Mutex::default(),
            is_manual,
            is_shared,
            drivers: Mutex::default(),
            forks: AtomicU64::new(forks()),
            me: me.clone(),
        })
    }

    /// To be called before the engine is asked: does what a fork or a closed event loop has left undone.
    pub(super) fn prepare(&self, py: Python<'_>) {
        self.leave_parent_behind(py);
        self.catch_up(py);
    }

    /// Asks the engine for what can be had at once.
    pub(super) fn try_start(&self, py: Python<'_>, ask: &Ask) -> Result<Grant> {
        self.prepare(py);
        let Some(agent) = &self.agent else { return self.engine.try_start(ask) };
        let started = py.detach(|| self.engine.try_start(ask))?;
        // As long as it is held, somebody has to say that this process is there.
        agent.kick(self);
        Ok(started)
    }

    /// Lets everybody start who can, and sets the timers.
    pub(super) fn pump(&self, py: Python<'_>) {
        self.leave_parent_behind(py);
        if let Some(agent) = &self.agent {
            return agent.kick(self);
        }
        loop {
            let (done, wake_at) = self.engine.poll();
            let undelivered: Vec<Grant> = done
                .into_iter()
                .filter_map(|(waiter, result)| waiter.complete(py, result).err().and_then(Result::ok))
                .collect();
            if undelivered.is_empty() {
                return self.arm(py, wake_at);
            }
            for grant in undelivered {
                self.hand_on(py, grant);
            }
        }
    }

    /// Pumps if anybody waits: something was given back.
    pub(super) fn given_back(&self, py: Python<'_>) {
        // An agent has to tell the store, whoever waits.
        if self.agent.is_some() || self.engine.has_waiting() {
            self.pump(py);
        }
    }

    /// Undoes a grant that nobody took.
    pub(super) fn hand_on(&self, py: Python<'_>, grant: Grant) {
        let mut grant = grant;
        while let Some((waiter, passed_on)) = self.engine.give_back(&grant) {
            match waiter.complete(py, Ok(passed_on)) {
                Err(Ok(refused)) => grant = refused,
                _ => return,
            }
        }
    }

    /// Sets the timers of all event loops, and of the threads, that would look later than `wake_at`.
    pub(super) fn arm(&self, py: Python<'_>, wake_at: Option<Time>) {
        let Some(wake_at) = wake_at.filter(|_| !self.is_manual) else { return };
        let drivers: Vec<Arc<Driver>> = self.drivers.lock().values().cloned().collect();
        if !drivers.is_empty() {
            let running = running_loop(py);
            for driver in drivers {
                driver.look_at(py, wake_at, self.engine.now(), running.as_ref());
            }
        }
        let leader = self.parked.lock().leader_later_than(wake_at);
        if let Some(leader) = leader {
            leader.nudge(py);
        }
    }

    /// The driver of that event loop.
    pub(super) fn driver(&self, event_loop: &Bound<'_, PyAny>) -> Arc<Driver> {
        let mut drivers = self.drivers.lock();
        let driver = drivers.entry(event_loop.as_ptr() as usize);
        driver.or_insert_with(|| Driver::new(event_loop.clone().unbind(), self.me.clone())).clone()
    }

    /// Forgets a driver for which nobody waits.
    pub(super) fn dismiss(&self, driver: &Driver) -> Option<Arc<Driver>> {
        self.drivers.lock().remove(&driver.key())
    }

    /// Who asks, where the engine's state is a round trip away.
    pub(super) fn agent(&self) -> Option<&Agent> {
        self.agent.as_ref()
    }

    /// The store that it asks.
    pub(super) fn remote(&self) -> Option<&dyn Remote> {
        self.engine.remote()
    }

    pub(super) fn weak(&self) -> Weak<Self> {
        self.me.clone()
    }

    /// Whether time only moves when told to.
    pub(super) fn is_manual(&self) -> bool {
        self.is_manual
    }

    /// In the child of a fork: who waits and what is held are the parent's, and stay behind.
    pub(super) fn leave_parent_behind(&self, py: Python<'_>) {
        if self.forks.load(Ordering::Relaxed) != forks() {
            self.start_anew(py);
        }
    }

    #[cold]
    fn start_anew(&self, py: Python<'_>) {
        self.forks.store(forks(), Ordering::Relaxed);
        let waiters = self.engine.forget();
        let drivers = std::mem::take(&mut *self.drivers.lock());
        let parked = std::mem::take(&mut *self.parked.lock());
        drop((waiters, drivers, parked));
        if self.is_shared {
            stores::keep_pulse(py);
        }
    }

    /// Pumps if that is overdue, as when the event loop that should have done it was closed.
    fn catch_up(&self, py: Python<'_>) {
        if self.engine.has_waiting()
            && self.engine.wake_at().is_some_and(|wake_at| wake_at <= self.engine.now())
        {
            self.pump(py);
        }
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        if let (Some(agent), Some(remote)) = (&mut self.agent, self.engine.remote()) {
            agent.release(remote);
        }
    }
}

/// Which process of a line of forks this is.
pub(super) fn forks() -> u64 {
    FORKS.load(Ordering::Relaxed)
}

#[pyfunction]
fn _after_fork_in_child() {
    FORKS.fetch_add(1, Ordering::Relaxed);
}

/// Has the interpreter tell us of forks.
pub(super) fn forget_parent_after_fork(py: Python<'_>) -> PyResult<()> {
    let os = py.import(intern!(py, "os"))?;
    if let Some(register) = os.getattr_opt(intern!(py, "register_at_fork"))? {
        let arguments = PyDict::new(py);
        arguments.set_item("after_in_child", wrap_pyfunction!(_after_fork_in_child, py)?)?;
        register.call((), Some(&arguments))?;
    }
    Ok(())
}
