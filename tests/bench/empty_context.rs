//! The floor under every native context manager: a factory method with a keyword, enter and exit, and nothing inside.
//!
//! Built by `make bench` as a Python module of its own, so that ratekeeper's `with limiter.acquire(tokens=n)` can be held
//! against the least that any native object would cost.

#![allow(clippy::unused_self, reason = "methods of Python objects that do nothing")]

use pyo3::prelude::*;

/// What a limiter would be if it decided nothing.
#[pyclass(frozen)]
struct Empty;

/// What a lease would be if it held nothing.
#[pyclass(frozen)]
struct Nothing {
    _tokens: i64,
}

#[pymethods]
impl Empty {
    #[new]
    const fn new() -> Self {
        Self
    }

    #[pyo3(signature = (*, tokens = 0))]
    const fn acquire(&self, tokens: i64) -> Nothing {
        Nothing { _tokens: tokens }
    }
}

#[pymethods]
impl Nothing {
    const fn __enter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    #[pyo3(signature = (_kind, _error, _trace, /))]
    const fn __exit__(&self, _kind: &Bound<'_, PyAny>, _error: &Bound<'_, PyAny>, _trace: &Bound<'_, PyAny>) {
    }

    #[pyo3(signature = (*, tokens = None))]
    const fn settle(&self, tokens: Option<i64>) {
        let _ = tokens;
    }
}

#[pymodule]
fn empty_context(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Empty>()?;
    module.add_class::<Nothing>()
}
