//! What can go wrong in the core, in one enum whose texts are written for people.
//! No Python types: `bindings` turns these into the package's exceptions.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::quota::Dimension;

/// A result of the core.
pub type Result<T> = std::result::Result<T, Error>;

/// Why the core refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// A value from outside is unusable.
    Invalid {
        /// The field's name, as its user writes it.
        field: String,
        /// What would have been right.
        expected: String,
        /// What was there instead.
        got: String,
    },
    /// No room before the deadline.
    QuotaExceeded(Shortage),
    /// No room before the deadline, or for longer than anybody waits: the provider said so.
    Paused(Shortage),
    /// More than the quota could ever hold.
    NeverFits(Misfit),
    /// The lease is over: used a second time, or after it had expired.
    LeaseEnded(Ended),
    /// What is kept outside of this process cannot be reached.
    Store {
        /// What is kept there.
        kind: Kept,
        /// Where it is.
        store: String,
        /// Why, and what to do.
        what: String,
    },
}

/// What is kept outside of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// What calls took.
    Ledger,
    /// What processes share of their quotas.
    Quotas,
}

/// Which dimension of which scope has no room, and until when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shortage {
    /// Whose quota.
    pub scope: Arc<str>,
    /// The dimension without room.
    pub dimension: Dimension,
    /// Time until there is room; unknown while all permits are held.
    pub retry_after: Option<Duration>,
}

/// An amount above what a limit could ever grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// Whose quota.
    pub scope: Arc<str>,
    /// The dimension that is too small.
    pub dimension: Dimension,
    /// What was asked.
    pub amount: u64,
    /// The most that can be asked in one call.
    pub limit: u64,
}

/// How a lease ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Settled, released or closed before.
    Over,
    /// Not renewed in time; its permit was given to somebody else.
    Expired,
}

impl Error {
    /// An [`Error::Invalid`] from its three parts.
    pub fn invalid(field: impl Into<String>, expected: impl Into<String>, got: impl fmt::Display) -> Self {
        Self::Invalid { field: field.into(), expected: expected.into(), got: got.to_string() }
    }
}

impl Error {
    /// An [`Error::Store`] of a ledger.
    pub fn ledger(store: impl fmt::Display, what: impl Into<String>) -> Self {
        Self::Store { kind: Kept::Ledger, store: store.to_string(), what: what.into() }
    }

    /// An [`Error::Store`] of what processes share.
    pub fn shared(store: impl fmt::Display, what: impl Into<String>) -> Self {
        Self::Store { kind: Kept::Quotas, store: store.to_string(), what: what.into() }
    }
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ledger => "ledger",
            Self::Quotas => "store",
        })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid { field, expected, got } => write!(f, "{field}: expected {expected}, got {got}"),
            Self::QuotaExceeded(shortage) => shortage.fmt(f),
            Self::Paused(shortage) => {
                let wait = shortage.retry_after.unwrap_or_default().as_secs_f64();
                let Shortage { scope, dimension, .. } = shortage;
                write!(
                    f,
                    "{scope} is paused: the provider has no {} left and says to come back in {wait:.3} s",
                    dimension.unit()
                )
            }
            Self::NeverFits(misfit) => misfit.fmt(f),
            Self::LeaseEnded(Ended::Over) => {
                f.write_str("this lease is over: it was settled, released or closed before")
            }
            Self::Store { kind, store, what } => write!(f, "the {kind} {store}: {what}"),
            Self::LeaseEnded(Ended::Expired) => f.write_str(
                "this lease has expired and its permit was given away: renew() it during long calls, or raise lease_ttl",
            ),
        }
    }
}

impl std::error::Error for Error {}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no room for {} in {} before the deadline", self.dimension, self.scope)?;
        match self.retry_after {
            Some(wait) => write!(f, "; there is room in {:.3} s", wait.as_secs_f64()),
            None => f.write_str("; all permits are held"),
        }
    }
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "a call of {} {} can never fit: {} grants at most {}; make the call smaller or raise the quota",
            self.amount,
            self.dimension.unit(),
            self.scope,
            self.limit
        )
    }
}
