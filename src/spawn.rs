//! Threads of our own. Signals are left to those of the application.

use std::io;
use std::thread::{Builder, JoinHandle};

/// What the system raises for a fault of the very thread, and cannot put off.
const FAULTS: [libc::c_int; 6] =
    [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGTRAP, libc::SIGSYS];

/// Starts a thread that no signal is delivered to.
///
/// A thread that blocks a signal for a moment counts on not being ended in it: so a child of Celery's prefork pool reports its end while
/// it holds a lock of the whole pool. A thread of ours that took the signal meanwhile would end the process with the lock held.
pub(crate) fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    // A thread begins with what the one blocks that starts it.
    let _masked = Masked::new()?;
    Builder::new().name(name.to_owned()).spawn(body)
}

/// All signals are blocked in this thread while it is there.
struct Masked {
    before: libc::sigset_t,
}

impl Masked {
    #[allow(unsafe_code)]
    fn new() -> io::Result<Self> {
        // SAFETY: zeros are a valid set, and the sets outlive the calls.
        let (code, before) = unsafe {
            let (mut all, mut before) = std::mem::zeroed::<(libc::sigset_t, libc::sigset_t)>();
            libc::sigfillset(&raw mut all);
            for fault in FAULTS {
                libc::sigdelset(&raw mut all, fault);
            }
            (libc::pthread_sigmask(libc::SIG_BLOCK, &raw const all, &raw mut before), before)
        };
        if code == 0 { Ok(Self { before }) } else { Err(io::Error::from_raw_os_error(code)) }
    }
}

impl Drop for Masked {
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        // SAFETY: the set is the one that the system gave. It cannot fail with a set and a word that are valid.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.before, std::ptr::null_mut()) };
    }
}
