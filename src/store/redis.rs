//! The state of all scopes in a Redis server, for the processes of many hosts.
#![allow(dead_code, reason = "the store that uses it comes next")]

mod state;
mod step;
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
mod twins;
#[cfg(test)]
mod wire_tests;
