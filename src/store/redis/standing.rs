//! How the connection to a server stands, and whom to ring when that changes: what a link's thread shares with whoever has the link.
//!
//! It is locked by the thread, which has no interpreter, and by others, with it and without: so always behind the gate, lest the
//! child of a fork find it locked for ever. Whoever is inside already is not to come here.

use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::bell::Bell;
use super::gate::Inside;
use crate::clock::{Clock, SystemClock};
use crate::error::Error;
use crate::store::health::Health;
use crate::store::{Condition, Policy, Turn};

/// How the connection is.
#[derive(Default)]
enum State {
    #[default]
    New,
    Up,
    /// Why there is none.
    Down(String),
}

/// What is known of the server, and what people are to hear of it.
#[derive(Default)]
struct Known {
    state: State,
    health: Health,
    policy: Policy,
    /// Rung when the connection is lost or found.
    bells: Vec<Weak<Bell>>,
}

/// How the connection stands.
pub(super) struct Standing {
    shown: String,
    known: Mutex<Known>,
}

impl Standing {
    pub(super) fn new(shown: &str) -> Self {
        Self { shown: shown.to_owned(), known: Mutex::default() }
    }

    fn with<T>(&self, act: impl FnOnce(&mut Known) -> T) -> T {
        let _inside = Inside::enter();
        act(&mut self.known.lock())
    }

    /// An error of this server.
    pub(super) fn error(&self, what: &dyn std::fmt::Display) -> Error {
        Error::shared(&self.shown, what.to_string())
    }

    /// Why the server cannot be asked; None if it can, or if that is not known yet.
    pub(super) fn failure(&self) -> Option<Error> {
        self.with(|known| match &known.state {
            State::Down(what) => Some(self.error(what)),
            State::New | State::Up => None,
        })
    }

    pub(super) fn is_up(&self) -> bool {
        self.with(|known| matches!(known.state, State::Up))
    }

    pub(super) fn condition(&self) -> Condition {
        self.with(|known| known.health.condition(self.shown.clone(), known.policy, SystemClock.now()))
    }

    pub(super) fn set_policy(&self, policy: Policy) {
        self.with(|known| known.policy = policy);
    }

    /// So many processes use it, and so many calls more were granted without it.
    pub(super) fn count(&self, processes: Option<u32>, granted_alone: u64) {
        self.with(|Known { health, .. }| {
            health.processes = processes.unwrap_or(health.processes);
            health.granted_alone += granted_alone;
        });
    }

    pub(super) fn take_turns(&self) -> Vec<Turn> {
        self.with(|known| known.health.take_turns())
    }

    /// Has the bell ring when the connection is lost or found.
    pub(super) fn ring_for(&self, bell: &Arc<Bell>) {
        self.with(|Known { bells, .. }| {
            bells.retain(|known| known.strong_count() > 0);
            bells.push(Arc::downgrade(bell));
        });
    }

    /// There is a connection, and it has been tried.
    pub(super) fn found(&self) {
        self.with(|known| {
            if matches!(known.state, State::New) {
                known.health.begins(SystemClock.now());
            }
            known.health.processes = known.health.processes.max(1);
            known.health.opened();
            known.state = State::Up;
            known.ring();
        });
    }

    /// A script has run.
    pub(super) fn succeeded(&self) {
        self.with(|known| known.health.succeeded(|| self.shown.clone(), known.policy, SystemClock.now()));
    }

    /// There is none, and why.
    pub(super) fn lost(&self, what: String) {
        self.with(|known| {
            // What was never there is not lost.
            if !matches!(known.state, State::New) {
                let why = self.error(&what);
                known.health.failed(&why, self.shown.clone(), known.policy, SystemClock.now());
            }
            known.state = State::Down(what);
            known.ring();
        });
    }
}

impl Known {
    fn ring(&mut self) {
        self.bells.retain(|bell| {
            let bell = bell.upgrade();
            bell.inspect(|bell| bell.ring()).is_some()
        });
    }
}
