//! The purses in use: of each store one for all who name it, so that it knows this process as one.

use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;

use super::{Purses, Surviving};
use crate::clock::unix_micros;
use crate::error::Result;
use crate::store::Policy;
use crate::store::redis::Inside;
use crate::store::retries::Retries;

/// Purses and retry budgets that know who is there.
pub(crate) trait Member: Purses + Retries {
    /// Says that this process is there. To be called every few seconds.
    ///
    /// # Errors
    /// The store's.
    fn pulse(&self) -> Result<()>;

    /// Has what this process still holds counted in full now: it is about to end.
    ///
    /// # Errors
    /// The store's; it is missed later then.
    fn leave(&self) -> Result<()>;
}

/// The stores of one kind in use, each under a name and with what is done while it is lost.
pub(crate) struct Known<P>(Mutex<Vec<One<P>>>);

/// One of them.
type One<P> = (String, Policy, Weak<Surviving<P>>);

impl<P: Member> Known<P> {
    /// None.
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    /// Those of that name, made or found.
    ///
    /// # Errors
    /// Those of `open`.
    pub(crate) fn at(
        &self,
        name: &str,
        policy: Policy,
        open: impl FnOnce() -> Result<P>,
    ) -> Result<Arc<Surviving<P>>> {
        let mut all = self.0.lock();
        all.retain(|(.., purses)| purses.strong_count() > 0);
        let known = all.iter().find(|(known, when, _)| known == name && *when == policy);
        if let Some(purses) = known.and_then(|(.., purses)| purses.upgrade()) {
            return Ok(purses);
        }
        let purses = Arc::new(Surviving::new(open()?, policy));
        all.push((name.to_owned(), policy, Arc::downgrade(&purses)));
        Ok(purses)
    }

    /// Says in all stores that this process is there, and makes up what was taken without them. To be called every few seconds.
    ///
    /// # Errors
    /// The first store's that fails.
    pub(crate) fn pulse(&self) -> Result<()> {
        self.for_all(|purses| {
            purses.heard(purses.store().pulse())?;
            if purses.is_lost() { purses.make_up(wall()) } else { Ok(()) }
        })
    }

    /// Has what this process holds in all stores counted now: it is about to end.
    ///
    /// # Errors
    /// The first store's that fails.
    pub(crate) fn leave(&self) -> Result<()> {
        self.for_all(|purses| {
            if purses.is_lost() {
                purses.make_up(wall())?;
            }
            purses.store().leave()
        })
    }

    /// Acts on each of them, whatever becomes of the others; the first failure.
    fn for_all(&self, act: impl Fn(&Surviving<P>) -> Result<()>) -> Result<()> {
        let all: Vec<_> = {
            let _inside = Inside::enter();
            self.0.lock().iter().filter_map(|(.., purses)| purses.upgrade()).collect()
        };
        let done: Vec<Result<()>> = all.iter().map(|purses| act(purses)).collect();
        done.into_iter().collect()
    }
}

fn wall() -> f64 {
    Duration::from_micros(unix_micros().unsigned_abs()).as_secs_f64()
}
