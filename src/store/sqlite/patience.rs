//! How long a step waits while another process has the file for itself.

use std::cell::Cell;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode};

use crate::clock::{Clock, SystemClock, Time};

/// Who waits for the file first looks again at once, so often,
const EAGER_LOOKS: i32 = 400;
/// then after so long,
const PAUSE: Duration = Duration::from_micros(100);
/// and gives up after this time, which is the longest that any call hangs on the file,
pub(super) const PATIENCE: Duration = Duration::from_secs(2);
/// or, where it was lost, after this: then it is tried again and again.
const PATIENCE_TO_TRY: Duration = Duration::from_millis(10);

/// Looks again for a step.
pub(super) fn look_again(looks: i32) -> bool {
    look_for(looks, PATIENCE)
}

/// Looks again for a file that was lost.
pub(super) fn look_briefly(looks: i32) -> bool {
    look_for(looks, PATIENCE_TO_TRY)
}

/// Does something again that SQLite gives up at once where others do the same, rather than ask the handler: to wait for one another
/// might last for ever. So it is where several processes make one file at the same time.
#[allow(clippy::disallowed_methods, reason = "as of `look_for`")]
pub(crate) fn insist<T>(
    connection: &Connection,
    patience: Duration,
    act: impl Fn(&Connection) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    let began = SystemClock.now();
    loop {
        match act(connection) {
            Err(busy)
                if busy.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
                    && SystemClock.now().since(began) < patience =>
            {
                if !connection.is_autocommit() {
                    connection.execute_batch("ROLLBACK")?;
                }
                std::thread::sleep(PAUSE);
            }
            done => return done,
        }
    }
}

/// Takes turns with others without sleeping at first: with SQLite's own handler a process can wait for ever.
#[allow(
    clippy::disallowed_methods,
    reason = "another process writes, which takes microseconds; nothing would wake us"
)]
fn look_for(looks: i32, patience: Duration) -> bool {
    thread_local!(static SINCE: Cell<Time> = const { Cell::new(Time::ZERO) });
    let now = SystemClock.now();
    if looks == 0 {
        SINCE.set(now);
    }
    if looks < EAGER_LOOKS {
        std::thread::yield_now();
    } else {
        std::thread::sleep(PAUSE);
    }
    now.since(SINCE.get()) < patience
}
