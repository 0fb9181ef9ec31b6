//! Waiting without the GIL, and feeling signals meanwhile.

use oss_client::error::Error;
use oss_client::interrupt::Watch;
use pyo3::prelude::*;

use crate::errors::OrRaise;

/// Runs `work` without the GIL; it calls the watch it is given every 50 ms at most, which runs Python's signal
/// handlers. An exception of a handler (Ctrl-C) ends the work and is raised.
pub(crate) fn without_gil<T: Send>(
    py: Python<'_>,
    work: impl FnOnce(Watch<'_>) -> Result<T, Error> + Send,
) -> PyResult<T> {
    let mut signal = None;
    let outcome = py.detach(|| {
        let mut watch = || {
            Python::attach(|py| py.check_signals()).map_err(|exception| {
                signal = Some(exception);
                Error::cancelled("wait")
            })
        };
        work(&mut watch)
    });
    match signal {
        Some(exception) => Err(exception),
        None => outcome.or_raise(py),
    }
}
