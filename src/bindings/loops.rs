//! One event loop's share in a hub: its timer, and the way into it from other threads.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyString;

use super::convert::undisturbed;
use super::hub::Hub;
use super::waiter::{Waiter, Wake};
use crate::clock::Time;

/// The event loop that runs on this thread, if one does.
pub(super) fn running_loop(py: Python<'_>) -> Option<Bound<'_, PyAny>> {
    static GETTER: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let getter = if let Some(getter) = GETTER.get(py) {
        getter
    } else {
        // Where asyncio was never imported no loop runs, and importing it would cost 50 ms.
        let modules = py.import(intern!(py, "sys")).ok()?.getattr(intern!(py, "modules")).ok()?;
        let events = modules.get_item(intern!(py, "asyncio.events")).ok()?;
        let getter = events.getattr(intern!(py, "_get_running_loop")).ok()?.unbind();
        GETTER.get_or_init(py, || getter)
    };
    getter.bind(py).call0().ok().filter(|running| !running.is_none())
}

#[derive(Default)]
struct State {
    /// The timer that is set, and when it looks.
    timer: Option<(Time, Py<PyAny>)>,
    /// Futures to be resolved on the loop's thread, with those who wait for them.
    inbox: Vec<(Arc<Waiter>, Py<PyAny>)>,
    /// Whether the loop was asked to empty the inbox.
    is_called: bool,
    /// Whether a tick runs.
    is_in_tick: bool,
    /// Tasks of this loop that wait.
    waiting: usize,
}

/// One event loop's timer and inbox.
pub(super) struct Driver {
    event_loop: Py<PyAny>,
    hub: Weak<Hub>,
    state: Mutex<State>,
    me: Weak<Self>,
}

impl Driver {
    pub(super) fn new(event_loop: Py<PyAny>, hub: Weak<Hub>) -> Arc<Self> {
        Arc::new_cyclic(|me| Self { event_loop, hub, state: Mutex::default(), me: me.clone() })
    }

    pub(super) fn key(&self) -> usize {
        self.event_loop.as_ptr() as usize
    }

    /// One more task waits.
    pub(super) fn enter(&self) {
        self.state.lock().waiting += 1;
    }

    /// One task waits no longer.
    pub(super) fn leave(&self, py: Python<'_>) {
        let timer = {
            let mut state = self.state.lock();
            state.waiting -= 1;
            if state.waiting > 0 {
                return;
            }
            state.timer.take()
        };
        let dismissed = self.hub.upgrade().and_then(|hub| hub.dismiss(self));
        if let Some((_, timer)) = timer {
            self.report(py, timer.call_method0(py, intern!(py, "cancel")).map(drop));
        }
        drop(dismissed);
    }

    /// Resolves a task's future, here or over there; tells whether the loop can still be reached.
    pub(super) fn deliver(&self, py: Python<'_>, waiter: &Arc<Waiter>, future: Py<PyAny>) -> bool {
        if running_loop(py).is_some_and(|running| running.is(&self.event_loop)) {
            self.report(py, resolve(future.bind(py)));
            return true;
        }
        self.state.lock().inbox.push((waiter.clone(), future));
        self.call_in(py)
    }

    /// Makes sure that this loop looks at `wake_at` at the latest.
    pub(super) fn look_at(
        &self,
        py: Python<'_>,
        wake_at: Time,
        now: Time,
        running: Option<&Bound<'_, PyAny>>,
    ) {
        if self.state.lock().timer.as_ref().is_some_and(|(at, _)| *at <= wake_at) {
            return;
        }
        if !running.is_some_and(|running| running.is(&self.event_loop)) {
            // A loop that is closed has nobody who could be late.
            self.call_in(py);
            return;
        }
        // Event loops cache the time at the start of a turn; a timer set in the midst of a long one would be late by its length. So
        // it is set by a tick of our own, the first thing in its turn.
        let is_in_tick = self.state.lock().is_in_tick;
        let set = if is_in_tick {
            self.set_timer(py, wake_at, now)
        } else {
            self.call(py, intern!(py, "call_soon"))
        };
        self.report(py, set);
    }

    fn set_timer(&self, py: Python<'_>, wake_at: Time, now: Time) -> PyResult<()> {
        // In whole milliseconds, as event loops count: a shorter one would be rounded down by uvloop, and be asked again and again.
        let delay = wake_at.since(now).as_nanos().div_ceil(1_000_000);
        let delay = Duration::from_millis(u64::try_from(delay).unwrap_or(u64::MAX)).as_secs_f64();
        let tick = Py::new(py, Tick::new(self.me.clone(), true))?;
        let timer = self.event_loop.call_method1(py, intern!(py, "call_later"), (delay, tick))?;
        let before = self.state.lock().timer.replace((wake_at, timer));
        match before {
            Some((_, timer)) => timer.call_method0(py, intern!(py, "cancel")).map(drop),
            None => Ok(()),
        }
    }

    /// Has the loop call a tick, from any thread; tells whether it can still be reached.
    fn call_in(&self, py: Python<'_>) -> bool {
        self.call(py, intern!(py, "call_soon_threadsafe")).is_ok()
    }

    fn call(&self, py: Python<'_>, how: &Bound<'_, PyString>) -> PyResult<()> {
        if std::mem::replace(&mut self.state.lock().is_called, true) {
            return Ok(());
        }
        let tick = Py::new(py, Tick::new(self.me.clone(), false))?;
        let called = self.event_loop.call_method1(py, how, (&tick,));
        if called.is_err() {
            // "Event loop is closed". Whoever is told so looks after the one that could not be reached.
            tick.get().is_called.store(true, Ordering::Relaxed);
            let inbox = {
                let mut state = self.state.lock();
                state.is_called = false;
                std::mem::take(&mut state.inbox)
            };
            drop(inbox);
        }
        called.map(drop)
    }

    fn hand_inbox_on(&self, py: Python<'_>) {
        let inbox = {
            let mut state = self.state.lock();
            state.is_called = false;
            std::mem::take(&mut state.inbox)
        };
        let Some(hub) = self.hub.upgrade() else { return };
        for (waiter, future) in inbox {
            waiter.set_wake(Wake::NotYet);
            if let Some(Ok(grant)) = waiter.abandon() {
                hub.hand_on(py, grant);
            }
            drop(future);
        }
        hub.given_back(py);
    }

    fn tick(&self, py: Python<'_>, is_timer: bool) {
        let (inbox, fired) = {
            let mut state = self.state.lock();
            let fired = if is_timer { state.timer.take() } else { None };
            if !is_timer {
                state.is_called = false;
            }
            state.is_in_tick = true;
            (std::mem::take(&mut state.inbox), fired)
        };
        drop(fired);
        for (_, future) in inbox {
            self.report(py, resolve(future.bind(py)));
        }
        if let Some(hub) = self.hub.upgrade() {
            match hub.engine.wake_at() {
                Some(wake_at) if wake_at <= hub.engine.now() => hub.pump(py),
                wake_at => hub.arm(py, wake_at),
            }
        }
        self.state.lock().is_in_tick = false;
    }

    fn report(&self, py: Python<'_>, result: PyResult<()>) {
        if let Err(failure) = result {
            failure.write_unraisable(py, Some(self.event_loop.bind(py)));
        }
    }
}

/// What an event loop calls: at a timer's time, or because another thread left something in the inbox.
#[pyclass(frozen, module = "ratekeeper._core")]
struct Tick {
    driver: Weak<Driver>,
    is_timer: bool,
    is_called: AtomicBool,
}

impl Tick {
    fn new(driver: Weak<Driver>, is_timer: bool) -> Self {
        Self { driver, is_timer, is_called: AtomicBool::new(false) }
    }
}

impl Drop for Tick {
    /// A loop that is closed throws away what it was to call: what lay in the inbox goes to others.
    fn drop(&mut self) {
        if self.is_timer || *self.is_called.get_mut() {
            return;
        }
        if let Some(driver) = self.driver.upgrade() {
            Python::try_attach(|py| undisturbed(py, || driver.hand_inbox_on(py)));
        }
    }
}

#[pymethods]
impl Tick {
    fn __call__(&self, py: Python<'_>) {
        self.is_called.store(true, Ordering::Relaxed);
        if let Some(driver) = self.driver.upgrade() {
            driver.tick(py, self.is_timer);
        }
    }
}

fn resolve(future: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = future.py();
    if !future.call_method0(intern!(py, "done"))?.is_truthy()? {
        future.call_method1(intern!(py, "set_result"), (py.None(),))?;
    }
    Ok(())
}
