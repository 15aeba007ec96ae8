//! The Python module: extract, decide in the core, wrap. The only folder that may name pyo3.
//!
//! Everything here runs with the interpreter attached, and the core's locks are taken only then, never across a call into Python:
//! a fork cannot find them held, and a finaliser that settles a lease cannot deadlock.

mod agent;
mod budget;
mod claim;
mod clock;
mod convert;
mod engine;
mod estimate;
mod hold;
mod hub;
mod lease;
mod ledger;
mod limiter;
mod loops;
mod prices;
mod quota;
mod retry;
mod scopes;
mod semaphore;
mod sigterm;
mod status;
mod stores;
mod threads;
mod throttle;
mod told;
mod waiter;

use pyo3::prelude::*;

#[pymodule]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<hold::Hold>()?;
    module.add_class::<budget::Purse>()?;
    module.add_function(wrap_pyfunction!(hold::reserve, module)?)?;
    module.add_class::<clock::ManualClock>()?;
    module.add_class::<estimate::Estimator>()?;
    module.add_class::<lease::Lease>()?;
    module.add_class::<ledger::Entry>()?;
    module.add_class::<ledger::Ledger>()?;
    module.add_class::<limiter::RateLimiter>()?;
    module.add_class::<prices::Cost>()?;
    module.add_class::<prices::Price>()?;
    module.add_class::<prices::PriceTable>()?;
    module.add_class::<quota::Limit>()?;
    module.add_class::<quota::Quota>()?;
    module.add_class::<retry::RetryBudget>()?;
    module.add_class::<retry::RetryPolicy>()?;
    module.add_class::<semaphore::Semaphore>()?;
    module.add_class::<throttle::Throttle>()?;
    sigterm::add_to(module)?;
    stores::add_to(module)?;
    hub::forget_parent_after_fork(module.py())
}
