//! The core's tests, in virtual time: a day of traffic takes milliseconds, and the same seed gives the same day.

mod bucket;
mod estimate;
mod limiter;
mod properties;
mod queue;
mod quota;
mod retry;
mod store;
mod throttle;
mod world;
