//! One file that is open in this process: its connection, its clock, and this process's presence in it.
//! It knows nothing of what a row means.
//!
//! A process is there for as long as it says so every few seconds. One that falls silent, since it was killed, is struck off by whoever
//! notices first, and with it all that it held. SQLite's locks do not survive a fork, so all files are closed before one, and
//! opened anew where they are used next; the child is a process of its own.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, params};

use super::patience::{PATIENCE, insist, look_again, look_briefly};
use super::shared::ProcessId;
use super::tree::{Fault, Tree};
use super::{SqliteStore, schema, sweep};
use crate::clock::{Clock, MachineClock, Time, run_of_machine};
use crate::error::{Error, Result};
use crate::store::health::Health;
use crate::store::{Policy, Turn};

/// How long a process is believed to be there after it has last said so.
pub(super) const PRESENCE: Duration = Duration::from_secs(10);
/// How often a process says that it is there.
const PULSE: Duration = Duration::from_millis(2_500);
const REMOVED: &str = "it was removed or replaced while in use; put it back, or restart a process that uses it, which makes a new one";

/// The files that are open in this process.
static FILES: Mutex<Vec<Weak<File>>> = Mutex::new(Vec::new());

/// What is known of an open file.
pub(super) struct Open {
    pub(super) connection: Connection,
    /// The process that opened it: a child that nobody told of its birth must not use it.
    pid: u32,
}

/// This process in a file.
#[derive(Default)]
pub(super) struct State {
    pub(super) open: Option<Open>,
    pub(super) process: ProcessId,
    pid: u32,
    /// How often this process began anew: leases from before are over.
    pub(super) epoch: u64,
    pulse_at: Time,
    /// Which file it was when it was last opened.
    identity: Option<(u64, u64)>,
    pub(super) health: Health,
}

impl State {
    /// The connection of a file that was prepared.
    pub(super) fn connection(&self) -> &Connection {
        &self.open.as_ref().expect("the file is prepared before it is used").connection
    }
}

/// One file.
pub(super) struct File {
    path: PathBuf,
    /// What to do while it is lost.
    pub(super) policy: Policy,
    /// A clock of its user's, in tests.
    manual: Option<Arc<dyn Clock>>,
    clock: Mutex<Option<MachineClock>>,
    pub(super) state: Mutex<State>,
    /// Who decides by it.
    trees: Mutex<Vec<Weak<Mutex<Tree>>>>,
}

impl File {
    /// The file at that path, opened or found open.
    pub(super) fn at(path: &Path, policy: Policy, manual: Option<Arc<dyn Clock>>) -> Result<Arc<Self>> {
        let mut files = FILES.lock();
        files.retain(|file| file.strong_count() > 0);
        let mut known = files.iter().filter_map(Weak::upgrade);
        let is_same = |file: &Arc<Self>| {
            manual.is_none() && file.manual.is_none() && file.path == path && file.policy == policy
        };
        if let Some(file) = known.find(is_same) {
            return Ok(file);
        }
        let file = Arc::new(Self {
            path: path.to_owned(),
            policy,
            manual,
            clock: Mutex::default(),
            state: Mutex::default(),
            trees: Mutex::default(),
        });
        file.prepare(&mut file.state.lock())?;
        files.push(Arc::downgrade(&file));
        Ok(file)
    }

    pub(super) fn now(&self) -> Time {
        match (&self.manual, &*self.clock.lock()) {
            (Some(manual), _) => manual.now(),
            (None, Some(clock)) => clock.now(),
            (None, None) => Time::ZERO,
        }
    }

    /// Has it looked after while nobody asks.
    pub(super) fn attend(&self, tree: &Arc<Mutex<Tree>>) {
        let mut trees = self.trees.lock();
        trees.retain(|tree| tree.strong_count() > 0);
        trees.push(Arc::downgrade(tree));
    }

    /// Opens it, if it is not, and says that this process is there, if that is due. One that is lost is tried again now and then.
    pub(super) fn prepare(&self, state: &mut State) -> Result<()> {
        let pid = std::process::id();
        if state.open.as_ref().is_some_and(|open| open.pid != pid) {
            return Err(
                self.error("this process was forked behind Python's back; make the keeper in the child")
            );
        }
        if let Some(why) = state.health.refusal(self.now()) {
            return Err(why);
        }
        let done = self.make_ready(state, pid);
        if let Err(why) = &done {
            self.lose(state, why);
        }
        done
    }

    fn make_ready(&self, state: &mut State, pid: u32) -> Result<()> {
        if state.open.is_none() {
            self.open(state, pid)?;
        }
        let now = self.now();
        if now >= state.pulse_at { self.pulse(state, now) } else { Ok(()) }
    }

    /// It cannot be used for now. What is wrong with one that was never used is its user's to hear at once.
    pub(super) fn lose(&self, state: &mut State, why: &Error) {
        if state.identity.is_some() {
            state.open = None;
            state.health.failed(why, self.url(), self.policy, self.now());
        }
    }

    fn open(&self, state: &mut State, pid: u32) -> Result<()> {
        let is_first = state.identity.is_none();
        let mut flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        // One that was there and is gone is not made anew in silence: somebody else may still use it, by another path.
        flags.set(OpenFlags::SQLITE_OPEN_CREATE, is_first);
        let say = |error| self.failure(&error);
        if !is_first && identity(&self.path).is_none() {
            return Err(self.error(REMOVED));
        }
        let mut connection = Connection::open_with_flags(&self.path, flags).map_err(say)?;
        let is_lost = state.health.is_lost();
        connection.busy_handler(Some(if is_lost { look_briefly } else { look_again })).map_err(say)?;
        connection.set_prepared_statement_cache_capacity(32);
        insist(&connection, PATIENCE, schema::check).map_err(say)?.map_err(|what| self.error(&what))?;
        if self.manual.is_none() {
            *self.clock.lock() = Some(clock_of(&connection).map_err(say)?);
        }
        let found = identity(&self.path);
        // In another file this process is somebody else.
        if state.pid != pid || state.identity != found {
            (state.pid, state.process) = (pid, 0);
        }
        if is_first {
            state.health.begins(self.now());
        }
        (state.identity, state.pulse_at) = (found, Time::ZERO);
        state.open = Some(Open { connection, pid });
        Ok(())
    }

    /// Says that this process is there; one that was struck off meanwhile begins anew.
    fn pulse(&self, state: &mut State, now: Time) -> Result<()> {
        if state.identity != identity(&self.path) {
            return Err(self.error(REMOVED));
        }
        let (until, was) = (nanos(now + PRESENCE), state.process);
        let say = |error| self.failure(&error);
        let connection = state.connection();
        let process = enter(connection, was, until, nanos(now)).map_err(say)?;
        let processes = count(connection, nanos(now)).map_err(say)?;
        if let Some(open) = state.open.as_mut().filter(|_| state.health.is_lost()) {
            open.connection.busy_handler(Some(look_again)).map_err(say)?;
        }
        if process != was {
            (state.process, state.epoch) = (process, state.epoch + 1);
        }
        state.pulse_at = now + PULSE;
        state.health.processes = processes;
        state.health.opened();
        Ok(())
    }

    /// Where it is, as people name it.
    pub(super) fn url(&self) -> String {
        format!("sqlite:///{}", self.path.display())
    }

    pub(super) fn error(&self, what: &str) -> Error {
        Error::shared(self.path.display(), what)
    }

    pub(super) fn fault(&self, fault: Fault) -> Error {
        match fault {
            Fault::Sqlite(error) => self.failure(&error),
            Fault::Damaged(name) => self.error(&format!(
                "what it says of {name} is damaged; move it away with its -wal and -shm, and all starts anew"
            )),
        }
    }

    pub(super) fn failure(&self, error: &rusqlite::Error) -> Error {
        self.error(&explain(&self.path, error))
    }

    /// Gives back what this process holds, if it has it open.
    fn leave(&self) -> Result<()> {
        let mut state = self.state.lock();
        let process = std::mem::take(&mut state.process);
        state.pulse_at = Time::ZERO;
        let Some(open) = state.open.as_ref().filter(|open| open.pid == std::process::id()) else {
            return Ok(());
        };
        strike_off(&open.connection, nanos(self.now()), process).map_err(|fault| self.fault(fault))
    }

    /// Closes it, since a fork is about to happen.
    fn close(&self) {
        self.state.lock().open = None;
    }
}

/// To be called before this process forks, by the thread that does it, and with nobody else inside a store.
pub fn before_fork() {
    FILES.lock().iter().filter_map(Weak::upgrade).for_each(|file| file.close());
}

/// Says in all files that this process is there, where it has them open, and sees to those that are lost.
pub(super) fn pulse_all() {
    let files: Vec<Arc<File>> = FILES.lock().iter().filter_map(Weak::upgrade).collect();
    for file in files {
        let is_used = {
            let state = file.state.lock();
            state.open.is_some() || state.health.is_lost()
        };
        let trees: Vec<Arc<Mutex<Tree>>> = file.trees.lock().iter().filter_map(Weak::upgrade).collect();
        for tree in trees.into_iter().filter(|_| is_used) {
            SqliteStore { file: file.clone(), tree }.look_after();
        }
    }
}

/// Which files were lost and came back since this was last asked.
pub fn turns() -> Vec<Turn> {
    let files: Vec<Arc<File>> = FILES.lock().iter().filter_map(Weak::upgrade).collect();
    files.iter().flat_map(|file| file.state.lock().health.take_turns()).collect()
}

/// Gives back at once what this process holds in all files.
///
/// # Errors
/// The first [`Error::Store`]; what could not be given back comes back when it is missed.
pub(super) fn leave_all() -> Result<()> {
    let files: Vec<Arc<File>> = FILES.lock().iter().filter_map(Weak::upgrade).collect();
    let left: Vec<Result<()>> = files.iter().map(|file| file.leave()).collect();
    left.into_iter().collect()
}

impl Drop for File {
    fn drop(&mut self) {
        // What cannot be given back now comes back when this process is missed.
        self.leave().ok();
    }
}

/// Which file a path leads to.
fn identity(path: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    let found = std::fs::metadata(path).ok()?;
    Some((found.dev(), found.ino()))
}

/// How many processes are there.
fn count(connection: &Connection, now: i64) -> rusqlite::Result<u32> {
    connection
        .prepare_cached("SELECT count(*) FROM process WHERE until > ?")?
        .query_row([now], |row| row.get(0))
}

fn strike_off(connection: &Connection, now: i64, process: ProcessId) -> std::result::Result<(), Fault> {
    let transaction = connection.unchecked_transaction()?;
    sweep::strike_off(&transaction, now, process)?;
    Ok(transaction.commit()?)
}

/// The clock that all who use the file share. After the machine was started anew it goes on from the wall clock, but never back.
fn clock_of(connection: &Connection) -> rusqlite::Result<MachineClock> {
    let run = run_of_machine();
    connection.execute_batch("BEGIN IMMEDIATE")?;
    let found = connection
        .query_row("SELECT run, origin, seen FROM clock", [], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?))
        })
        .optional()?;
    let clock = match found {
        Some((known, origin, _)) if known == run => MachineClock::from_origin(origin.unsigned_abs()),
        found => {
            let wall = crate::clock::unix_micros().saturating_mul(1_000).max(0);
            let seen = found.map_or(0, |(_, _, seen)| seen);
            let clock = MachineClock::telling(Time::from_nanos(wall.max(seen).unsigned_abs()));
            connection.execute("DELETE FROM clock", [])?;
            let origin = i64::try_from(clock.origin()).unwrap_or(i64::MAX);
            connection.execute("INSERT INTO clock VALUES (?, ?, ?)", params![run, origin, wall.max(seen)])?;
            // Nobody who was there before is still there.
            connection.execute("UPDATE process SET until = 0", [])?;
            clock
        }
    };
    connection.execute_batch("COMMIT")?;
    Ok(clock)
}

fn enter(connection: &Connection, process: ProcessId, until: i64, now: i64) -> rusqlite::Result<ProcessId> {
    connection.prepare_cached("UPDATE clock SET seen = max(seen, ?)")?.execute([now])?;
    let is_there = "UPDATE process SET until = ? WHERE id = ?";
    if process > 0
        && connection.prepare_cached(is_there)?.execute(params![until, process.cast_signed()])? == 1
    {
        return Ok(process);
    }
    connection
        .execute("INSERT INTO process (pid, until) VALUES (?, ?)", params![std::process::id(), until])?;
    Ok(connection.last_insert_rowid().unsigned_abs())
}

pub(super) fn nanos(time: Time) -> i64 {
    i64::try_from(time.nanos()).unwrap_or(i64::MAX)
}

/// What went wrong, and what to do, for people.
fn explain(path: &Path, error: &rusqlite::Error) -> String {
    let folder = path.parent().map_or_else(String::new, |folder| folder.display().to_string());
    match error.sqlite_error_code() {
        Some(ErrorCode::CannotOpen) => {
            format!("it cannot be opened or made: {folder} has to be a folder in which this user may write")
        }
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
            format!("it cannot be written: this user needs to write it and in {folder}")
        }
        Some(ErrorCode::DiskFull) => "the disk is full".to_owned(),
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
            "it is damaged or no SQLite file; move it away with its -wal and -shm, and all starts anew"
                .to_owned()
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            format!(
                "another process has not let go of it for {} seconds: is one stopped?",
                PATIENCE.as_secs()
            )
        }
        Some(ErrorCode::SystemIoFailure) => {
            format!(
                "the disk cannot be read or written: is it full, or {folder} a network file system? ({error})"
            )
        }
        _ => error.to_string(),
    }
}
