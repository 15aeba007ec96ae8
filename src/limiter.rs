//! One limiter: a tree of scopes, the leases on them, and the queue of those who wait.
//! It answers and never sleeps: waiting, and waking who waits, is the caller's business ([`Limiter::poll`]).

mod asked;
mod remote;
mod status;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use crate::clock::Time;
use crate::error::{Error, Result, Shortage};
use crate::pace::{Setback, Told};
use crate::queue::{Call, ClassId, Queue, Ticket};
use crate::quota::{Amounts, Quota};
use crate::scope::{Blocked, Cause, Path, ScopeId};
use crate::store::{Decision, Store};

pub use asked::{Admission, Lease, Poll, Request};
pub use remote::Asked;
pub use status::{Head, Status};

/// All buckets and permits of a tree of scopes, decided about at once.
///
/// ```
/// # use std::{sync::Arc, time::Duration};
/// use ratekeeper::clock::ManualClock;
/// use ratekeeper::limiter::{Admission, Limiter, Request};
/// use ratekeeper::quota::{Amounts, Quota};
/// use ratekeeper::{scope::Path, store::MemoryStore};
///
/// let store = MemoryStore::new(Arc::new(ManualClock::default()), Duration::from_secs(600));
/// let limiter = Limiter::new(Arc::new(store));
/// let path = Path::of(limiter.configure("gpt-4o-mini", &Quota::new(Vec::new(), Some(1))?)?);
/// let amounts = Amounts { requests: 1, ..Amounts::default() };
/// let class = limiter.class(path);
/// let request = Request { class, path: &path, tenant: "", priority: 0, amounts, deadline: None, since: None };
///
/// let Admission::Granted(lease) = limiter.acquire(&request, || "first")? else { unreachable!() };
/// assert!(matches!(limiter.acquire(&request, || "second")?, Admission::Queued { .. }));
/// limiter.settle(&lease, &amounts)?;
/// let (who, granted) = limiter.poll().done.remove(0);
/// assert!(who == "second" && granted.is_ok());
/// # Ok::<(), ratekeeper::error::Error>(())
/// ```
pub struct Limiter<W> {
    store: Arc<dyn Store>,
    /// Whether the store is a round trip away, which never changes.
    is_remote: bool,
    queue: Mutex<Queue<W>>,
    /// Whether settling has to look at the queue.
    is_watched: AtomicBool,
}

impl<W> Limiter<W> {
    /// A limiter on that store.
    #[must_use]
    pub fn new(store: Arc<dyn Store>) -> Self {
        let is_remote = store.remote().is_some();
        Self { store, is_remote, queue: Mutex::new(Queue::default()), is_watched: AtomicBool::new(false) }
    }

    /// The store's time.
    #[must_use]
    pub fn now(&self) -> Time {
        self.store.now()
    }

    /// Makes a scope known, or sets its quota anew; poll afterwards.
    ///
    /// # Errors
    /// [`Error::Store`], here and below, if the store cannot be reached.
    pub fn configure(&self, name: &str, quota: &Quota) -> Result<ScopeId> {
        self.store.configure(name, quota)
    }

    /// Starts a scope without any limits with few calls at once, until something is known.
    ///
    /// # Errors
    /// The store's.
    pub fn be_careful(&self, scope: ScopeId) -> Result<()> {
        self.store.be_careful(scope)
    }

    /// Makes the cap of a tenant known, for as long as it is in use.
    ///
    /// # Errors
    /// The store's.
    pub fn cap(&self, name: &str, quota: &Quota) -> Result<ScopeId> {
        let queue = self.queue.lock();
        self.store.cap(name, quota, &|| queue.awaited())
    }

    /// The scope of that name, if it is known.
    #[must_use]
    pub fn known(&self, name: &str) -> Option<ScopeId> {
        self.store.known(name)
    }

    /// The class of calls that fall under that path.
    pub fn class(&self, path: Path) -> ClassId {
        self.queue.lock().class(path)
    }

    /// Sets a tenant's share relative to the others', which have 1.
    pub fn set_weight(&self, name: &str, weight: f64) {
        let mut queue = self.queue.lock();
        queue.set_weight(name, weight);
        self.watch(&queue);
    }

    /// Starts a call now, or gives it a place in the queue.
    ///
    /// # Errors
    /// [`Error::NeverFits`] at once for a call too large, [`Error::QuotaExceeded`] for one that cannot start before its deadline.
    pub fn acquire(&self, request: &Request<'_>, waiter: impl FnOnce() -> W) -> Result<Admission> {
        if self.is_remote {
            return self.enqueue(request, waiter);
        }
        if let Some(lease) = self.start_alone(request)? {
            return Ok(Admission::Granted(lease));
        }
        let mut queue = self.queue.lock();
        let call = call_of(&mut queue, request);
        let reason = match self.start(&mut queue, &call)? {
            Ok(lease) => {
                self.watch(&queue);
                return Ok(Admission::Granted(lease));
            }
            Err(reason) => reason,
        };
        let now = self.store.now();
        if let Some(last) = self.store.earliest(&call.path, &queue.ahead_of(&call), &call.amounts)? {
            self.refuse_if_late(&call, &last, now)?;
        }
        let is_due = call.deadline.is_some_and(|deadline| deadline <= now);
        let (ticket, is_head) = queue.push(call, waiter(), request.since.unwrap_or(now), Some(reason));
        self.watch(&queue);
        Ok(Admission::Queued { ticket, poll_now: is_head || is_due })
    }

    /// Starts a call now or not at all; it passes nobody who waits for the same.
    ///
    /// # Errors
    /// [`Error::NeverFits`], or [`Error::QuotaExceeded`] if it would have to wait.
    pub fn try_acquire(&self, request: &Request<'_>) -> Result<Lease> {
        if self.is_remote {
            return self.try_remotely(request);
        }
        let mut queue = self.queue.lock();
        let call = call_of(&mut queue, request);
        let started = self.start(&mut queue, &call)?;
        self.watch(&queue);
        if started.is_err() {
            self.store.earliest(&call.path, &Amounts::default(), &call.amounts)?;
        }
        started.map_err(|reason| self.refusal(&reason, self.store.now()))
    }

    /// Lets everybody start who can, and tells when to ask again.
    pub fn poll(&self) -> Poll<W> {
        let mut queue = self.queue.lock();
        let mut done = Vec::new();
        // Whoever starts falls behind in the order of every class, which may bring somebody else to the head of one that was
        // asked already; so rounds go on until one changes nothing.
        loop {
            let before = done.len();
            self.run_round(&mut queue, &mut done);
            self.refuse_overdue(&mut queue, &mut done);
            if done.len() == before {
                break;
            }
        }
        self.watch(&queue);
        Poll { done, wake_at: queue.wake_at() }
    }

    /// When to poll though nobody gives anything back; None while nobody waits.
    #[must_use]
    pub fn wake_at(&self) -> Option<Time> {
        self.queue.lock().wake_at()
    }

    /// Takes a waiting call out, and tells whether it was still waiting; poll afterwards.
    pub fn cancel(&self, ticket: Ticket) -> Option<W> {
        let mut queue = self.queue.lock();
        let (_, waiter) = queue.remove(ticket)?;
        self.watch(&queue);
        Some(waiter)
    }

    /// Takes over what the answer to a call tells of the provider's limits; whether one of them has changed. Poll afterwards if
    /// [`Limiter::has_waiting`].
    ///
    /// # Errors
    /// [`Error::LeaseEnded`] if it is over.
    pub fn learn(&self, lease: &Lease, told: &[Told]) -> Result<bool> {
        self.store.learn(lease.id, told)
    }

    /// Ends the lease of a call that has its answer, with what was really used; poll afterwards if [`Limiter::has_waiting`].
    ///
    /// # Errors
    /// [`Error::LeaseEnded`] if it is over.
    pub fn settle(&self, lease: &Lease, actual: &Amounts) -> Result<()> {
        self.store.settle(lease.id, actual)?;
        self.correct(lease, actual);
        Ok(())
    }

    /// Ends the lease of a call that has none; `kept` is what remains of its reservation. Returns when it was granted. Poll
    /// afterwards if [`Limiter::has_waiting`].
    ///
    /// # Errors
    /// [`Error::LeaseEnded`] if it is over.
    pub fn fail(&self, lease: &Lease, kept: &Amounts, setback: &Setback) -> Result<Time> {
        let granted_at = self.store.fail(lease.id, kept, setback)?;
        self.correct(lease, kept);
        Ok(granted_at)
    }

    fn correct(&self, lease: &Lease, actual: &Amounts) {
        if let Some(tenant) = lease.tenant
            && *actual != lease.amounts
        {
            self.queue.lock().correct(tenant, &lease.amounts, actual);
        }
    }

    /// Sets a lease's expiry anew.
    ///
    /// # Errors
    /// [`Error::LeaseEnded`] if it is over.
    pub fn renew(&self, lease: &Lease) -> Result<()> {
        self.store.renew(lease.id)
    }

    /// Whether anybody waits.
    #[must_use]
    pub fn has_waiting(&self) -> bool {
        self.is_watched.load(Ordering::Acquire) && !self.queue.lock().is_empty()
    }

    /// A scope as it stands, and the calls that wait and fall under it.
    ///
    /// # Errors
    /// The store's.
    pub fn status(&self, scope: ScopeId) -> Result<Status> {
        let standing = self.store.status(scope)?;
        let store = self.store.condition();
        let _inside = self.inside();
        let queue = self.queue.lock();
        let head = queue.head(scope).map(|(tenant, blocked)| Head {
            tenant,
            scope: self.store.name(blocked.scope),
            dimension: blocked.dimension,
            ready_at: blocked.ready_at,
        });
        let now = self.store.now();
        Ok(Status { scope: standing, waiting: queue.waiting(scope), head, store, now })
    }

    /// Drops all leases and all who wait, and returns these: in a forked child they are the parent's.
    pub fn forget(&self) -> Vec<W> {
        self.store.forget_leases();
        self.queue.lock().clear()
    }

    /// The short way while nobody waits and no tenants are told apart: without the queue. None if that is not so, or has no room.
    fn start_alone(&self, request: &Request<'_>) -> Result<Option<Lease>> {
        if !request.tenant.is_empty() || self.is_watched.load(Ordering::Acquire) {
            return Ok(None);
        }
        match self.store.reserve(request.path, &request.amounts)? {
            Decision::Granted(id) => Ok(Some(Lease { id, tenant: None, amounts: request.amounts })),
            Decision::Never(misfit) => Err(Error::NeverFits(misfit)),
            Decision::Wait(_) => Ok(None),
        }
    }

    fn start(&self, queue: &mut Queue<W>, call: &Call) -> Result<std::result::Result<Lease, Blocked>> {
        if let Some(obstacle) = queue.obstacle(&call.path) {
            return Ok(Err(obstacle));
        }
        self.reserve(queue, call)
    }

    fn reserve(&self, queue: &mut Queue<W>, call: &Call) -> Result<std::result::Result<Lease, Blocked>> {
        match self.store.reserve(&call.path, &call.amounts)? {
            Decision::Granted(id) => {
                let tenant = queue.charge(call.tenant, &call.amounts);
                Ok(Ok(Lease { id, tenant, amounts: call.amounts }))
            }
            Decision::Wait(reason) => Ok(Err(reason)),
            Decision::Never(misfit) => Err(Error::NeverFits(misfit)),
        }
    }

    fn run_round(&self, queue: &mut Queue<W>, done: &mut Vec<(W, Result<Lease>)>) {
        let mut round = queue.start_round();
        while let Some((ticket, call)) = queue.next(&mut round) {
            let outcome = match self.reserve(queue, &call) {
                Ok(Ok(lease)) => Ok(lease),
                Ok(Err(reason)) => match self.wait_on(&call, &reason) {
                    Ok(()) => {
                        queue.block(reason);
                        continue;
                    }
                    Err(refusal) => Err(refusal),
                },
                Err(misfit) => Err(misfit),
            };
            let (_, waiter) = queue.remove(ticket).expect("the call just asked about waits");
            done.push((waiter, outcome));
        }
    }

    fn refuse_overdue(&self, queue: &mut Queue<W>, done: &mut Vec<(W, Result<Lease>)>) {
        let now = self.store.now();
        while let Some((ticket, reason)) = queue.overdue(now) {
            let (_, waiter) = queue.remove(ticket).expect("an overdue call waits");
            done.push((waiter, Err(self.refusal(&reason, now))));
        }
    }

    /// Keeps the place of a call that waits on, unless it rather is refused.
    fn wait_on(&self, call: &Call, reason: &Blocked) -> Result<()> {
        self.refuse_if_late(call, reason, self.store.now())?;
        self.store.wait(reason, &call.amounts)
    }

    fn refuse_if_late(&self, call: &Call, blocked: &Blocked, now: Time) -> Result<()> {
        let is_late = call.deadline.is_some_and(|deadline| {
            deadline <= now || blocked.ready_at.is_some_and(|ready_at| deadline < ready_at)
        });
        if is_late || blocked.cause == Cause::LongPause { Err(self.refusal(blocked, now)) } else { Ok(()) }
    }

    fn refusal(&self, blocked: &Blocked, now: Time) -> Error {
        let shortage = Shortage {
            scope: self.store.name(blocked.scope),
            dimension: blocked.dimension,
            retry_after: blocked.ready_at.map(|ready_at| ready_at.since(now)),
        };
        match blocked.cause {
            Cause::Room => Error::QuotaExceeded(shortage),
            Cause::Pause | Cause::LongPause => Error::Paused(shortage),
        }
    }

    fn watch(&self, queue: &Queue<W>) {
        self.is_watched.store(queue.has_tenants() || !queue.is_empty(), Ordering::Release);
        if queue.is_empty() {
            self.store.leave();
        }
    }
}

fn call_of<W>(queue: &mut Queue<W>, request: &Request<'_>) -> Call {
    Call {
        class: request.class,
        path: *request.path,
        tenant: queue.tenant(request.tenant),
        priority: request.priority,
        amounts: request.amounts,
        deadline: request.deadline,
    }
}
