//! Who asks a store that is a round trip away, for all who wait at one hub: a thread of its own.
//!
//! It waits for the network without the interpreter, and takes it only to hand answers out. It does not survive a fork; the child's first
//! caller starts another.

use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;
use pyo3::prelude::*;

use super::engine::{Engine, Grant};
use super::hub::{Hub, forks};
use super::waiter::Waiter;
use crate::clock::Time;
use crate::limiter::Poll;
use crate::spawn::spawn;
use crate::store::{Remote, Store};

/// So many are asked about with one round trip.
const MOST: usize = 64;
/// How long it rests after it has failed.
const AFTER_A_PANIC: Duration = Duration::from_secs(1);
/// It looks around after so long though nothing is to be done.
const LONGEST_WAIT: Duration = Duration::from_hours(1);

/// The agents of this process, to be stopped when it ends.
static AGENTS: Mutex<Vec<Weak<Hub>>> = Mutex::new(Vec::new());
/// Those whose hubs are gone, which tell their stores so; and in which process of a line of forks.
static LEAVING: Mutex<Vec<(u64, JoinHandle<()>)>> = Mutex::new(Vec::new());

/// The thread that asks for one hub.
#[derive(Default)]
pub(super) struct Agent {
    thread: Mutex<Option<JoinHandle<()>>>,
    forks: AtomicU64,
    /// Of the thread that is there: one that comes after it has another.
    is_stopped: Mutex<Arc<AtomicBool>>,
}

impl Agent {
    /// Has the thread look, and starts it where there is none.
    pub(super) fn kick(&self, hub: &Hub) {
        let mut thread = self.thread.lock();
        if self.forks.swap(forks(), Ordering::Relaxed) != forks() {
            // It stayed with the parent.
            std::mem::forget(thread.take());
        }
        if thread.as_ref().is_none_or(JoinHandle::is_finished) {
            let is_stopped = Arc::new(AtomicBool::new(false));
            *self.is_stopped.lock() = is_stopped.clone();
            let (weak, body) = (hub.weak(), hub.weak());
            let Engine::Limiter(limiter) = &hub.engine else { return };
            let store = limiter.store();
            let work = move || tend(&body, &*store, &is_stopped);
            let started = spawn("ratekeeper-agent", work);
            *thread = Some(started.expect("the system gives this process one more thread"));
            let mut agents = AGENTS.lock();
            agents.retain(|agent| agent.strong_count() > 0 && !agent.ptr_eq(&weak));
            agents.push(weak);
        }
        drop(thread);
        if let Some(remote) = hub.remote() {
            remote.bell().ring();
        }
    }

    fn stop(&self, hub: &Hub) -> Option<JoinHandle<()>> {
        if self.forks.load(Ordering::Relaxed) != forks() {
            // It stayed with the parent.
            std::mem::forget(self.thread.lock().take());
            return None;
        }
        self.is_stopped.lock().store(true, Ordering::Relaxed);
        if let Some(remote) = hub.remote() {
            remote.bell().ring();
        }
        self.thread.lock().take()
    }
}

impl Agent {
    /// The hub is gone: the thread tells the store, and ends.
    pub(super) fn release(&mut self, remote: &dyn Remote) {
        let Some(thread) = self.thread.get_mut().take() else { return };
        let born = self.forks.load(Ordering::Relaxed);
        if born != forks() {
            // It stayed with the parent.
            std::mem::forget(thread);
            return;
        }
        let inside = remote.enter();
        let mut leaving = LEAVING.lock();
        leaving.retain(|(_, thread)| !thread.is_finished());
        leaving.push((born, thread));
        drop((leaving, inside));
        remote.bell().ring();
    }
}

/// Ends all of them: the interpreter is about to.
pub(super) fn stop_all(py: Python<'_>) {
    let hubs: Vec<_> = std::mem::take(&mut *AGENTS.lock()).iter().filter_map(Weak::upgrade).collect();
    let stopped = hubs.iter().filter_map(|hub| hub.agent().and_then(|agent| agent.stop(hub)));
    let mut threads: Vec<_> = stopped.collect();
    for (born, thread) in std::mem::take(&mut *LEAVING.lock()) {
        if born == forks() {
            threads.push(thread);
        } else {
            // It stayed with the parent.
            std::mem::forget(thread);
        }
    }
    py.detach(|| {
        for thread in threads {
            // One that has panicked has said so.
            thread.join().ok();
        }
    });
}

fn tend(hub: &Weak<Hub>, store: &dyn Store, is_stopped: &AtomicBool) {
    // An agent that fails must not leave those hanging whom it was asking about; the panic itself was said on stderr.
    while panic::catch_unwind(AssertUnwindSafe(|| serve(hub, is_stopped))).is_err() {
        if let Some(hub) = hub.upgrade()
            && let Engine::Limiter(limiter) = &hub.engine
            && let Some(remote) = hub.remote()
        {
            let inside = remote.enter();
            limiter.ask_again();
            drop(inside);
            remote.bell().wait(AFTER_A_PANIC);
        }
    }
    if let Some(remote) = store.remote() {
        // What cannot be given back now comes back when this process is missed.
        remote.bye().ok();
    }
}

/// Asks for those who wait at the hub, until it is gone or the agent is stopped.
fn serve(hub: &Weak<Hub>, is_stopped: &AtomicBool) {
    let mut is_anew = true;
    while let Some(hub_now) = hub.upgrade() {
        let Some(remote) = hub_now.remote() else { return };
        if is_stopped.load(Ordering::Relaxed) {
            return;
        }
        let Engine::Limiter(limiter) = &hub_now.engine else { return };
        let asked = {
            let _inside = remote.enter();
            limiter.asks(MOST, is_anew)
        };
        let questions: Vec<_> = asked.iter().map(|asked| (asked.call().path, asked.call().amounts)).collect();
        let answers = remote.ask(&questions);
        let (poll, is_open) = {
            let _inside = remote.enter();
            let poll = limiter.answers(asked.into_iter().zip(answers).collect());
            (poll, limiter.has_open())
        };
        let wake_at = poll.wake_at;
        deliver(&hub_now, poll);
        // Those who are left go on being asked about, but not those who have just been refused.
        is_anew = !is_open;
        if is_open {
            continue;
        }
        let (bell, now) = (remote.bell(), limiter.now());
        let due_at = wake_at.map_or(remote.due_at(), |wake_at| wake_at.min(remote.due_at()));
        drop(hub_now);
        bell.wait(due_at.max(Time::ZERO).since(now).min(LONGEST_WAIT));
    }
}

fn deliver(hub: &Hub, poll: Poll<Arc<Waiter>>) {
    if poll.done.is_empty() {
        return;
    }
    // Where the interpreter is ending nobody is left to be told.
    Python::try_attach(|py| {
        for (waiter, result) in poll.done {
            if let Err(Ok(grant)) = waiter.complete(py, result.map(Grant::Lease)) {
                hub.hand_on(py, grant);
            }
        }
    });
}
