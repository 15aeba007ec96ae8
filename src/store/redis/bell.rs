//! What a thread waits for: rung by others when there is something to do. The standard library's lock and condition have no state
//! that a fork could find locked elsewhere than in the bell itself.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Rung once or often, it is heard once.
#[derive(Default)]
pub struct Bell {
    is_rung: Mutex<bool>,
    heard: Condvar,
}

impl Bell {
    /// Has whoever waits go on, or not wait at all.
    pub fn ring(&self) {
        *self.is_rung.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.heard.notify_one();
    }

    /// Waits until it is rung, but no longer than that.
    pub fn wait(&self, longest: Duration) {
        let is_rung = self.is_rung.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.heard.wait_timeout_while(is_rung, longest, |is_rung| !*is_rung);
        *waited.unwrap_or_else(PoisonError::into_inner).0 = false;
    }
}
