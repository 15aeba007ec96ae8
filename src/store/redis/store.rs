//! The store of many hosts: the leases of this process, and what is known here of the scopes that it shares.
//! How the server is asked is the business of `exchange`; here nothing waits for it but what has to.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex as TurnMutex, OnceLock, Weak};
use std::time::Duration;

use parking_lot::Mutex;

use super::bell::Bell;
use super::clock::ServerClock;
use super::gate::Inside;
use super::link::Link;
use super::tree::{Tree, unknown_wait};
use crate::clock::{Clock, Time};
use crate::error::{Error, Result};
use crate::pace::{Setback, Told};
use crate::quota::{Amounts, Quota};
use crate::scope::{Blocked, Path, ScopeId};
use crate::store::book::Book;
use crate::store::{Condition, Decision, LeaseId, Policy, Remote, ScopeStatus, Store, Turn};

/// The stores of this process.
static STORES: Mutex<Vec<Weak<RedisStore>>> = Mutex::new(Vec::new());

/// What ties this process to the server; a child of a fork has its own.
pub(super) struct Ties {
    pub(super) link: Arc<Link>,
    pub(super) bell: Arc<Bell>,
    /// This process, as the server knows it; never given twice.
    pub(super) process: String,
    /// Held by whoever asks, so that what is told and what is answered have one order.
    pub(super) turn: TurnMutex<()>,
    is_listening: OnceLock<()>,
}

/// State in a Redis server, for all processes that name it.
pub struct RedisStore {
    url: String,
    pub(super) policy: Policy,
    pub(super) tree: Mutex<Tree>,
    pub(super) clock: ServerClock,
    ties: Mutex<Arc<Ties>>,
    /// What all keys begin with: those of one tree of scopes lie on one node of a cluster.
    root: OnceLock<String>,
}

impl Ties {
    fn to(url: &str) -> Result<Self> {
        let (link, bell) = (Link::to(url)?, Arc::new(Bell::default()));
        let random = RandomState::new().hash_one(std::process::id());
        let process = format!("{}-{random:016x}", std::process::id());
        Ok(Self { link, bell, process, turn: TurnMutex::new(()), is_listening: OnceLock::new() })
    }
}

impl RedisStore {
    /// The store at that URL, once it has answered. A lease that is neither ended nor renewed for `lease_ttl` loses its permit, and
    /// all leases of a process that is gone do within ten seconds. Waits for the server; to be called with the interpreter attached,
    /// if there is one, and `detached` has it let go for the wait.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a URL that names nothing, [`Error::Store`] if the server cannot be reached or refuses.
    pub fn open(
        url: &str,
        lease_ttl: Duration,
        policy: Policy,
        clock: Option<Arc<dyn Clock>>,
        detached: impl FnOnce(&mut (dyn FnMut() -> Result<()> + Send)) -> Result<()>,
    ) -> Result<Arc<Self>> {
        let ties = Arc::new(Ties::to(url)?);
        let link = ties.link.clone();
        detached(&mut || link.wait_until_up())?;
        link.set_policy(policy);
        let store = Arc::new(Self {
            url: url.to_owned(),
            policy,
            tree: Mutex::new(Tree::new(Book::new(lease_ttl))),
            clock: ServerClock::new(clock),
            ties: Mutex::new(ties),
            root: OnceLock::new(),
        });
        let mut stores = STORES.lock();
        stores.retain(|store| store.strong_count() > 0);
        stores.push(Arc::downgrade(&store));
        Ok(store)
    }

    /// Whether a URL names such a store.
    #[must_use]
    pub fn is_named_by(url: &str) -> bool {
        super::target::Target::is_named_by(url)
    }

    /// What ties this process to the server, which from now on rings when it is this one's turn.
    pub(super) fn ties(&self) -> Arc<Ties> {
        let ties = {
            let _inside = Inside::enter();
            self.ties.lock().clone()
        };
        if let Some(root) = self.root.get() {
            ties.is_listening.get_or_init(|| {
                ties.link.listen(format!("{root}clock:wake"), ties.process.clone(), &ties.bell);
            });
        }
        ties
    }

    /// The key beside those of the scopes, which holds the time.
    pub(super) fn clock_key(&self) -> String {
        format!("{}clock", self.root.get().map_or("", String::as_str))
    }

    pub(super) fn key(&self, name: &str) -> String {
        format!("{}scope:{name}", self.root.get().map_or("", String::as_str))
    }

    /// Has it told what was done.
    fn tell_after<T>(&self, done: T) -> T {
        if IS_TOLD_AT_ONCE.load(Ordering::Relaxed) {
            self.exchange(&[]);
        } else {
            self.ties.lock().bell.ring();
        }
        done
    }
}

impl Store for RedisStore {
    fn now(&self) -> Time {
        self.clock.now()
    }

    fn configure(&self, name: &str, quota: &Quota) -> Result<ScopeId> {
        let mut tree = self.tree.lock();
        self.root.get_or_init(|| format!("{{{}/{name}}}", self.ties.lock().link.prefix()));
        let id = match tree.book.known(name) {
            Some(id) => {
                tree.configure(id, quota, self.clock.now());
                id
            }
            None => tree.register(name, quota, false, self.clock.now()),
        };
        drop(tree);
        Ok(self.tell_after(id))
    }

    fn be_careful(&self, scope: ScopeId) -> Result<()> {
        self.tree.lock().be_careful(scope, self.clock.now());
        Ok(())
    }

    fn cap(&self, name: &str, quota: &Quota, awaited: &dyn Fn() -> HashSet<ScopeId>) -> Result<ScopeId> {
        let (mut tree, now) = (self.tree.lock(), self.clock.now());
        if let Some(id) = tree.book.known(name) {
            tree.touch(&[id], now);
            return Ok(id);
        }
        if tree.book.is_crowded() {
            tree.forget_idle_caps(&awaited(), now);
        }
        Ok(tree.register(name, quota, true, now))
    }

    fn known(&self, name: &str) -> Option<ScopeId> {
        self.tree.lock().book.known(name)
    }

    fn name(&self, scope: ScopeId) -> Arc<str> {
        self.tree.lock().book.name(scope)
    }

    fn reserve(&self, path: &Path, amounts: &Amounts) -> Result<Decision> {
        let mut answers = self.ask(&[(*path, *amounts)]);
        let decision = answers.pop().expect("one question has one answer");
        // Nobody waits here: the place in line is given up again.
        if matches!(decision, Ok(Decision::Wait(_))) {
            let _inside = Inside::enter();
            self.tree.lock().leave(path);
        }
        self.bell().ring();
        decision
    }

    fn leave(&self) {
        let mut tree = self.tree.lock();
        if !tree.places.is_empty() {
            let places: Vec<ScopeId> = tree.places.drain().collect();
            tree.outbox.left.extend(places);
            drop(tree);
            self.tell_after(());
        }
    }

    fn earliest(&self, path: &Path, ahead: &Amounts, amounts: &Amounts) -> Result<Option<Blocked>> {
        let ties = self.ties.lock().clone();
        let (tree, now) = (self.tree.lock(), self.clock.now());
        tree.earliest(path, ahead, amounts, &ties.process, now).map_err(Error::NeverFits)
    }

    fn learn(&self, lease: LeaseId, told: &[Told]) -> Result<bool> {
        let learned = self.tree.lock().learn(lease, told, self.clock.now());
        self.tell_after(learned.map_err(Error::LeaseEnded))
    }

    fn settle(&self, lease: LeaseId, actual: &Amounts) -> Result<()> {
        let ended = self.tree.lock().settle(lease, actual, self.clock.now());
        self.tell_after(ended.map_err(Error::LeaseEnded))
    }

    fn fail(&self, lease: LeaseId, kept: &Amounts, setback: &Setback) -> Result<Time> {
        let ended = self.tree.lock().fail(lease, kept, setback, self.clock.now());
        self.tell_after(ended.map_err(Error::LeaseEnded))
    }

    fn renew(&self, lease: LeaseId) -> Result<()> {
        self.tree.lock().book.renew(lease, self.clock.now()).map_err(Error::LeaseEnded)
    }

    fn status(&self, scope: ScopeId) -> Result<ScopeStatus> {
        self.look(scope);
        let _inside = Inside::enter();
        Ok(self.tree.lock().book.status(scope, self.clock.now()))
    }

    fn condition(&self) -> Option<Condition> {
        let link = {
            let _inside = Inside::enter();
            self.ties.lock().link.clone()
        };
        Some(link.condition())
    }

    fn forget_leases(&self) {
        self.tree.lock().begin_anew(self.clock.now());
        // A link that cannot be made now has nobody who could be told here; whoever calls next is.
        if let Ok(ties) = Ties::to(&self.url) {
            let parents = std::mem::replace(&mut *self.ties.lock(), Arc::new(ties));
            // Its threads and locks are those of the parent, and may be in any state.
            std::mem::forget(parents);
        }
    }

    fn remote(&self) -> Option<&dyn Remote> {
        Some(self)
    }
}

impl Remote for RedisStore {
    fn ask(&self, asked: &[(Path, Amounts)]) -> Vec<Result<Decision>> {
        if IS_ENDING.load(Ordering::Relaxed) {
            let never = |(path, _): &(Path, Amounts)| Ok(unknown_wait(path.scopes()[0], Time::MAX));
            return asked.iter().map(never).collect();
        }
        self.exchange(asked)
    }

    fn bye(&self) -> Result<()> {
        self.take_leave()
    }

    fn due_at(&self) -> Time {
        let _inside = Inside::enter();
        let tree = self.tree.lock();
        if tree.has_told() { tree.pulse_at } else { self.clock.now() }
    }

    fn bell(&self) -> Arc<Bell> {
        let _inside = Inside::enter();
        self.ties.lock().bell.clone()
    }

    fn enter(&self) -> Inside {
        Inside::enter()
    }
}

/// Whether this process may be gone in a moment.
static IS_TOLD_AT_ONCE: AtomicBool = AtomicBool::new(false);

/// Whether what is given back is told before whoever gives it back goes on, or soon after. A handler of a signal may call it.
pub fn tell_at_once(is_told_at_once: bool) {
    IS_TOLD_AT_ONCE.store(is_told_at_once, Ordering::Relaxed);
}

/// Whether this process is being ended.
static IS_ENDING: AtomicBool = AtomicBool::new(false);

/// Has nobody get a lease any more in this process: a signal is about to end it.
pub fn end_redis() {
    IS_ENDING.store(true, Ordering::Relaxed);
}

/// Gives back at once what this process holds in all Redis stores: it is about to end. Not to be called with the interpreter attached.
///
/// # Errors
/// The first [`Error::Store`]; what could not be given back comes back when this process is missed.
pub fn leave_all_redis() -> Result<()> {
    let stores: Vec<Arc<RedisStore>> = {
        let _inside = Inside::enter();
        STORES.lock().iter().filter_map(Weak::upgrade).collect()
    };
    let left: Vec<Result<()>> = stores.iter().map(|store| store.bye()).collect();
    left.into_iter().collect()
}

/// Which Redis servers were lost and came back since this was last asked.
#[must_use]
pub fn redis_turns() -> Vec<Turn> {
    Link::turns()
}
