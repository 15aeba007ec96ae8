//! The thread that puts entries into a file, a batch at a time, and what waits for it.
//!
//! Who books only appends to a list. What cannot be written stays in the list, bounded, and is tried again; what finds no
//! room in it is counted. Before a fork the file is closed (SQLite's locks do not survive one); the child makes a writer of its own.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{
    Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak,
};
use std::thread::JoinHandle;
use std::time::Duration;

use super::entry::Entry;
use super::file::{Author, File};
use crate::error::{Error, Result};
use crate::spawn::spawn;

/// So many entries wait for the disk at most.
pub const MOST_WAITING: usize = 100_000;
/// So many are written without waiting for the interval to end.
const BATCH: usize = 10_000;
/// How long until a write that failed is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Held for reading by whoever uses SQLite, for writing by whoever forks. The standard library's locks, since the writer's thread
/// holds no GIL: these are plain words of memory, which a child can unlock.
static USING: RwLock<()> = RwLock::new(());
/// How many forks this process is away from the first.
static GENERATION: AtomicU64 = AtomicU64::new(0);
/// Those who may have a file open.
static OPEN: Mutex<Vec<Weak<Shared>>> = Mutex::new(Vec::new());

thread_local! {
    static FORKING: RefCell<Option<RwLockWriteGuard<'static, ()>>> = const { RefCell::new(None) };
}

/// How many forks ago the first process was.
#[must_use]
pub fn generation() -> u64 {
    GENERATION.load(Ordering::Relaxed)
}

/// To be held while SQLite is used: no fork happens meanwhile.
pub fn using() -> RwLockReadGuard<'static, ()> {
    USING.read().unwrap_or_else(PoisonError::into_inner)
}

/// Waits until nobody uses SQLite, keeps it so, and closes all files. To be called by the thread that forks.
pub fn before_fork() {
    let guard = USING.write().unwrap_or_else(PoisonError::into_inner);
    for shared in lock(&OPEN).iter().filter_map(Weak::upgrade) {
        lock(&shared.file).take();
    }
    FORKING.with(|forking| forking.borrow_mut().replace(guard));
}

/// Ends what [`before_fork`] began.
pub fn after_fork(is_child: bool) {
    if is_child {
        GENERATION.fetch_add(1, Ordering::Relaxed);
        lock(&OPEN).clear();
    }
    FORKING.with(|forking| forking.borrow_mut().take());
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What became of an entry that was handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// It is the one of that number.
    Waiting(u64),
    /// The writer is behind: wait for [`Writer::wait_for_room`], and try again.
    Full,
    /// The disk takes nothing, and the memory is used up: it is not stored.
    Lost,
}

/// What people ask about a writer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Entries that are in the file.
    pub written: u64,
    /// Entries that wait for it.
    pub waiting: u64,
    /// Entries that will not be in it.
    pub lost: u64,
    /// Why the last write failed; None if it did not.
    pub trouble: Option<String>,
    /// How often a trouble began or ended.
    pub turns: u64,
}

#[derive(Default)]
struct Line {
    waiting: Vec<Arc<Entry>>,
    /// Numbers handed out, and those the file has.
    pushed: u64,
    written: u64,
    lost: u64,
    /// Writes that ended, one way or the other.
    attempts: u64,
    is_wanted: bool,
    is_stopping: bool,
    trouble: Option<String>,
    turns: u64,
}

struct Shared {
    path: PathBuf,
    flush: Duration,
    author: Author,
    line: Mutex<Line>,
    /// For the thread: there is something to do.
    work: Condvar,
    /// For all others: a write has ended.
    ended: Condvar,
    file: Mutex<Option<File>>,
    /// How often a trouble began or ended, to be looked at without the lock.
    turns: AtomicU64,
}

/// A writer, with its thread.
pub struct Writer {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
    generation: u64,
}

impl Writer {
    /// Starts the thread, which opens the file when there is something to write. With a `flush` of zero, what is written is on the disk.
    ///
    /// # Errors
    /// [`Error::Store`] if there can be no more threads.
    pub fn start(path: &Path, flush: Duration, author: Author) -> Result<Self> {
        let shared = Arc::new(Shared {
            path: path.to_owned(),
            flush,
            author,
            line: Mutex::default(),
            work: Condvar::new(),
            ended: Condvar::new(),
            file: Mutex::new(None),
            turns: AtomicU64::new(0),
        });
        let mut open = lock(&OPEN);
        open.retain(|known| known.strong_count() > 0);
        open.push(Arc::downgrade(&shared));
        drop(open);
        let its = shared.clone();
        let thread = spawn("ratekeeper-ledger", move || its.run());
        let cannot = |error| Error::ledger(path.display(), format!("its thread cannot be started: {error}"));
        let thread = thread.map_err(cannot)?;
        Ok(Self { shared, thread: Mutex::new(Some(thread)), generation: generation() })
    }

    /// Whether this process started it; an inherited one has no thread, and must be forgotten without being dropped.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        self.generation == generation()
    }

    /// Hands an entry over.
    pub fn push(&self, entry: &Arc<Entry>) -> Pushed {
        let mut line = lock(&self.shared.line);
        if line.pushed - line.written >= MOST_WAITING as u64 {
            if line.trouble.is_none() && !line.is_stopping {
                return Pushed::Full;
            }
            line.lost += 1;
            return Pushed::Lost;
        }
        line.pushed += 1;
        line.waiting.push(entry.clone());
        let number = line.pushed;
        let is_first = line.waiting.len() == 1 || line.waiting.len() == BATCH;
        drop(line);
        if is_first {
            self.shared.work.notify_one();
        }
        Pushed::Waiting(number)
    }

    /// Waits until there may be room.
    pub fn wait_for_room(&self) {
        self.wait_until(|line| {
            line.trouble.is_some() || line.pushed - line.written < MOST_WAITING as u64 / 2
        });
    }

    /// Writes all that was handed over, and waits for it; false if it cannot be written now.
    #[must_use]
    pub fn flush(&self) -> bool {
        let mut line = lock(&self.shared.line);
        let (number, attempts) = (line.pushed, line.attempts);
        if line.written >= number {
            return true;
        }
        line.is_wanted = true;
        drop(line);
        self.shared.work.notify_one();
        // An attempt that had begun may end without the last entries: the second one has them all.
        self.wait_until(|line| {
            line.written >= number || (line.trouble.is_some() && line.attempts >= attempts + 2)
        });
        lock(&self.shared.line).written >= number
    }

    fn wait_until(&self, is_reached: impl Fn(&Line) -> bool) {
        let mut line = lock(&self.shared.line);
        while !is_reached(&line) && !line.is_stopping {
            line = self.shared.ended.wait(line).unwrap_or_else(PoisonError::into_inner);
            if !is_reached(&line) {
                line.is_wanted = true;
                self.shared.work.notify_one();
            }
        }
    }

    /// Writes what it can, and ends the thread.
    pub fn stop(&self) {
        lock(&self.shared.line).is_stopping = true;
        self.shared.work.notify_one();
        let thread = lock(&self.thread).take();
        if let Some(thread) = thread {
            // A thread that panicked has said so on the standard error; what it had is counted as waiting.
            drop(thread.join());
        }
    }

    /// How it is.
    #[must_use]
    pub fn health(&self) -> Health {
        let line = lock(&self.shared.line);
        Health {
            written: line.written,
            waiting: line.pushed - line.written,
            lost: line.lost,
            trouble: line.trouble.clone(),
            turns: line.turns,
        }
    }

    /// How often a trouble began or ended.
    #[must_use]
    pub fn turns(&self) -> u64 {
        self.shared.turns.load(Ordering::Relaxed)
    }
}

impl Shared {
    fn run(&self) {
        let mut hand: Vec<Arc<Entry>> = Vec::new();
        loop {
            let mut line = lock(&self.line);
            if hand.is_empty() {
                line = self.wait(line);
                hand = std::mem::take(&mut line.waiting);
            }
            line.is_wanted = false;
            let (first, is_last) = (line.written + 1, line.is_stopping);
            drop(line);
            if hand.is_empty() {
                self.ended.notify_all();
                if is_last {
                    break;
                }
                continue;
            }
            let written = self.write(first, &hand);
            let line = self.note(written, &mut hand);
            self.ended.notify_all();
            if line.trouble.is_some() {
                if is_last {
                    break;
                }
                let is_idle = |line: &mut Line| !line.is_stopping && !line.is_wanted;
                drop(self.work.wait_timeout_while(line, RETRY, is_idle));
            }
        }
        let _using = using();
        let file = lock(&self.file).take();
        if let Some(file) = file {
            file.close();
        }
    }

    /// Until there is a batch: some entries and the end of the interval, many entries, or somebody who waits.
    fn wait<'a>(&self, line: MutexGuard<'a, Line>) -> MutexGuard<'a, Line> {
        let is_idle = |line: &mut Line| line.waiting.is_empty() && !line.is_stopping && !line.is_wanted;
        let line = self.work.wait_while(line, is_idle).unwrap_or_else(PoisonError::into_inner);
        let is_early = |line: &mut Line| line.waiting.len() < BATCH && !line.is_stopping && !line.is_wanted;
        let waited = self.work.wait_timeout_while(line, self.flush, is_early);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    fn write(&self, first: u64, entries: &[Arc<Entry>]) -> Result<()> {
        let _using = using();
        let mut place = lock(&self.file);
        let mut file = match place.take().filter(|file| file.is_at(&self.path)) {
            Some(file) => file,
            None => File::open(&self.path, self.flush.is_zero())?,
        };
        file.write(&self.path, self.author, first, entries)?;
        *place = Some(file);
        Ok(())
    }

    fn note(&self, written: Result<()>, hand: &mut Vec<Arc<Entry>>) -> MutexGuard<'_, Line> {
        let mut line = lock(&self.line);
        line.attempts += 1;
        let had_trouble = line.trouble.is_some();
        match written {
            Ok(()) => {
                line.written += hand.len() as u64;
                hand.clear();
                line.trouble = None;
            }
            Err(error) => line.trouble = Some(error.to_string()),
        }
        if had_trouble != line.trouble.is_some() {
            line.turns += 1;
            self.turns.store(line.turns, Ordering::Relaxed);
        }
        line
    }
}
