//! Waiting without the GIL; feeling signals, and letting the log speak, meanwhile.

use oss_client::error::Error;
use oss_client::interrupt::Watch;
use oss_client::list::Progress;
use oss_client::logs;
use oss_client::panics;
use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use crate::errors::OrRaise;
use crate::retired;

/// Python's door to its log; called by whoever waits.
static SHOW: PyOnceLock<Py<PyAny>> = PyOnceLock::new();

/// Says what shows the waiting log records; the first call counts.
#[pyfunction]
pub(crate) fn show_logs_by(py: Python<'_>, show: Py<PyAny>) {
    let _ = SHOW.set(py, show);
}

/// Shows the waiting records, if one of them is for people. Only an interrupt comes back.
pub(crate) fn show_news(py: Python<'_>) -> PyResult<()> {
    if !logs::has_news() {
        return Ok(());
    }
    let Some(show) = SHOW.get(py) else { return Ok(()) };
    match show.call0(py) {
        Err(failure) if failure.is_instance_of::<PyException>(py) => {
            failure.write_unraisable(py, None);
            Ok(())
        }
        shown => shown.map(drop),
    }
}

/// Raises the exception that a caller in C has left standing when it called back into Python.
///
/// torch's reader of archives drops the result of a failed `readinto` and asks `read` instead, with the exception still
/// set: a Ctrl-C would come out as a `SystemError`, and a network failure be waited for twice.
#[pyfunction]
pub(crate) fn raise_left_standing(py: Python<'_>) -> PyResult<()> {
    PyErr::take(py).map_or(Ok(()), Err)
}

/// Runs `work` without the GIL; it calls the watch it is given every 50 ms at most, which runs Python's signal
/// handlers and shows what waits for the log. An exception of a handler (Ctrl-C) ends the work and is raised.
pub(crate) fn without_gil<T: Send>(
    py: Python<'_>,
    work: impl FnOnce(Watch<'_>) -> Result<T, Error> + Send,
) -> PyResult<T> {
    let mut signal = None;
    let outcome = py.detach(|| {
        let mut watch = || {
            Python::attach(|py| py.check_signals().and_then(|()| show_news(py))).map_err(|exception| {
                signal = Some(exception);
                Error::cancelled("wait")
            })
        };
        // A panic of ours is this call's error, never the interpreter's.
        panics::as_error("native call", || work(&mut watch))
    });
    retired::free(py);
    match signal {
        Some(exception) => Err(exception),
        None => outcome.or_raise(py),
    }
}

/// As [`without_gil`], for a listing: calls `tell` with the keys and pages so far each time it looks for signals.
pub(crate) fn without_gil_telling<T: Send>(
    py: Python<'_>,
    tell: Option<&Py<PyAny>>,
    work: impl FnOnce(Watch<'_>, &Progress) -> Result<T, Error> + Send,
) -> PyResult<T> {
    let progress = Progress::default();
    let mut raised = None;
    let outcome = without_gil(py, |signals| {
        let mut watch = || {
            signals()?;
            let Some(tell) = tell else { return Ok(()) };
            let told = Python::attach(|py| tell.call1(py, (progress.keys(), progress.pages())).map(|_| ()));
            told.map_err(|exception| {
                raised = Some(exception);
                Error::cancelled("wait")
            })
        };
        work(&mut watch, &progress)
    });
    match raised {
        Some(exception) => Err(exception),
        None => outcome,
    }
}
