//! SIGTERM. In a process that has not prepared for it the one who is told can give back what is held, before the process ends; in one
//! that has a handler of its own what is given back from then on is told at once, since nobody knows when it ends.
//!
//! Owns the handlers. One writes a byte into a pipe; a thread reads it. Python's own handlers run in the main thread, and not while
//! that waits in the system for something else: a process would not end that ends by the default. The other goes on to the application's.

use std::io;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};

use pyo3::prelude::*;

use crate::store::tell_at_once;

/// What is written into the pipe.
static TERMINATED: u8 = b't';

/// Where the handler writes,
static PIPE: AtomicI32 = AtomicI32::new(-1);
/// and whose pipe it is: a child of a fork has the handler too, until it is taken back.
static OWNER: AtomicI32 = AtomicI32::new(0);

/// Only calls what a handler may call.
#[allow(unsafe_code)]
extern "C" fn tell(signal: libc::c_int) {
    // SAFETY: all of these may be called in a handler, and the byte outlives the call. `errno` is put back, since the interrupted code
    // may be about to read it.
    unsafe {
        let errno = libc::__errno_location();
        let before = *errno;
        let told = libc::getpid() == OWNER.load(Ordering::Relaxed)
            && libc::write(PIPE.load(Ordering::Relaxed), (&raw const TERMINATED).cast(), 1) == 1;
        if !told {
            // Delivered when this returns, to the default.
            libc::raise(signal);
        }
        *errno = before;
    }
}

/// The application's handler, which `hear` goes on to.
static THEIRS: AtomicUsize = AtomicUsize::new(libc::SIG_IGN);

/// uvicorn, which answers what was begun and then has the default end it, gives no other sign of its end.
#[allow(unsafe_code)]
extern "C" fn hear(signal: libc::c_int) {
    tell_at_once(true);
    // SAFETY: it was a handler of that kind when its place was taken, and nobody unloads the interpreter.
    let theirs: extern "C" fn(libc::c_int) = unsafe { std::mem::transmute(THEIRS.load(Ordering::Relaxed)) };
    theirs(signal);
}

fn of(handler: extern "C" fn(libc::c_int)) -> libc::sighandler_t {
    handler as libc::sighandler_t
}

/// What SIGTERM does now.
#[allow(unsafe_code)]
fn disposition() -> io::Result<libc::sigaction> {
    // SAFETY: zeros are a valid `sigaction`, and it is only written to.
    let (code, found) = unsafe {
        let mut found: libc::sigaction = std::mem::zeroed();
        (libc::sigaction(libc::SIGTERM, std::ptr::null(), &raw mut found), found)
    };
    if code == 0 { Ok(found) } else { Err(io::Error::last_os_error()) }
}

/// Has SIGTERM do something else.
#[allow(unsafe_code)]
fn dispose(action: libc::sighandler_t, like: &libc::sigaction, flags: libc::c_int) -> io::Result<()> {
    let new = libc::sigaction { sa_sigaction: action, sa_flags: flags, ..*like };
    // SAFETY: the action is the default, or one of ours, which take what these flags give them.
    let code = unsafe { libc::sigaction(libc::SIGTERM, &raw const new, std::ptr::null_mut()) };
    if code == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Has SIGTERM write a byte into that pipe, which does not block, if it would otherwise end this process; if the application has a
/// handler, that stays, and is heard first.
#[pyfunction]
fn tell_of_sigterm(pipe: i32) -> PyResult<()> {
    let now = disposition()?;
    let is_plain = now.sa_flags & (libc::SA_SIGINFO | libc::SA_RESETHAND) == 0;
    match now.sa_sigaction {
        libc::SIG_DFL => {
            PIPE.store(pipe, Ordering::Relaxed);
            OWNER.store(std::process::id().cast_signed(), Ordering::Relaxed);
            // The second one ends the process at once, whatever becomes of the first.
            dispose(of(tell), &now, libc::SA_RESETHAND | libc::SA_RESTART)?;
        }
        theirs if is_plain && theirs != libc::SIG_IGN && theirs != of(hear) => {
            THEIRS.store(theirs, Ordering::Relaxed);
            dispose(of(hear), &now, now.sa_flags)?;
        }
        _ => {}
    }
    Ok(())
}

/// Has SIGTERM end this process again, if it would write into the pipe.
#[pyfunction]
fn forget_sigterm() -> PyResult<()> {
    let now = disposition()?;
    if now.sa_sigaction == of(tell) {
        dispose(libc::SIG_DFL, &now, 0)?;
    }
    Ok(())
}

/// Ends this process as it would have ended; who has taken SIGTERM over meanwhile is asked instead.
///
/// Its main thread is sent it, which may block it for a moment: so does that of a child of Celery's while it holds a lock of its pool.
#[pyfunction]
#[allow(unsafe_code)]
pub(super) fn end_by_sigterm() -> PyResult<()> {
    forget_sigterm()?;
    let pid = libc::c_long::from(std::process::id().cast_signed());
    // SAFETY: a system call with three numbers; the main thread's id is that of the process.
    match unsafe { libc::syscall(libc::SYS_tgkill, pid, pid, libc::c_long::from(libc::SIGTERM)) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error().into()),
    }
}

extern "C" fn forget_in_child() {
    tell_at_once(false);
    // In a child that cannot be helped, the handler itself sees that it is not its owner's.
    forget_sigterm().ok();
}

/// A child of a fork ends by SIGTERM as any process does, until it has a pipe of its own.
#[allow(unsafe_code)]
fn forget_after_forks() -> PyResult<()> {
    // SAFETY: the handler lives as long as the process, for a module with native code is never unloaded; it only makes system calls,
    // and does not unwind.
    match unsafe { libc::pthread_atfork(None, None, Some(forget_in_child)) } {
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(code).into()),
    }
}

pub(super) fn add_to(module: &Bound<'_, PyModule>) -> PyResult<()> {
    forget_after_forks()?;
    module.add_function(wrap_pyfunction!(end_by_sigterm, module)?)?;
    module.add_function(wrap_pyfunction!(tell_of_sigterm, module)?)?;
    module.add_function(wrap_pyfunction!(forget_sigterm, module)?)
}
