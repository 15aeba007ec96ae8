//! The core's tests, in virtual time: a day of traffic takes milliseconds, and the same seed gives the same day.

mod bucket;
mod budget;
mod callers;
mod doubted;
mod estimate;
mod learned;
mod ledger;
mod ledger_file;
mod limiter;
mod matrix;
mod outage;
mod pace;
mod prices;
mod properties;
mod provider;
mod purses;
mod purses_lost;
mod queue;
mod quota;
mod retry;
mod server;
mod shared;
mod store;
mod stores;
mod throttle;
mod world;
