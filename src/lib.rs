//! The native core of ratekeeper: who may call a model now, who has to wait, and until when.
//!
//! The core answers, it never sleeps: every decision is a pure step of (state, request, now). Time and waiting are the
//! caller's, so that a day of traffic runs in a test in milliseconds.
//!
//! | word | means |
//! |---|---|
//! | quota | what the provider grants: amounts per period, burst, concurrency |
//! | scope | whose quota: provider, account, quota group |
//! | bucket | the state of one dimension of a quota |
//! | amount | what a call asks of each bucket |
//! | reserve, lease, settle, release | estimate taken; live claim with an expiry; real usage replaces it; given back |
//! | permit | one concurrency slot |
//! | pause | nobody in the scope starts before t, after a refusal |
//! | decision | Granted, Wait or Never |
//! | budget | a ceiling on money, tokens or calls under some tags |
//! | usage, price | tokens counted; USD per million of them |
//!
//! Arrows run down only: `bindings` → [`limiter`], [`throttle`], [`retry`], [`estimate`], [`ledger`] → [`store`] → [`bucket`], [`pace`], [`queue`],
//! [`semaphore`] → [`scope`] → [`quota`] → [`error`], [`clock`]. [`budget`] and [`prices`] stand alone; the [`store`] keeps budgets and
//! retry budgets for many processes, by their own arithmetic.

pub mod bucket;
pub mod budget;
mod bytes;
pub mod clock;
pub mod error;
pub mod estimate;
pub mod ledger;
pub mod limiter;
pub mod pace;
pub mod prices;
pub mod queue;
pub mod quota;
pub mod retry;
pub mod scope;
pub mod semaphore;
mod spawn;
pub mod store;
pub mod throttle;

#[cfg(feature = "python")]
mod bindings;
