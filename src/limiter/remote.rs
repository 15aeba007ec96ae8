//! Asking a store that is a round trip away: callers get a place in the queue at once, and an agent asks for many of them together.
//! The queue is not locked while the store is asked.

use std::sync::Arc;

use super::{Admission, Lease, Limiter, Poll, Request, call_of};
use crate::error::{Error, Result};
use crate::pace::Setback;
use crate::queue::{Call, Loan, Ticket};
use crate::quota::Amounts;
use crate::store::{Decision, Inside, Remote, Store};

/// A call that is being asked about.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    ticket: Ticket,
    call: Call,
    charged: Option<Loan>,
}

impl Asked {
    /// What is asked for.
    #[must_use]
    pub const fn call(&self) -> &Call {
        &self.call
    }
}

impl<W> Limiter<W> {
    /// The store, if it is a round trip away: then [`Limiter::asks`] and [`Limiter::answers`] do what [`Limiter::poll`] does elsewhere.
    #[must_use]
    pub fn remote(&self) -> Option<&dyn Remote> {
        self.store.remote()
    }

    /// The store, to be seen to when the limiter is gone.
    #[must_use]
    pub fn store(&self) -> Arc<dyn Store> {
        self.store.clone()
    }

    /// Gives a call its place in the queue.
    pub(super) fn enqueue(&self, request: &Request<'_>, waiter: impl FnOnce() -> W) -> Result<Admission> {
        let mut queue = self.queue.lock();
        let (call, now) = (call_of(&mut queue, request), self.store.now());
        if queue.obstacle(&call.path).is_some()
            && let Some(last) = self.store.earliest(&call.path, &queue.ahead_of(&call), &call.amounts)?
        {
            self.refuse_if_late(&call, &last, now)?;
        }
        let (ticket, is_head) = queue.push(call, waiter(), request.since.unwrap_or(now), None);
        self.watch(&queue);
        let is_first_due = call.deadline.is_some() && call.deadline == queue.wake_at();
        let poll_now = is_head || is_first_due || queue.is_next(ticket);
        Ok(Admission::Queued { ticket, poll_now })
    }

    /// What keeps forks away from the locks of a limiter that is used without the interpreter, where its store is a round trip away.
    #[must_use]
    pub fn inside(&self) -> Option<Inside> {
        self.remote().map(Remote::enter)
    }

    /// Starts a call now or not at all, after one round trip. To be called without the interpreter.
    pub(super) fn try_remotely(&self, request: &Request<'_>) -> Result<Lease> {
        let call = {
            let _inside = self.inside();
            let mut queue = self.queue.lock();
            let call = call_of(&mut queue, request);
            if let Some(obstacle) = queue.obstacle(&call.path) {
                return Err(self.refusal(&obstacle, self.store.now()));
            }
            call
        };
        let decision = self.store.reserve(&call.path, &call.amounts)?;
        let _inside = self.inside();
        match decision {
            Decision::Granted(id) => {
                let tenant = self.queue.lock().charge(call.tenant, &call.amounts);
                Ok(Lease { id, tenant, amounts: call.amounts })
            }
            Decision::Wait(reason) => Err(self.refusal(&reason, self.store.now())),
            Decision::Never(misfit) => Err(Error::NeverFits(misfit)),
        }
    }

    /// The fairest of those who wait, to be asked about together, in this order; also those who were refused before, if it is anew.
    #[must_use]
    pub fn asks(&self, most: usize, is_anew: bool) -> Vec<Asked> {
        let mut queue = self.queue.lock();
        let mut round = if is_anew { queue.start_round() } else { queue.go_on() };
        let mut asked = Vec::new();
        while asked.len() < most
            && let Some((ticket, call)) = queue.next(&mut round)
        {
            asked.push(Asked { ticket, call, charged: queue.lend(ticket) });
        }
        asked
    }

    /// Whoever was being asked about waits again: the one who asked is gone.
    pub fn ask_again(&self) {
        self.queue.lock().put_all_back();
    }

    /// Whether anybody waits whom nobody holds up.
    #[must_use]
    pub fn has_open(&self) -> bool {
        let queue = self.queue.lock();
        queue.next(&mut queue.go_on()).is_some()
    }

    /// Hands the answers out: who goes, who is refused, and who waits on.
    pub fn answers(&self, answers: Vec<(Asked, Result<Decision>)>) -> Poll<W> {
        let mut queue = self.queue.lock();
        let mut done = Vec::new();
        for (asked, answer) in answers {
            let Asked { ticket, call, charged } = asked;
            let outcome = match answer {
                Ok(Decision::Granted(id)) => {
                    let tenant = charged.map(|loan| queue.start(loan));
                    Ok(Lease { id, tenant, amounts: call.amounts })
                }
                Ok(Decision::Wait(reason)) => match self.refuse_if_late(&call, &reason, self.store.now()) {
                    Ok(()) => {
                        uncharge(&mut queue, &asked);
                        if queue.put_back(ticket) {
                            queue.block(reason);
                        }
                        continue;
                    }
                    Err(refusal) => Err(refusal),
                },
                Ok(Decision::Never(misfit)) => Err(Error::NeverFits(misfit)),
                Err(error) => Err(error),
            };
            if outcome.is_err() {
                uncharge(&mut queue, &asked);
            }
            match (queue.remove(ticket), outcome) {
                (Some((_, waiter)), outcome) => done.push((waiter, outcome)),
                (None, Ok(lease)) => {
                    // Its caller has gone meanwhile. That it cannot have ended yet is sure.
                    self.store.fail(lease.id, &Amounts::default(), &Setback::Other).ok();
                    uncharge(&mut queue, &asked);
                }
                (None, Err(_)) => {}
            }
        }
        self.refuse_overdue(&mut queue, &mut done);
        self.watch(&queue);
        Poll { done, wake_at: queue.wake_at() }
    }
}

fn uncharge<W>(queue: &mut crate::queue::Queue<W>, asked: &Asked) {
    if let Some(loan) = asked.charged {
        queue.correct(loan.tenant, &asked.call.amounts, &Amounts::default());
    }
}
