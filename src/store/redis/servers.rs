//! The purses of each server that this process uses: one for all who use it, so that it is there as one process.

use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;

use super::{Call, RedisPurses};
use crate::clock::unix_micros;
use crate::error::Result;
use crate::store::purses::{Surviving, WhenLost};

/// Purses that go on while their server is lost.
type Purses = Surviving<RedisPurses>;

/// The servers in use.
static SERVERS: Mutex<Vec<(String, WhenLost, Weak<Purses>)>> = Mutex::new(Vec::new());

/// The purses of that server, made or found; `open` gives the way to it, and what all keys begin with.
///
/// # Errors
/// Those of `open`.
pub fn purses_of(
    url: &str,
    policy: WhenLost,
    open: impl FnOnce() -> Result<(Arc<dyn Call>, String)>,
) -> Result<Arc<Purses>> {
    let mut servers = SERVERS.lock();
    servers.retain(|(.., purses)| purses.strong_count() > 0);
    let known = servers.iter().find(|(known, when, _)| known == url && *when == policy);
    if let Some(purses) = known.and_then(|(.., purses)| purses.upgrade()) {
        return Ok(purses);
    }
    let (link, prefix) = open()?;
    let purses = Arc::new(Surviving::new(RedisPurses::new(link, &prefix, None), policy));
    servers.push((url.to_owned(), policy, Arc::downgrade(&purses)));
    Ok(purses)
}

/// Says on all servers that this process is there, and makes up what was taken without them. To be called every few seconds, with
/// Python's lock let go.
///
/// # Errors
/// The first link's that fails.
pub fn pulse_purses() -> Result<()> {
    all().into_iter().try_for_each(|purses| {
        purses.heard(purses.store().pulse())?;
        if purses.is_lost() { purses.make_up(wall()) } else { Ok(()) }
    })
}

/// Has what this process holds on all servers counted now: it is about to end.
///
/// # Errors
/// The first link's that fails.
pub fn leave_purses() -> Result<()> {
    all().into_iter().try_for_each(|purses| {
        if purses.is_lost() {
            purses.make_up(wall())?;
        }
        purses.store().leave()
    })
}

fn all() -> Vec<Arc<Purses>> {
    SERVERS.lock().iter().filter_map(|(.., purses)| purses.upgrade()).collect()
}

fn wall() -> f64 {
    Duration::from_micros(unix_micros().unsigned_abs()).as_secs_f64()
}
