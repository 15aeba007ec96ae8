//! Purses and retry budgets in a store's file: each step one transaction over their rows.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, params};

use super::file::{File, nanos};
use super::shared::ProcessId;
use super::tree::Fault;
use super::{run, sweep};
use crate::budget::{Outlay, Purse, Verdict};
use crate::bytes::Bytes;
use crate::clock::{Clock, Time, unix_micros};
use crate::error::Result;
use crate::retry::{Kind, RetryBudget};
use crate::store::Policy;
use crate::store::purses::{
    Answer, Asked, Claimed, Kept, Known, Member, Purses, REMEMBERED, Settled, Surviving, claim_all,
};
use crate::store::retries::Retries;

type Step<T> = std::result::Result<T, Fault>;

/// The files in use.
static FILES: Known<SqlitePurses> = Known::new();

/// The purses in that file, made or found; the file is made if it is not there, in a folder that is.
///
/// # Errors
/// [`Error::Store`](crate::error::Error::Store) if it cannot be used.
pub fn purses_in(
    path: &Path,
    policy: Policy,
    clock: Option<Arc<dyn Clock>>,
) -> Result<Arc<Surviving<SqlitePurses>>> {
    if clock.is_some() {
        return SqlitePurses::open(path, policy, clock)
            .map(|purses| Arc::new(Surviving::new(purses, policy)));
    }
    FILES.at(&path.to_string_lossy(), policy, || SqlitePurses::open(path, policy, None))
}

/// Makes up in all files what was taken without them, if they are there again. To be called every few seconds.
pub(super) fn pulse_all() {
    // That a file is lost is said by `turns`.
    FILES.pulse().ok();
}

/// The same before this process leaves.
///
/// # Errors
/// The first file's that fails.
pub(super) fn leave_all() -> Result<()> {
    FILES.leave()
}

/// What processes share of budgets, in a SQLite file.
pub struct SqlitePurses(Arc<File>);

impl SqlitePurses {
    /// Those in that file, which is made if it is not there, in a folder that is.
    ///
    /// # Errors
    /// [`Error::Store`](crate::error::Error::Store) if it cannot be used.
    pub fn open(path: &Path, policy: Policy, clock: Option<Arc<dyn Clock>>) -> Result<Self> {
        File::at(path, policy, clock).map(Self)
    }

    fn step<T>(&self, act: impl FnOnce(&Connection, ProcessId, Time) -> Step<T>) -> Result<T> {
        let mut state = self.0.state.lock();
        self.0.prepare(&mut state)?;
        let (process, connection) = (state.process, state.connection());
        run(connection, "BEGIN IMMEDIATE").map_err(|error| self.0.failure(&error))?;
        let done = act(connection, process, self.0.now())
            .and_then(|done| run(connection, "COMMIT").map(|()| done).map_err(Fault::Sqlite));
        let done = done.map_err(|fault| match run(connection, "ROLLBACK") {
            // Where SQLite has rolled back by itself there is nothing left to roll back.
            Err(error) if !connection.is_autocommit() => self.0.failure(&error),
            _ => self.0.fault(fault),
        });
        done.inspect_err(|why| self.0.lose(&mut state, why))
    }

    fn look<T>(&self, act: impl FnOnce(&Connection) -> Step<T>) -> Result<T> {
        let mut state = self.0.state.lock();
        self.0.prepare(&mut state)?;
        act(state.connection()).map_err(|fault| self.0.fault(fault))
    }

    /// Counts what processes had reserved that are gone; whether there were any.
    fn sweep(&self) -> Result<bool> {
        let now = nanos(self.0.now());
        if !self.look(|connection| Ok(sweep::is_due(connection, now)?))? {
            return Ok(false);
        }
        self.step(|connection, _, now| sweep::strike_off(connection, nanos(now), 0))
    }

    fn claim_once(&self, asked: &[Asked], outlay: Outlay, now: f64) -> Result<Answer> {
        self.step(|connection, process, time| {
            let mut kept = Vec::with_capacity(asked.len());
            for one in asked {
                let mut found = find(connection, one)?;
                found.hear(one);
                found.turn_to(one.window, now);
                kept.push(found);
            }
            let claimed = claim_all(&mut kept, outlay, process, now, time);
            save(connection, asked, &kept)?;
            Ok(match claimed {
                Ok(turns) => Answer::Held(Claimed { process, turns }),
                Err((place, verdict)) => {
                    Answer::Refused(place, verdict, Box::new(kept.swap_remove(place).purse().clone()))
                }
            })
        })
    }

    fn change(&self, asked: &Asked, act: impl FnOnce(&mut Kept)) -> Result<()> {
        self.step(|connection, _, _| {
            let mut kept = find(connection, asked)?;
            act(&mut kept);
            save(connection, std::slice::from_ref(asked), &[kept])
        })
    }
}

impl Purses for SqlitePurses {
    fn claim(&self, asked: &[Asked], outlay: Outlay, now: f64) -> Result<Answer> {
        let answer = self.claim_once(asked, outlay, now)?;
        if matches!(answer, Answer::Refused(_, Verdict::Waits(_), _)) && self.sweep()? {
            return self.claim_once(asked, outlay, now);
        }
        Ok(answer)
    }

    fn settle(
        &self,
        asked: &[Asked],
        claimed: &Claimed,
        reserved: Outlay,
        taken: Outlay,
    ) -> Result<Vec<Settled>> {
        self.step(|connection, _, _| {
            let mut settled = Vec::with_capacity(asked.len());
            for (one, turn) in asked.iter().zip(&claimed.turns) {
                let mut kept = find(connection, one)?;
                let warned = kept.settle(claimed.process, *turn, reserved, taken);
                settled.push((warned, kept.purse().clone()));
                save(connection, std::slice::from_ref(one), &[kept])?;
            }
            Ok(settled)
        })
    }

    fn charge(&self, asked: &Asked, taken: Outlay, now: f64) -> Result<()> {
        self.change(asked, |kept| {
            kept.turn_to(asked.window, now);
            kept.charge(taken);
        })
    }

    fn set_ceiling(&self, asked: &Asked) -> Result<()> {
        self.change(asked, |kept| kept.set_ceiling(asked))
    }

    fn read(&self, asked: &Asked) -> Result<Purse> {
        self.sweep()?;
        let mut kept = self.look(|connection| find(connection, asked))?;
        kept.turn_to(asked.window, asked.window.start);
        Ok(kept.purse().clone())
    }

    fn processes(&self) -> u64 {
        self.0.state.lock().health.processes.into()
    }
}

impl Member for SqlitePurses {
    fn pulse(&self) -> Result<()> {
        // One that nobody has used since a fork is left closed.
        let is_used = {
            let state = self.0.state.lock();
            state.open.is_some() || state.health.is_lost()
        };
        if is_used { self.look(|_| Ok(())) } else { Ok(()) }
    }

    /// The file itself is left by the process.
    fn leave(&self) -> Result<()> {
        Ok(())
    }
}

impl Retries for SqlitePurses {
    fn try_take(&self, scope: &str, kind: Kind, is_queued: bool) -> Result<bool> {
        self.step(|connection, _, now| {
            let mut budget = find_retries(connection, scope)?;
            let taken = budget.try_take(kind, is_queued, now);
            save_retries(connection, scope, &budget)?;
            Ok(taken)
        })
    }

    fn succeeded(&self, scope: &str, last_failure: Option<Kind>, is_queued: bool) -> Result<()> {
        // As nearly always: it is full, and there is nothing to write.
        let budget = self.look(|connection| find_retries(connection, scope))?;
        if budget.balance() == budget.capacity() {
            return Ok(());
        }
        self.step(|connection, _, _| {
            let mut budget = find_retries(connection, scope)?;
            budget.succeeded(last_failure, is_queued);
            save_retries(connection, scope, &budget)
        })
    }

    fn balance(&self, scope: &str) -> Result<u32> {
        self.look(|connection| find_retries(connection, scope)).map(|budget| budget.balance())
    }
}

/// Counts all that processes had reserved that are gone. Inside a transaction.
pub(super) fn strike_off(connection: &Connection, gone: &[ProcessId]) -> Step<bool> {
    let mut all = connection.prepare_cached("SELECT key, state FROM purse WHERE is_held")?;
    let rows = all.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, Vec<u8>>(1)?)))?;
    let mut any = false;
    for row in rows.collect::<rusqlite::Result<Vec<_>>>()? {
        let (key, bytes) = row;
        let mut kept = whole::<Kept>(&bytes).ok_or_else(|| Fault::Damaged(key.clone()))?;
        // All of them, not only the first that held anything.
        if gone.iter().filter(|process| kept.strike_off(**process)).count() > 0 {
            any = true;
            write(connection, &key, &kept)?;
        }
    }
    Ok(any)
}

fn find(connection: &Connection, asked: &Asked) -> Step<Kept> {
    let mut statement = connection.prepare_cached("SELECT state FROM purse WHERE key = ?")?;
    let found =
        statement.query_row([&*asked.key], |row| Ok(whole::<Kept>(row.get_ref(0)?.as_blob()?))).optional()?;
    match found {
        None => Ok(Kept::new(asked)),
        Some(kept) => kept.ok_or_else(|| Fault::Damaged(asked.key.to_string())),
    }
}

fn save(connection: &Connection, asked: &[Asked], kept: &[Kept]) -> Step<()> {
    asked.iter().zip(kept).try_for_each(|(one, kept)| write(connection, &one.key, kept))
}

fn write(connection: &Connection, key: &str, kept: &Kept) -> Step<()> {
    let mut bytes = Vec::new();
    kept.write(&mut bytes);
    let update = "UPDATE purse SET state = ?, is_held = ?, ends = ? WHERE key = ?";
    let ends = Some(kept.purse().window().end).filter(|end| end.is_finite());
    let written = connection.prepare_cached(update)?.execute(params![bytes, kept.is_held(), ends, key])?;
    if written == 0 {
        let insert = "INSERT INTO purse (state, is_held, ends, key) VALUES (?, ?, ?, ?)";
        connection.prepare_cached(insert)?.execute(params![bytes, kept.is_held(), ends, key])?;
        forget_old(connection)?;
    }
    Ok(())
}

/// Drops what nobody has used since its window was over, a month ago.
fn forget_old(connection: &Connection) -> Step<()> {
    let before = Duration::from_micros(unix_micros().unsigned_abs()).saturating_sub(REMEMBERED);
    connection.prepare_cached("DELETE FROM purse WHERE ends < ?")?.execute([before.as_secs_f64()])?;
    Ok(())
}

fn find_retries(connection: &Connection, scope: &str) -> Step<RetryBudget> {
    let mut statement = connection.prepare_cached("SELECT state FROM retries WHERE scope = ?")?;
    let found = statement
        .query_row([scope], |row| Ok(whole::<RetryBudget>(row.get_ref(0)?.as_blob()?)))
        .optional()?;
    found.unwrap_or_else(|| Some(RetryBudget::default())).ok_or_else(|| Fault::Damaged(scope.to_owned()))
}

fn save_retries(connection: &Connection, scope: &str, budget: &RetryBudget) -> Step<()> {
    let mut bytes = Vec::new();
    budget.write(&mut bytes);
    let upsert = "INSERT INTO retries (scope, state) VALUES (?, ?) ON CONFLICT (scope) DO UPDATE SET state = excluded.state";
    connection.prepare_cached(upsert)?.execute(params![scope, bytes])?;
    Ok(())
}

fn whole<T: Bytes>(mut bytes: &[u8]) -> Option<T> {
    T::read(&mut bytes).filter(|_| bytes.is_empty())
}
