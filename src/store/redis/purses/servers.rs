//! The purses of each server that this process uses: one for all who use it, so that it is there as one process.

use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use redis::{Script, Value};

use super::{Call, RedisPurses};
use crate::clock::unix_micros;
use crate::error::Result;
use crate::store::Policy;
use crate::store::purses::Surviving;
use crate::store::redis::gate::Inside;
use crate::store::redis::link::Link;

/// Purses that go on while their server is lost.
type Purses = Surviving<RedisPurses>;

/// The servers in use.
static SERVERS: Mutex<Vec<(String, Policy, Weak<Purses>)>> = Mutex::new(Vec::new());

/// The purses of that server, made or found; `open` gives the way to it, and what all keys begin with.
///
/// # Errors
/// Those of `open`.
pub(super) fn purses_of(
    url: &str,
    policy: Policy,
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

/// The purses of the server at that URL, made or found. To be called with the interpreter attached, if there is one.
///
/// # Errors
/// [`Error::Invalid`](crate::error::Error::Invalid) if the URL names nothing.
pub fn purses_at(url: &str, policy: Policy) -> Result<Arc<Surviving<RedisPurses>>> {
    purses_of(url, policy, || {
        let link = Link::to(url)?;
        let prefix = format!("{{{}/budgets}}", link.prefix());
        Ok((
            Arc::new(Line { url: url.to_owned(), shown: link.shown().to_owned(), link: Mutex::new(link) }),
            prefix,
        ))
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
    for_all(|purses| {
        purses.heard(purses.store().pulse())?;
        if purses.is_lost() { purses.make_up(wall()) } else { Ok(()) }
    })
}

/// Has what this process holds on all servers counted now: it is about to end.
///
/// # Errors
/// The first link's that fails.
pub fn leave_purses() -> Result<()> {
    for_all(|purses| {
        if purses.is_lost() {
            purses.make_up(wall())?;
        }
        purses.store().leave()
    })
}

/// Acts on each of them, whatever becomes of the others; the first failure.
fn for_all(act: impl Fn(&Purses) -> Result<()>) -> Result<()> {
    let all: Vec<Arc<Purses>> = {
        let _inside = Inside::enter();
        SERVERS.lock().iter().filter_map(|(.., purses)| purses.upgrade()).collect()
    };
    let done: Vec<Result<()>> = all.iter().map(|purses| act(purses)).collect();
    done.into_iter().collect()
}

fn wall() -> f64 {
    Duration::from_micros(unix_micros().unsigned_abs()).as_secs_f64()
}
