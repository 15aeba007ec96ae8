//! What keeps a fork from finding a lock held by a thread that the child does not have.
//!
//! Threads of ours that work without the interpreter go through the gate while they hold any lock; a fork waits until nobody is inside.
//! Whoever is inside waits for nothing else: not for the interpreter, which the forking thread holds, and not for the network. The standard
//! library's lock is no more than a number, which a child can go on with.

use std::cell::RefCell;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

static GATE: RwLock<()> = RwLock::new(());

thread_local! {
    /// Held by the thread that forks, on both sides of the fork.
    static CLOSED: RefCell<Option<RwLockWriteGuard<'static, ()>>> = const { RefCell::new(None) };
}

/// As long as it lives no fork happens. One thread has one at a time.
pub struct Inside(#[allow(dead_code, reason = "held, not looked at")] RwLockReadGuard<'static, ()>);

impl Inside {
    pub(in crate::store) fn enter() -> Self {
        Self(GATE.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// To be called by the thread that forks, right before it does.
pub fn close_gate() {
    let closed = GATE.write().unwrap_or_else(PoisonError::into_inner);
    CLOSED.with_borrow_mut(|place| *place = Some(closed));
}

/// To be called by the same thread right after it, in the parent and in the child.
pub fn open_gate() {
    CLOSED.with_borrow_mut(Option::take);
}
