//! The purses of each server that this process uses.

use std::sync::Arc;

use parking_lot::Mutex;
use redis::{Script, Value};

use super::{Call, RedisPurses};
use crate::error::Result;
use crate::store::Policy;
use crate::store::purses::{Known, Surviving};
use crate::store::redis::gate::Inside;
use crate::store::redis::link::Link;

/// The servers in use.
pub(super) static SERVERS: Known<RedisPurses> = Known::new();

/// The purses of the server at that URL, made or found. To be called with the interpreter attached, if there is one.
///
/// # Errors
/// [`Error::Invalid`](crate::error::Error::Invalid) if the URL names nothing.
pub fn purses_at(url: &str, policy: Policy) -> Result<Arc<Surviving<RedisPurses>>> {
    SERVERS.at(url, policy, || {
        let link = Link::to(url)?;
        let prefix = format!("{{{}/budgets}}", link.prefix());
        let shown = link.shown().to_owned();
        let way = Line { url: url.to_owned(), shown, link: Mutex::new(link) };
        Ok(RedisPurses::new(Arc::new(way), &prefix, None))
    })
}

/// The link of this process, in children of a fork too.
struct Line {
    url: String,
    shown: String,
    link: Mutex<Arc<Link>>,
}

impl Line {
    fn own(&self) -> Result<Arc<Link>> {
        let _inside = Inside::enter();
        let mut link = self.link.lock();
        if !link.is_own() {
            let parents = std::mem::replace(&mut *link, Link::to(&self.url)?);
            // Its thread and its locks stayed with the parent.
            std::mem::forget(parents);
        }
        Ok(link.clone())
    }
}

impl Call for Line {
    fn call(&self, script: &'static Script, keys: Vec<String>, argument: Vec<u8>) -> Result<Value> {
        let link = self.own()?;
        link.wait_until_up()?;
        link.call(script, keys, vec![argument])
    }

    fn shown(&self) -> &str {
        &self.shown
    }
}

/// Says on all servers that this process is there, and makes up what was taken without them. To be called every few seconds, with
/// Python's lock let go.
///
/// # Errors
/// The first link's that fails.
pub fn pulse_purses() -> Result<()> {
    SERVERS.pulse()
}

/// Has what this process holds on all servers counted now: it is about to end.
///
/// # Errors
/// The first link's that fails.
pub fn leave_purses() -> Result<()> {
    SERVERS.leave()
}
