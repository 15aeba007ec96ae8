//! The state of all scopes in a Redis server, for the processes of many hosts.
//!
//! The leases of a process stay with it; the server keeps what scopes share, and what each process holds of them. Callers never wait for the
//! server: they stand in the queue, and an agent asks for many of them with one script call, which tells by the way what was ended
//! since. The script takes all steps that are plain arithmetic. What is not is decided here, on the state that was last seen, and
//! swapped in if nobody was faster.

mod alone;
mod bell;
mod clock;
mod connection;
mod exchange;
mod gate;
mod link;
mod purses;
mod standing;
mod state;
mod step;
mod store;
mod target;
mod telling;
mod tree;
mod wire;

#[cfg(test)]
mod clock_tests;
#[cfg(test)]
mod model;
#[cfg(test)]
mod script_tests;
#[cfg(test)]
mod server;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tree_tests;
#[cfg(test)]
mod twins;
#[cfg(test)]
mod wire_tests;

pub use bell::Bell;
pub use gate::{Inside, close_gate, open_gate};
pub use purses::{leave_purses, pulse_purses, purses_at};
pub use store::{RedisStore, end_redis, leave_all_redis, redis_turns, tell_at_once};
