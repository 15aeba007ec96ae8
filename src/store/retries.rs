//! Retry budgets that processes share: one trait, each method one atomic step that brings its own time.
//! What a retry costs is [`crate::retry`]'s decision.

use crate::error::Result;
use crate::retry::Kind;

/// The retry budgets of all scopes.
pub trait Retries: Send + Sync {
    /// Pays for one retry in that scope, or refuses; a refusal changes nothing.
    ///
    /// # Errors
    /// [`Error::Store`](crate::error::Error::Store), here and below, if it cannot be reached: then nothing is changed.
    fn try_take(&self, scope: &str, kind: Kind, is_queued: bool) -> Result<bool>;

    /// A call has succeeded, after that failure or at its first attempt.
    ///
    /// # Errors
    /// The store's.
    fn succeeded(&self, scope: &str, last_failure: Option<Kind>, is_queued: bool) -> Result<()>;

    /// What is left.
    ///
    /// # Errors
    /// The store's.
    fn balance(&self, scope: &str) -> Result<u32>;

    /// Whether a step may take longer than an event loop should stand still.
    fn is_remote(&self) -> bool {
        false
    }
}
